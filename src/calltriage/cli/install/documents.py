"""Hosts' configuration files, edited in place: comments, order and everybody else's entries stay as they are.

A document is made of a text and never changed: an edit gives the text that it would have. What a parser cannot read whole
raises `UnreadableDocument` with the place, so that a half-understood file is never written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from calltriage.errors import CalltriageError
from calltriage.leaves.strict_json import JsonObject


class UnreadableDocument(CalltriageError):
    """A configuration file that is not what its ending says. Nothing was written."""

    def __init__(self, why: str, line: int | None = None, column: int | None = None) -> None:
        place = "" if line is None else f"line {line}, column {column}: "
        super().__init__(f"{place}{why}")


class Document(Protocol):
    """A text in one of the formats. `path` names members from the outermost object to the one that is meant."""

    def __init__(self, text: str) -> None: ...

    def get(self, path: Sequence[str]) -> Any:
        """The value of a member; None where there is none."""
        ...

    def put(self, path: Sequence[str], value: JsonObject) -> str:
        """The text with the member set, and with the objects around it made where they are missing."""
        ...

    def drop(self, path: Sequence[str]) -> str:
        """The text without the member; the objects around it stay."""
        ...


def mapping_at(root: Any, path: Sequence[str]) -> Any:
    """The mapping that a path leads to; None where there is none."""
    for name in path:
        if root.get(name) is None:
            return None
        root = mapping(root[name], name)
    return root


def mapping(value: object, name: str) -> Any:
    if not isinstance(value, Mapping):
        raise UnreadableDocument(f"an object was expected in {name}")
    return value  # pyright: ignore[reportUnknownVariableType]  each library's own kind of mapping
