"""Looks for the trace that a write leaves (operations/traces.py): before the write is sent, and again when its answer is
lost.

A row of equal content that was not there before is the write's if there is one such row. The dates of rows decide nothing
here: an API's machines may date them behind or ahead of its `Date` header, in whole minutes, or in local time. Only a desk
in this process dates them by the clock that the write was begun by.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Generic, Literal, Protocol, TypeVar

from calltriage.client.receipts import Receipt
from calltriage.errors import NotFound, Outcome
from calltriage.leaves.instants import instant
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.attachments import ListFollowingAttachments
from calltriage.operations.base import Operation
from calltriage.operations.results import Page, is_page
from calltriage.operations.traces import Changed, LeftRow, Likeness, NoRow, Rows, TakenName, Trace, Unreadable

PAGES = 50
"""Pages of 100 that a look-up reads before it gives up."""
PAGES_BEFORE = 5
"""Pages of a list without a documented order that are read before a write. One page of a list that is newest first."""
SLACK = timedelta(seconds=5)
"""How far the clocks of an API's machines may lie apart; the `Date` header besides counts whole seconds only."""

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")


class Seen:
    """Ids that the API has shown, in the order in which they came; the oldest are forgotten."""

    def __init__(self, capacity: int = 20_000) -> None:
        self._capacity = capacity
        self._order = OrderedDict[str, int]()
        self._count = 0

    def mark(self) -> int:
        """The present place, to ask `before` with."""
        return self._count

    def before(self, found: str, mark: int) -> bool:
        """Whether an id had been shown before the mark was taken."""
        return self._order.get(found, self._count) < mark

    def note(self, result: object) -> None:
        """Remember the ids of a result, or of a page's items."""
        for item in result.items if is_page(result) else [result]:
            found = getattr(item, "id", None)
            if isinstance(found, str) and found not in self._order:
                self._order[found] = self._count
                self._count += 1
        while len(self._order) > self._capacity:
            self._order.popitem(last=False)


class Ask(Protocol):
    """Sends a read."""

    async def __call__(self, operation: Operation[R], /) -> Receipt[R]: ...


class Share(Protocol):
    """Makes a read of this name once for all that wait for it; it begins after each of them has asked."""

    async def __call__(self, name: str, read: Callable[[], Awaitable[T]], /) -> T: ...


@dataclass(frozen=True)
class Before:
    """What a list showed before a write was sent.

    Attributes:
        equal: ids of the rows that are, or may be, of equal content.
        last: id of the last row that was read; None when the list was read to its end.
    """

    equal: tuple[str, ...]
    last: str | None


@dataclass
class Sight:
    """What a look-up sees with.

    Attributes:
        ask: sends reads, until the call's deadline.
        known: whether an id had been seen before the write was sent.
        age: seconds since the write was first sent; None when nobody remembers.
        before: what the list showed before the write was first sent; None when nobody looked.
        stood: what the write is to change, as it was before the write was first sent; None when nobody looked.
        since: when the write was begun, by the clock that dates the rows, and in whole milliseconds as they are; None where
            that clock is another's.
    """

    ask: Ask
    known: Callable[[str], bool]
    age: Callable[[], float | None]
    before: Before | None = None
    stood: Any = None
    since: datetime | None = None

    def begun(self, answer: Receipt[object]) -> datetime | None:
        """The earliest instant, by the API's clock, at which the write can have been carried out; None: not known."""
        if self.since is not None:
            return self.since
        age = self.age()
        if answer.api_time is None or age is None:
            return None
        return answer.api_time - timedelta(seconds=age) - SLACK

    def may_have_made(self, answer: Receipt[object]) -> bool:
        """Whether what an answer shows was made by the write: it is new, as far as that can be told."""
        begun, made = self.begun(answer), instant(getattr(answer.result, "created_at", None))
        new = begun is not None and made is not None and made >= begun
        return new and not self.was_there(getattr(answer.result, "id", ""))

    def was_there(self, row_id: str) -> bool:
        """Whether a row is known to be older than the write."""
        return self.known(row_id) or (self.before is not None and row_id in {*self.before.equal, self.before.last})


@dataclass(frozen=True)
class Found(Generic[R_co]):
    """The write was carried out, or what it asks for was there before (`replayed`)."""

    result: R_co
    outcome: Outcome = "committed"


