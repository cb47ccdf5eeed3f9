"""`limits.new_issues`: how many issues a run may file, and which incidents wait once it has filed them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import anyio

from calltriage.leaves.amounts import amount
from calltriage.leaves.instants import written
from calltriage.operations.issues import CreateIssue
from calltriage.pipelines.cases import Case, is_enough
from calltriage.pipelines.ledger import effects
from calltriage.pipelines.ledger.effects import Limit

if TYPE_CHECKING:
    from calltriage.pipelines.ledger.ledger import Ledger
    from calltriage.pipelines.spec import Spec


@dataclass
class NewIssues:
    """The limit of a run's new issues.

    Attributes:
        run_id: the run; None if a person files, to whom no limit applies.
        is_watching: the limit counts the last 24 hours instead of the run.
    """

    ledger: Ledger
    spec: Spec
    run_id: str | None
    is_watching: bool
    _was_reached: bool = field(default=False, init=False)
    _under_way: int = field(default=0, init=False)
    _ended: anyio.Event = field(default_factory=anyio.Event, init=False)

    def limit(self, case: Case) -> Limit | None:
        """The limit for an incident's new issue. None applies to accepted findings."""
        return None if self.run_id is None or case.has_accepted else self._limit

    @property
    def _limit(self) -> Limit:
        since = written(self.ledger.clock() - timedelta(days=1)) if self.is_watching else None
        return Limit(self.spec.limits.new_issues, since)

    async def is_reached(self) -> bool:
        """Whether the run may file no further issue, by the ledger."""
        return self.run_id is not None and not await self._left()

    async def _left(self) -> int:
        kind, limit = CreateIssue.tool_name(), self._limit
        read = partial(effects.left, ledger=self.ledger, kind=kind, run_id=self.run_id, limit=limit)
        left = await self.ledger.read(read)
        self._was_reached = not left
        return left

    async def held_back(self, cases: Iterable[Case]) -> list[Case]:
        """Those of some incidents that would get new issues, and wait because the limit is reached.

        An issue that an earlier attempt began to create counts already, and one that the API refused gets no other answer.
        Their incidents do not wait.
        """
        after = self.spec.issues.file_after
        new = [case for case in cases if case.incident["issue_id"] is None and case.incident["muted"] is None]
        limited = [case for case in new if self.limit(case) is not None and is_enough(case.chosen, after)]
        if not limited or not await self.is_reached():
            return []
        keys = [case.creation for case in limited]  # read now: what reached the limit may be their own
        begun = await self.ledger.read(partial(effects.states, ledger=self.ledger, keys=keys))
        return [case for case in limited if case.creation not in begun]

    @asynccontextmanager
    async def place(self, case: Case) -> AsyncGenerator[bool]:
        """A place for an incident's new issue while the block runs. False, without a place, if the limit is reached.

        Waits while other tasks have the last places: an incident of theirs may join an issue that is there.
        """
        if self.limit(case) is None or case.creating is not None:
            yield True
            return
        if self.is_watching:
            self._was_reached = False  # the last 24 hours move on
        while not self._was_reached and 0 < await self._left() <= self._under_way:
            await self._ended.wait()
        if self._was_reached:
            yield False
            return
        self._under_way += 1
        try:
            yield True
        finally:
            self._under_way -= 1
            self._ended.set()
            self._ended = anyio.Event()

    def told(self, waiting: int) -> str:
        """A sentence for a person: how many incidents wait, and what to do."""
        most = self.spec.limits.new_issues
        return (
            f"{amount(waiting, 'incident')} without an issue: limits.new_issues ({most}) is reached. To file more, raise it "
            "and run again, or accept findings (calltriage pipeline findings)."
        )
