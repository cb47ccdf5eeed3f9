"""What a write leaves behind. A write whose answer was lost is looked for by it.

An operation declares its own (`Operation.trace`), as data; client/look_ups.py reads the API.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from calltriage.operations.attachments import AttachmentPage
    from calltriage.operations.base import Operation
    from calltriage.operations.results import Page, Result

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")

Likeness = bool | None
"""Whether a row is what an operation asked for. None: a field of it could not be read, and the others agree."""


class Ask(Protocol):
    """Sends a read and returns its result."""

    async def __call__(self, operation: Operation[R], /) -> R: ...


class Trace(Generic[R_co]):
    """How to find out whether a write was carried out. R_co: what the write answers."""


@dataclass(frozen=True)
class Rows(Generic[T]):
    """The rows of a paged list that may be a write's.

    Attributes:
        pages: the list, without limit and cursor.
        same: whether a row is what the operation asked for.
        newest_first: the list is in that order, by its documentation.
        unique: the API keeps one row of equal content, so any such row is the one asked for.
        rows_before: rows of a page, when the list is read before the write.
    """

    pages: Operation[Page[T]]
    same: Callable[[T], Likeness]
    newest_first: bool = False
    unique: bool = False
    rows_before: int = 100


@dataclass(frozen=True)
class LeftRow(Trace[R]):
    """The write leaves a row. Made with `row` or `sign`, whose types fit together.

    `result` makes the write's answer from the row; None if the row is the answer.
    """

    rows: Rows[Any]
    result: Callable[[Ask, Any], Awaitable[R]] | None = None


def row(rows: Rows[R]) -> LeftRow[R]:
    """The write leaves a row, and answers with it."""
    return LeftRow(rows)


def sign(rows: Rows[T], result: Callable[[Ask, T], Awaitable[R]]) -> LeftRow[R]:
    """The write leaves a row, from which its answer can be made."""
    return LeftRow(rows, result)


@dataclass(frozen=True)
class NoRow(Trace[None]):
    """The write takes a row out of a list."""

    rows: Rows[Any]


@dataclass(frozen=True)
class Unreadable(Trace[None]):
    """The write deletes what `read` reads."""

    read: Operation[object]


@dataclass(frozen=True)
class Changed(Trace[R]):
    """The write changes what `read` reads.

    Attributes:
        read: reads the thing that the write answers with.
        stands: whether it is as the write would have it.
    """

    read: Operation[R]
    stands: Callable[[R], bool]


@dataclass(frozen=True)
class TakenName(Trace[R]):
    """The write takes a name that only one thing can have. The list shows that a name is taken, but not by whom."""

    pages: Operation[AttachmentPage]
    name: str


def plain(value: object) -> Any:
    """A value for comparison: text in NFC, with each run of white space as one blank, as an API may store it."""
    return " ".join(unicodedata.normalize("NFC", value).split()) if isinstance(value, str) else value


def caseless(value: object) -> Any:
    """A value for comparison as `plain` makes it, without case."""
    return plain(value).casefold() if isinstance(value, str) else value


def shared_fields(asked: Operation[object], found: Result) -> tuple[str, ...]:
    """Names of the fields that an operation and a result share, without those of the path: the list is read for these."""
    return _shared_fields(type(asked), type(found))


@cache
def _shared_fields(asked: type[Operation[object]], found: type[Result]) -> tuple[str, ...]:
    names = asked.model_fields.keys() - set(asked.path_fields())
    return tuple(name for name in found.model_fields if name in names)


def agree(
    asked: Operation[object],
    found: Result,
    names: Collection[str] | None = None,
    *,
    forms: Mapping[str, Callable[[Any], Any]] | None = None,
) -> Likeness:
    """Whether a row's fields are what was asked for. An empty text and null are equal.

    Args:
        names: fields to compare; None for all that both have.
        forms: by field, how its values are compared, if not with `plain`.
    """
    compared = (
        _agrees(asked, found, name, (forms or {}).get(name, plain))
        for name in (shared_fields(asked, found) if names is None else names)
    )
    return all_agree(compared)


def _agrees(asked: Operation[object], found: Result, name: str, form: Callable[[Any], Any]) -> Likeness:
    wanted, there = getattr(asked, name), getattr(found, name)
    if any(field.partition(".")[0] == name for field in found.unreadable_fields or ()):
        return None
    if wanted in (None, ""):
        return there in (None, "")
    if name not in found.model_fields_set:
        return None
    return bool(form(wanted) == form(there))


def all_agree(likenesses: Iterable[Likeness]) -> Likeness:
    """False if one of them is False, else None if one is None, else True. Those after the first False are not asked for:
    a write is compared with every row of a list, and most rows differ in the first field."""
    agreed: Likeness = True
    for likeness in likenesses:
        if likeness is False:
            return False
        agreed = agreed and likeness
    return agreed
