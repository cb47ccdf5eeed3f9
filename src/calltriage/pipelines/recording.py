"""Records examinations in the ledger. Those that end during a commit share the next one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import anyio

from calltriage.pipelines.examining import Examination
from calltriage.pipelines.ledger import findings, items, results, runs
from calltriage.pipelines.ledger.findings import Recorded
from calltriage.pipelines.ledger.items import Standing
from calltriage.pipelines.ledger.ledger import Ledger
from calltriage.pipelines.ledger.results import Made

if TYPE_CHECKING:
    from sqlalchemy import Connection


@dataclass(eq=False)
class _Waiting:
    """An examination that waits to be recorded."""

    examination: Examination
    standing: Standing
    is_done: bool = False


@dataclass
class Recorder:
    """Records examinations of one run: results, findings and the items' states of many calls in one transaction.

    Attributes:
        requests: returns how many requests the run's clients have sent so far.
        refile: see `windows.Window.refile`.
    """

    ledger: Ledger
    run_id: str
    pipeline: str
    requests: Callable[[], int]
    refile: bool = False
    _told: int = field(default=0, init=False)
    _turn: anyio.Lock = field(default_factory=anyio.Lock, init=False)
    _waiting: list[_Waiting] = field(default_factory=list[_Waiting], init=False)

    def __post_init__(self) -> None:
        self._told = self.requests()

    async def record(self, examination: Examination, standing: Standing) -> None:
        """Record an examination and its item's new state. Durable when this returns."""
        mine = _Waiting(examination, standing)
        self._waiting.append(mine)
        try:
            async with self._turn:
                if not mine.is_done:
                    batch = list(self._waiting)
                    await self._write(partial(self._record, batch=batch))
                    for one in batch:
                        one.is_done = True
                    self._waiting = [one for one in self._waiting if not one.is_done]
        finally:
            self._waiting = [one for one in self._waiting if one is not mine]

    def _record(self, connection: Connection, batch: Sequence[_Waiting]) -> None:
        examinations = [one.examination for one in batch]
        made = [Made(one.call.call_id, one.call.content_hash, one.results) for one in examinations]
        results.store(connection, self.ledger, made)
        found = [
            Recorded(
                one.call,
                [findings.place(each.verified, each.detect, each.suppressed_by) for each in one.found],
                one.examined,
            )
            for one in examinations
        ]
        findings.record(connection, self.ledger, self.run_id, self.pipeline, found, refile=self.refile)
        items.stand(connection, self.ledger, self.run_id, [one.standing for one in batch])

    async def end(self, standings: Sequence[Standing]) -> None:
        """Record how items end."""
        await self._write(partial(items.stand, ledger=self.ledger, run_id=self.run_id, standings=standings))

    async def _write(self, change: Callable[[Connection], None]) -> None:
        """Make a change. The same transaction adds the requests sent since the last one to the run."""
        now = self.requests()
        fresh, self._told = now - self._told, now

        def both(connection: Connection) -> None:
            change(connection)
            runs.requested(connection, self.ledger, self.run_id, fresh)

        try:
            await self.ledger.write(both)
        except BaseException:
            self._told -= fresh
            raise
