"""What a reader of one format is, and what readers share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeGuard

Line: TypeAlias = dict[str, Any]
"""A line in our own format (see `lines.py`). A call may lack `call_id` and `created_at`: its file then says them."""


@dataclass(frozen=True)
class Format:
    """A format whose files hold JSON values.

    Attributes:
        name: what `--format` calls it.
        expected: what a value of it looks like, for the person whose file has none.
        matches: whether a value is of this format and of no other.
        line: our line of a value that matches. Raises ValueError for one that holds no call.
    """

    name: str
    expected: str
    matches: Callable[[Any], bool]
    line: Callable[[Any], Line]


@dataclass(frozen=True)
class TextFormat:
    """A format that is no JSON. `matches` sees the first part of a text; `lines` raises ValueError, too."""

    name: str
    expected: str
    matches: Callable[[str], bool]
    lines: Callable[[Any], Iterator[tuple[str, Line]]]


def is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)