Verdict = Found[R] | Literal["absent", "undecided"]
"""What a look says of a write that is answered with R."""


async def look(trace: Trace[R], sight: Sight) -> Verdict[R]:
    """Look whether a write was carried out. Raises the CallError of a read that failed."""
    if isinstance(trace, LeftRow):
        return await ListLook(trace).find(sight)
    if isinstance(trace, NoRow | Unreadable):
        return await _is_gone(trace, sight)
    if isinstance(trace, Changed):
        return await _is_changed(trace, sight)
    if isinstance(trace, TakenName):
        return await _is_name_free(trace, sight)
    raise TypeError(f"no way to look for a {type(trace).__name__}")


async def _is_changed(trace: Changed[R], sight: Sight) -> Verdict[R]:
    """It stands as asked, or all of it is as it was before the write; when it is something else nobody can tell."""
    found = (await sight.ask(trace.read)).result
    if trace.stands(found):
        return Found(found)
    return "absent" if sight.stood is not None and found == sight.stood else "undecided"


async def _is_gone(trace: NoRow | Unreadable, sight: Sight) -> Verdict[Any]:
    """The write is done when the list has no such row any more, or when the thing or its issue cannot be read."""
    try:
        if isinstance(trace, NoRow):
            held = await _held(trace.rows, sight.ask)
            return Found(None) if held == "no" else "undecided" if held == "undecided" else "absent"
        await sight.ask(trace.read)
    except NotFound:
        return Found(None)
    return "absent"


async def _is_name_free(trace: TakenName[Any], sight: Sight) -> Literal["absent", "undecided"]:
    """Where nothing has the name, the write was not carried out. Whose a thing of the name is, client/attachments.py
    tells."""
    pages, is_doubtful = trace.pages, False
    for _ in range(PAGES):
        page = (await sight.ask(pages)).result
        is_doubtful = is_doubtful or bool(page.unreadable_fields or page.embedded.unreadable_fields)
        if any(item.name == trace.name or "name" not in item.model_fields_set for item in page.items):
            break
        if page.following is None:
            return "undecided" if is_doubtful or page.lost_next else "absent"
        pages = ListFollowingAttachments(query=page.following)
    return "undecided"


@dataclass
class _FirstRows:
    """The first rows of a list, and whether they are all."""

    items: list[Any] = field(default_factory=list[Any])
    is_whole: bool = False


_read_before: ContextVar[dict[str, _FirstRows] | None] = ContextVar("calltriage_read_before", default=None)


@contextmanager
def one_call() -> Generator[None]:
    """Around everything that is sent for one tool call: what it reads before one write counts for its later writes."""
    token = _read_before.set({})
    try:
        yield
    finally:
        _read_before.reset(token)


class _NewRows:
    """The rows of a list that a write may have made.

    Attributes:
        rows: rows of equal content that were not there before the write, by id.
        is_doubtful: a row could not be read, or one of equal content may be older than the write.
        last: id of the last row that was read before the write, until it comes. While it does not come, nobody can say
            how far was read before.
    """

    def __init__(self, sight: Sight) -> None:
        self._sight = sight
        self._is_covered = sight.before is not None
        self.rows = JsonObject()
        self.is_doubtful = False
        self.last = None if sight.before is None else sight.before.last

    def add(self, item: Any, likeness: Likeness) -> None:
        """Take in the next row of the list. One below the last row that was read before the write may be old."""
        if self.is_settled():
            return
        if item.id == self.last:
            self._is_covered, self.last = False, None
        if self.is_settled() or likeness is False or self._sight.was_there(item.id):
            return
        if likeness and self._is_covered:
            self.rows[item.id] = item
        else:
            self.is_doubtful = True

    def is_settled(self) -> bool:
        """Whether a new row was found and the rest of the list was read before the write."""
        return bool(self.rows) and not self._is_covered


