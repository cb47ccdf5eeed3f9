"""The runner that needs nothing: the tasks of this process work on one run, the ledger says what is left."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from calltriage.errors import SettingsError
from calltriage.pipelines.ledger import items, runs
from calltriage.pipelines.ledger.items import Item, Listed
from calltriage.pipelines.ledger.runs import Run
from calltriage.pipelines.listing import is_sampled, is_under_way, pages
from calltriage.pipelines.reading import patiently
from calltriage.pipelines.running import Work
from calltriage.pipelines.windows import Window
from calltriage.storage.folders import file_lock, make_folder, try_lock

if TYPE_CHECKING:
    from sqlalchemy import Connection

BATCH = 500
"""Items that are taken from the ledger at once."""
AT_ONCE = 32
"""Items that are worked on at once. The client bounds its requests itself; meanwhile others wait for their turn to file."""
AHEAD = 5_000
"""Calls that are listed and not yet examined, at most."""
LOOK_EVERY_S = 1.0
"""Seconds between two looks whether the run was cancelled."""

Progress = Callable[[int, int | None], None]


@asynccontextmanager
async def only_one(folder: Path, run_id: str) -> AsyncGenerator[None]:
    """Around the work on a run: no other process of this machine works on it. A process that is killed lets go. Raises
    SettingsError while another one has it."""
    make_folder(folder)
    lock = file_lock(folder / f"pipeline-{run_id}.lock", 0)
    if not try_lock(lock):
        raise SettingsError(f"Another process works on {run_id}. See: calltriage pipeline status")
    try:
        yield
    finally:
        (folder / f"pipeline-{run_id}.lock").unlink(missing_ok=True)
        lock.release()


@dataclass
class Embedded:
    """Works on one run until it is done, waits, was cancelled, or cannot go on."""

    work: Work
    run: Run
    progress: Progress
    _listed: bool = field(default=False, init=False)
    _ahead: int = field(default=0, init=False)
    _found: int = field(default=0, init=False)
    _total: int | None = field(default=None, init=False)
    _moved: anyio.Event = field(default_factory=anyio.Event, init=False)

    async def carry_out(self) -> Run:
        """The run as it stands afterwards. An error leaves it paused: the same command goes on with it."""
        ledger, run_id = self.work.ledger, self.run.id
        async with only_one(ledger.folder, run_id):
            try:
                why = await self._until_stopped()
            except BaseException as error:
                with anyio.CancelScope(shield=True):
                    told = str(error) if isinstance(error, SettingsError) else type(error).__name__
                    await runs.end(ledger, run_id, "paused", getattr(error, "code", None) or told)
                raise
            if await self._state() == "running":
                await patiently(lambda: runs.end(ledger, run_id, "paused" if why else "done", why))
        return await runs.get(ledger, run_id)

    async def _until_stopped(self) -> str | None:
        """Work until nothing is left or the run was stopped. Why something is left, if something is."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._look, tasks.cancel_scope)
            tasks.start_soon(self._list)
            await self._work_off()
            tasks.cancel_scope.cancel()
        if await self._state() != "running":
            return "stopped"
        await self.work.filer.finish()
        due = await patiently(lambda: items.next_due(self.work.ledger, self.run.id))
        return None if due is None else f"Some calls wait until {due}. The same command goes on then."

    async def _state(self) -> str:
        return await patiently(lambda: runs.state_of(self.work.ledger, self.run.id))

    async def _look(self, scope: anyio.CancelScope) -> None:
        while await self._state() == "running":  # noqa: ASYNC110  another process sets no event here
            await anyio.sleep(LOOK_EVERY_S)
        scope.cancel()

    async def _list(self) -> None:
        """Read the list of calls into the ledger, a page and its watermark in one commit."""
        _ledger, window, spec = self.work.ledger, Window.of(self.run.window), self.work.spec
        self._found = sum(self.run.counts.values())
        self._total = self.run.found or None
        if not self.run.listed and window.call is not None:
            await self._add([Listed(window.call)], None, listed=True)
        elif not self.run.listed:
            since = self.run.watermark or window.since
            async for page in pages(self.work.client, spec.calls.listing(), since=since, until=window.until):
                self._total = self._total or page.total
                fresh = [
                    Listed(call.call_id, call.created_at)
                    for call in page.calls
                    if not is_under_way(call) and is_sampled(call.call_id, spec.calls.sample, "call:")
                ]
                full = window.limit is not None and self._found + len(fresh) >= window.limit
                await self._add(
                    fresh[: window.limit - self._found] if window.limit is not None else fresh, page.watermark,
                    listed=full or page.is_last,
                )  # fmt: skip
                if full:
                    break
                while self._ahead > AHEAD:
                    await self._moved.wait()
        self._listed = True
        self._move()

    async def _add(self, fresh: list[Listed], watermark: str | None, *, listed: bool) -> None:
        ledger, run_id = self.work.ledger, self.run.id
        add = items.added(ledger, run_id, fresh)
        note = runs.progressed(ledger, run_id, watermark, listed=listed, found=self._total or 0)

        def change(connection: Connection) -> None:
            add(connection)
            note(connection)

        await patiently(lambda: ledger.write(change))
        self._found += len(fresh)
        self._ahead += len(fresh)
        self._move()

    async def _work_off(self) -> None:
        """Take what is due from the ledger, batch after batch, until all is listed and nothing is due."""
        while True:
            listed, moved = self._listed, self._moved
            batch = await patiently(lambda: items.to_do(self.work.ledger, self.run.id, BATCH))
            if batch:
                await self._side_by_side(batch)
            elif listed:
                return
            else:
                await moved.wait()

    async def _side_by_side(self, batch: list[Item]) -> None:
        left = iter(batch)

        async def take() -> None:
            for item in left:
                await self.work.item(item)
                self._ahead -= 1
                tally = self.work.tally
                self.progress(tally.calls + tally.skipped, self._total)

        async with anyio.create_task_group() as tasks:
            for _ in range(AT_ONCE):
                tasks.start_soon(take)
        self._move()

    def _move(self) -> None:
        self._moved.set()
        self._moved = anyio.Event()
