"""Reads the list of calls of a run into the ledger as items, each page with its watermark in one commit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from calltriage.pipelines.ledger import items, runs
from calltriage.pipelines.ledger.items import Listed
from calltriage.pipelines.ledger.runs import Run
from calltriage.pipelines.listing import Page, asked_for, pages
from calltriage.pipelines.patience import patiently
from calltriage.pipelines.running import Work
from calltriage.pipelines.windows import Window

if TYPE_CHECKING:
    from sqlalchemy import Connection

AHEAD = 5_000
"""Most calls that are listed and not yet examined."""


@dataclass
class Lister:
    """Lists the calls of a run, from where an earlier process stopped.

    A call of the API's list that has not settled when it is listed becomes an item that is left out. A run that goes on
    later takes it if it has settled by then and the run has no limit; else a later run or a watch examines it. A run that an
    agent begins without a time finds it, and what was under way when the last run ended, by `Window.after`.

    Attributes:
        on_page: gets the number of added calls. The next page is read when it returns.
        made: number of calls made in the window's time, by the API; None if it is not known.
        is_done: all calls of the window are items of the run.
    """

    work: Work
    run: Run
    on_page: Callable[[int], Awaitable[None]]
    made: int | None = field(default=None, init=False)
    is_done: bool = field(default=False, init=False)
    _found: int = field(default=0, init=False)
    _window: Window = field(init=False)

    def __post_init__(self) -> None:
        self._found = self.run.listed_calls
        self.made = self.run.found or None
        self._window = Window.of(self.run.window)

    @property
    def total(self) -> int | None:
        """How many calls the run has; see `Window.expected`."""
        is_listed = self.is_done or self.run.listed
        return self._window.expected(self.work.spec.calls.sample, self.made, self._found, is_listed=is_listed)

    async def carry_out(self) -> None:
        """List what is not listed yet."""
        await self._go_on()
        if not self.run.listed and self._window.call is not None:
            await self._add([Listed(self._window.call)], None, listed=True)
        elif not self.run.listed:
            await self._list()
        self.is_done = True

    async def _go_on(self) -> None:
        """Take calls that an earlier process left out and that have settled since."""
        ledger, run_id = self.work.ledger, self.run.id
        if self.run.unsettled and self._window.limit is None:
            take = partial(items.take_settled, ledger=ledger, run_id=run_id)
            self._found += await patiently(lambda: ledger.write(take))

    async def _list(self) -> None:
        window = self._window
        listing, since = self.work.spec.calls.listing(), self.run.watermark or window.since
        async for page in pages(self.work.reader, listing, since=since, until=window.until):
            self.made = self.made or page.total
            fresh = await self._new(self._asked_for(page))
            if window.limit is not None:
                fresh = _first(fresh, window.limit - self._found)
            full = window.limit is not None and self._found + _examined(fresh) >= window.limit
            await self._add(fresh, page.watermark, listed=full or page.is_last)
            if full:
                return
            await self.on_page(_examined(fresh))

    def _asked_for(self, page: Page) -> list[Listed]:
        now = self.work.ledger.clock() if self._window.calls is None else None  # calls of a file are as they are
        return [
            Listed(call.call_id, call.created_at, settles, is_left_out=settles is not None)
            for call, settles in asked_for(page, self.work.spec.calls, self._window.after, now)
        ]

    async def _new(self, listed: list[Listed]) -> list[Listed]:
        """Without those that are items already: a run that goes on reads the calls of its last instant again. For a window
        that goes on after others (`Window.after`), without those that a run has examined."""
        fresh = await patiently(lambda: items.unlisted(self.work.ledger, self.run.id, listed))
        if self._window.after is None:
            return fresh
        ids, run = [one.call_id for one in fresh], self.run
        known = await patiently(
            lambda: items.examined(self.work.ledger, ids, pipeline=run.pipeline, spec_hash=run.spec_hash)
        )
        return [one for one in fresh if one.call_id not in known]

    async def _add(self, fresh: list[Listed], watermark: str | None, *, listed: bool) -> None:
        ledger, run_id = self.work.ledger, self.run.id
        add = items.added(ledger, run_id, fresh)
        note = runs.progressed(ledger, run_id, watermark, listed=listed, found=self.made or 0)

        def change(connection: Connection) -> None:
            add(connection)
            note(connection)

        await patiently(lambda: ledger.write(change))
        self._found += _examined(fresh)


def _examined(listed: Sequence[Listed]) -> int:
    """Number of the calls that the run examines."""
    return sum(not one.is_left_out for one in listed)


def _first(listed: Sequence[Listed], most: int) -> list[Listed]:
    """The calls up to the one that fills `most` places. Those that are left out take no place."""
    taken, places = list[Listed](), most
    for one in listed:
        if places <= 0:
            break
        taken.append(one)
        places -= not one.is_left_out
    return taken
