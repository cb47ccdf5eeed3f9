"""The runner without a queue: this process alone works on a run. The ledger says what is left."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio

from calltriage.errors import RunTaken, SettingsError, first_of
from calltriage.pipelines.dry_run import Progress
from calltriage.pipelines.ledger import items, runs
from calltriage.pipelines.ledger.items import Item
from calltriage.pipelines.ledger.ledger import Ledger
from calltriage.pipelines.ledger.runs import Run
from calltriage.pipelines.ledger.turns import Turn, held, is_taken
from calltriage.pipelines.patience import patiently
from calltriage.pipelines.runners.lister import AHEAD, Lister
from calltriage.pipelines.running import Work, why_paused

BATCH = 2_000
"""Items that are taken from the ledger at a time. Their findings are filed when all are examined."""
SLOW_BATCH = 200
"""BATCH for an API with a rate, so that findings do not wait long to be filed."""
LOOK_EVERY_S = 1.0
"""Seconds between two checks whether the run was stopped."""
ASKED_S = 1.0
"""Seconds that a run's turn is waited for. Whoever shows how runs stand takes their turns for a moment."""


@asynccontextmanager
async def only_one(ledger: Ledger, name: str) -> AsyncGenerator[Turn]:
    """Hold the turn of a run or watch while the block runs, so that no other process works on it. A killed process loses
    the turn. Raises RunTaken if another process has it."""
    async with held(ledger, name, ASKED_S) as turn:
        if turn is None:
            raise RunTaken(f"Another process works on {name}. See: calltriage pipeline status")
        yield turn


@dataclass
class Embedded:
    """Works on one run until it is done, has to wait, is stopped, or fails. `progress` gets calls done and calls in all,
    those of earlier processes included."""

    work: Work
    run: Run
    progress: Progress
    _ahead: int = field(default=0, init=False)
    _moved: anyio.Event = field(default_factory=anyio.Event, init=False)

    def __post_init__(self) -> None:
        self._lister = Lister(self.work, self.run, self._on_page)
        self._before = self.run.ended

    async def carry_out(self) -> Run:
        """Carry out the run. Returns it afterwards. An error leaves it paused; the same command resumes it."""
        ledger, run_id = self.work.ledger, self.run.id
        async with only_one(ledger, run_id) as turn:
            try:
                why = await self._until_stopped(turn)
            except BaseException as error:
                with anyio.CancelScope(shield=True):
                    await runs.end(ledger, run_id, "paused", why_paused(error))
                raise
            state, told = "paused" if why else "done", why or self.work.filer.waits
            await patiently(lambda: runs.end(ledger, run_id, state, told))
        return await patiently(lambda: runs.get(ledger, run_id))

    async def _until_stopped(self, turn: Turn) -> str | None:
        """Work until nothing is due or the run is stopped. Returns why something is left; None if nothing is."""
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._look, turn, tasks.cancel_scope)
                tasks.start_soon(self._list)
                await self._work_off()
                tasks.cancel_scope.cancel()
        except BaseExceptionGroup as errors:
            raise first_of(errors) from None
        if await self.work.state() != "running":
            return "stopped"
        await patiently(self.work.filer.finish)
        await patiently(self.work.forget_old)
        return await patiently(self.work.why_waiting)

    async def _look(self, turn: Turn, scope: anyio.CancelScope) -> None:
        while await self.work.state() == "running":
            if not await patiently(lambda: is_taken(turn, ASKED_S)):
                raise SettingsError(f"Another process took {self.run.id} over while the database was away.")
            await anyio.sleep(LOOK_EVERY_S)
        scope.cancel()

    async def _list(self) -> None:
        await self._lister.carry_out()
        self._move()

    async def _on_page(self, fresh: int) -> None:
        """Let the lister wait while more than AHEAD calls are listed and not examined."""
        self._ahead += fresh
        self._move()
        while self._ahead > AHEAD:
            await self._moved.wait()

    async def _work_off(self) -> None:
        """Work on batches of due items until all calls are listed and nothing is due."""
        most = BATCH if self.work.reader.triage.rate is None else SLOW_BATCH
        while True:
            listed, moved = self._lister.is_done, self._moved
            batch = await patiently(lambda: items.to_do(self.work.ledger, self.run.id, most))
            if batch:
                await self._side_by_side(batch)
            elif listed:
                self._show()
                return
            else:
                await moved.wait()

    async def _side_by_side(self, batch: list[Item]) -> None:
        def heard() -> None:
            self._ahead -= 1
            self._show()

        await self.work.batch(batch, heard)
        self._move()

    def _show(self) -> None:
        self.progress(self._before + self.work.tally.done, self._lister.total)

    def _move(self) -> None:
        self._moved.set()
        self._moved = anyio.Event()
