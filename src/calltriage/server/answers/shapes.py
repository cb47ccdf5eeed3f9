"""The shapes of what tools answer, as types: output schemas follow from them (call/result_schemas.py).

A shape is a `Result`, whose fields without a default are always there, or a TypedDict with `total=False`, whose `Required`
members are. The schema says so of an answer's own members alone: any part inside it may be cut or unreadable. A result's
field without a value is left out; only a TypedDict can say that a member may be null.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Required, TypedDict, get_origin, get_type_hints

from calltriage.leaves.strict_json import JsonObject


@dataclass(frozen=True)
class Shown:
    """How a result stands in an answer, as the metadata of `Annotated[Flag, Shown(…)]`.

    Attributes:
        only: its fields that are shown; None for all.
        without: its fields that are not.
        beside: the shapes of what stands beside them.
        is_open: whether an API's further members stand in it as they are.
    """

    only: frozenset[str] | None = None
    without: frozenset[str] = frozenset()
    beside: tuple[Any, ...] = ()
    is_open: bool = False

    def shows(self, name: str) -> bool:
        """Whether it shows this field."""
        return (self.only is None or name in self.only) and name not in self.without


class Advice(TypedDict, total=False):
    """A tool call that helps. It is marked as untrusted where an argument holds strangers' words."""

    tool: Required[str]
    arguments: Required[JsonObject]


class Gap(TypedDict, total=False):
    """So many entries of a section, or characters of it, that an answer leaves out, and the call that shows them."""

    section: str
    left_out: int
    try_next: Advice


class CutText(Gap, total=False):
    """So many characters of a text that an answer leaves out, and where they are."""

    field: str
    characters: int
    resource: str


class Marks(TypedDict, total=False):
    """What may stand in any object of an answer besides its members. No schema repeats it: objects are open.

    trust, origin: it holds strangers' words, and whose.
    note, try_next: what the server says of the call, and the call that helps.
    escaped_characters: characters of the whole answer that are shown as escapes.
    unreadable_fields, unreadable_rows: what of an API's answer cannot be read.
    characters_left_out, characters_before: by the text's name, what of it is not shown.
    stored_whole: by the text's name, how much is shown of one that was just written whole.
    too_long: a row that is longer than an answer.
    omitted: texts of the answer that were cut; a tool that leaves out more declares it.
    """

    trust: str
    origin: str
    note: str
    try_next: Advice
    escaped_characters: int
    unreadable_fields: list[str]
    unreadable_rows: list[int]
    characters_left_out: dict[str, int]
    characters_before: dict[str, int]
    stored_whole: dict[str, str]
    too_long: bool
    omitted: list[CutText]


class Touched(TypedDict, total=False):
    """An issue after a write; its time of change, unless a note says why not."""

    id: Required[str]
    triage_id: str
    updated_at: str


class Failure(TypedDict, total=False):
    """What programs ask of every error; the rest of it is for whoever reads it."""

    code: Required[str]
    message: Required[str]


class Part(TypedDict, total=False):
    """What became of one of several writes."""

    outcome: Required[str]
    error: Failure


class Page(TypedDict, total=False):
    """A page of rows, and how complete the list is with it; a subclass says what its `items` are."""

    returned: int
    complete: Required[bool]
    total: int
    next_cursor: str


class SaidTurn(TypedDict, total=False):
    """A turn of a call under the index that flags take, with its seconds in the call; of a long text a part."""

    message_index: Required[int]
    user: str
    at_s: float
    for_s: float
    offset: int
    text: Required[str]


class Link(TypedDict, total=False):
    """Where bytes can be had."""

    url: Required[str]


class TimedLink(Link, total=False):
    """One that ends."""

    good_for_s: Required[int]


class Saved(TypedDict, total=False):
    """A local file that was made."""

    saved_to: str
    bytes_saved: int
    sha256: str


@cache
def hints(shape: object) -> JsonObject:
    """The types of a TypedDict's members."""
    return get_type_hints(shape, include_extras=True)


@cache
def _kinds(shape: object) -> dict[str, type[Any]]:
    return {name: get_origin(hint) or hint for name, hint in hints(shape).items()}


def as_declared(fields: JsonObject, shape: object) -> JsonObject:
    """The fields of an object without those whose values are not what the shape declares; these are named as unreadable."""
    kinds, unfit, kept = _kinds(shape), list[str](), JsonObject()
    for name, value in fields.items():
        kind = kinds.get(name)
        if kind is None or value is None or _is_a(value, kind):
            kept[name] = value
        elif kind is str and isinstance(value, int | float) and not isinstance(value, bool):
            kept[name] = str(value)  # as Result does (coerce_numbers_to_str)
        else:
            unfit.append(name)
    return kept | ({"unreadable_fields": [*(fields.get("unreadable_fields") or ()), *unfit]} if unfit else {})


def _is_a(value: object, kind: Any) -> bool:
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float if kind is float else kind)
