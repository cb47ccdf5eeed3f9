"""Lists the calls of a window, oldest first, in pages.

Offsets shift while calls come in. So each page begins at the instant of the newest call seen, and offsets are used only
within one instant. Calls that were seen already are dropped. New calls thus neither hide others nor repeat them.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from calltriage.client.client import Client
from calltriage.leaves.instants import instant
from calltriage.operations.calls import Call, ListCalls
from calltriage.pipelines.patience import patiently
from calltriage.pipelines.spec import Calls

PAGE = 1000
"""Rows of one request: the most that the API gives."""


@dataclass(frozen=True)
class Page:
    """Calls that no earlier page had.

    Attributes:
        watermark: all calls made before this instant have been listed.
        total: number of calls in the window by the first answer; None if the API does not say.
        is_last: no page follows.
    """

    calls: tuple[Call, ...]
    watermark: str | None
    total: int | None
    is_last: bool


async def pages(
    client: Client, listing: ListCalls, *, since: str | None, until: str | None = None, size: int = PAGE
) -> AsyncGenerator[Page]:
    """The calls made from `since` to `until` that match `listing`. Waits while the API is away. Raises CallError."""
    at, offset, total = _At(since), 0, None
    while True:
        given = {"start_date": at.start, "end_date": until, "from_": offset or None, "limit": size, "ascending": True}
        asked = listing.model_copy(update={name: value for name, value in given.items() if value is not None})
        answer = await patiently(partial(client.send, asked))
        rows = answer.calls
        total = answer.total_count if total is None else total
        fresh, moved = at.take(rows)
        offset = 0 if moved else offset + len(rows)
        is_last = len(rows) < size
        yield Page(fresh, at.mark, total, is_last)
        if is_last:
            return


class _At:
    """How far a list was read. `mark`: instant of the newest call seen. `start`: the `start_date` of the next request.

    An API that knows only days answers with calls before `start`. Then `start` stays, and pages go on by offset.
    """

    def __init__(self, since: str | None) -> None:
        self.mark = self.start = since
        self._seen = set[str]()
        self._is_coarse = False

    def take(self, rows: Sequence[Call]) -> tuple[tuple[Call, ...], bool]:
        """The rows that no earlier page had, and whether `start` moved."""
        mark = None if self.mark is None else _order(self.mark)
        older = {row.call_id for row in rows if mark is not None and _order(row.created_at) < mark}
        self._is_coarse = self._is_coarse or bool(older)
        fresh = tuple(row for row in rows if row.call_id not in self._seen and row.call_id not in older)
        newest = max((row.created_at for row in rows if row.created_at), key=_order, default=None)
        if newest is None or (mark is not None and _order(newest) <= mark):
            self._seen |= {row.call_id for row in rows}
            return fresh, False
        self.mark, self._seen = newest, {row.call_id for row in rows if row.created_at == newest}
        if self._is_coarse:
            return fresh, False
        self.start = newest
        return fresh, True


def _order(text: str | None) -> datetime:
    return instant(text) or datetime.min.replace(tzinfo=UTC)


def is_sampled(call_id: str, share: float, salt: str = "") -> bool:
    """Whether a call is in a sample of this share. A hash of salt and id decides, so the answer is the same in each run."""
    if share >= 1:
        return True
    drawn = int.from_bytes(hashlib.sha256(f"{salt}{call_id}".encode()).digest()[:8])
    return drawn < share * 2**64


def settled_at(call: Call, settle: timedelta) -> datetime | None:
    """When a call has settled: `settle` after its end. None if its begin is not known."""
    made = call.began
    if made is None:
        return None
    lasted = call.call_length if call.call_length is not None and 0 <= call.call_length < 10**6 else 0.0
    return made + timedelta(minutes=lasted) + settle


def settles_at(call: Call, settle: timedelta, now: datetime) -> datetime | None:
    """When a call that has not settled by `now` will have; None for one that has, or whose begin is not known."""
    at = settled_at(call, settle)
    return at if at is not None and now < at else None


def is_left_after(call: Call, after: datetime | None, settle: timedelta) -> bool:
    """Whether a call may have been left by a run that examined what had settled until `after`: it was made from then on, or
    settled later. It may have, too, if it does not say how long it lasted. True for an `after` of None."""
    if after is None or call.call_length is None:
        return True
    settled = settled_at(call, settle)
    return settled is None or settled >= after


def asked_for(page: Page, spec: Calls, after: str | None, now: datetime | None) -> list[tuple[Call, datetime | None]]:
    """The calls of a page that a run is about, each with the time when it will have settled; None for one that has.

    Args:
        spec: what the pipeline's file says of calls.
        after: see `windows.Window.after`.
        now: None: all have settled, such as calls of a file.
    """
    mark = None if after is None else instant(after)
    return [
        (call, None if now is None else settles_at(call, spec.settle, now))
        for call in page.calls
        if not is_under_way(call)
        and is_left_after(call, mark, spec.settle)
        and is_sampled(call.call_id, spec.sample, "call:")
    ]


def is_under_way(call: Call) -> bool:
    """Whether a row of the list says that the call has not ended."""
    return (call.model_extra or {}).get("completed") is False