class ListLook(Generic[R]):
    """Looks for the row that a write leaves in a list."""

    def __init__(self, trace: LeftRow[R]) -> None:
        self._rows = trace.rows
        self._result = trace.result

    async def before(self, ask: Ask, share: Share) -> Before | None:
        """What the list shows before the write. None when too little of it could be read to tell later what is new.

        Writes that wait for the same list read it once.
        """
        rows = await self._first_rows(ask, share)
        if not rows.is_whole and not (self._rows.newest_first and rows.items):
            return None
        equal = tuple(dict.fromkeys(item.id for item in rows.items if self._rows.same(item) is not False))
        return Before(equal, None if rows.is_whole else rows.items[-1].id)

    async def _first_rows(self, ask: Ask, share: Share) -> _FirstRows:
        known, pages = _read_before.get(), self._rows.pages
        name = f"{pages.tool_name()} {pages.model_dump_json()}"
        if known is not None and name in known:
            return known[name]
        rows = await share(f"{self._rows.rows_before} {name}", lambda: self._read_first(ask))
        if known is not None and self._result is None:  # else the write's answer does not name the row that it makes
            known[name] = rows
        return rows

    async def _read_first(self, ask: Ask) -> _FirstRows:
        rows, lost, most = _FirstRows(), False, 1 if self._rows.newest_first else PAGES_BEFORE
        async for answer in _read(self._rows, ask, most, self._rows.rows_before):
            rows.items += answer.result.items
            lost = lost or bool(answer.result.unreadable_rows("items"))
            rows.is_whole = _is_end(answer.result) and not lost
        return rows

    async def find(self, sight: Sight) -> Verdict[R]:
        return await (self._any(sight) if self._rows.unique else self._new(sight))

    async def _new(self, sight: Sight) -> Verdict[R]:
        """Look for the one new row."""
        found = _NewRows(sight)
        async for answer in _read(self._rows, sight.ask):
            found.is_doubtful = found.is_doubtful or bool(answer.result.unreadable_rows("items"))
            for item in answer.result.items:
                found.add(item, self._rows.same(item))
            if _is_end(answer.result) or found.is_settled():
                break
        else:
            return "undecided"
        if not found.rows and not found.is_doubtful:
            return "absent"
        if len(found.rows) != 1 or found.last is not None:
            return "undecided"
        return Found(await self._answer(sight, *found.rows.values()))

    async def _any(self, sight: Sight) -> Verdict[R]:
        """Look for a row of equal content, new or not."""
        found = await _held(self._rows, sight.ask)
        if isinstance(found, str):
            return "absent" if found == "no" else "undecided"
        item, answer = found
        is_new = not sight.was_there(item.id) and self._is_new(sight, item, answer)
        return Found(await self._answer(sight, item), "committed" if is_new else "replayed")

    def _is_new(self, sight: Sight, item: object, answer: Receipt[object]) -> bool:
        """Whether the row was made now. Its date says so only where nobody looked before."""
        if sight.before is not None and sight.before.last is None:
            return True
        begun, made = sight.begun(answer), instant(getattr(item, "created_at", None))
        return begun is None or made is None or made >= begun

    async def still_has(self, sight: Sight, row_id: str) -> bool:
        """Whether a row that the write once made has not been taken away since."""
        async for answer in _read(self._rows, sight.ask):
            if any(item.id == row_id for item in answer.result.items):
                return True
        return False

    async def _answer(self, sight: Sight, item: Any) -> R:
        async def ask(read: Operation[T], /) -> T:
            return (await sight.ask(read)).result

        return item if self._result is None else await self._result(ask, item)


async def _held(rows: Rows[Any], ask: Ask) -> tuple[Any, Receipt[Page[Any]]] | Literal["no", "undecided"]:
    """The first row that is the operation's, and the answer that it stands in."""
    is_doubtful = False
    async for answer in _read(rows, ask):
        is_doubtful = is_doubtful or bool(answer.result.unreadable_rows("items"))
        for item in answer.result.items:
            likeness = rows.same(item)
            if likeness:
                return item, answer
            is_doubtful = is_doubtful or likeness is None
        if _is_end(answer.result):
            return "undecided" if is_doubtful else "no"
    return "undecided"


async def _read(rows: Rows[Any], ask: Ask, most: int = PAGES, limit: int = 100) -> AsyncGenerator[Receipt[Page[Any]]]:
    """The pages of the list. A cursor that comes again leads nowhere."""
    asked, cursors = rows.pages.model_copy(update={"limit": limit}), set[str]()
    for _ in range(most):
        answer = await ask(asked)
        cursor = answer.result.next_cursor
        yield answer
        if cursor is None or cursor in cursors:
            return
        cursors.add(cursor)
        asked = asked.model_copy(update={"cursor": cursor})


def _is_end(page: Page[object]) -> bool:
    return page.next_cursor is None and not page.lost_cursor
