"""Writes on issues, each made once: put on record before it is sent, found again after a crash, remembered for ever.

The client and the journal make a write once while its key is known (48 hours). The ledger's effects hold for longer, and
over machines that share no journal.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from calltriage.client.reconciling import SETTLE_S
from calltriage.errors import CallError, Conflict, NotFound, Rejected
from calltriage.filing.fingerprint_line import described
from calltriage.operations.issues import CreateIssue
from calltriage.operations.results import read_result
from calltriage.operations.traces import LeftRow
from calltriage.pipelines.ledger import effects
from calltriage.pipelines.ledger.effects import Effect, Limit

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from calltriage.client.client import Client
    from calltriage.journal.journal import Journal
    from calltriage.operations.base import Operation
    from calltriage.pipelines.ledger.ledger import Ledger

R = TypeVar("R")

TOOL, WHO = "pipeline", "calltriage pipeline"
"""What the journal notes of a pipeline's writes."""
PAGES = 20
"""Pages that are looked through for a write whose end is not known."""
VERDICTS = (Rejected, NotFound, Conflict)
"""Answers that say of the write itself that it can never be made. Others are the operator's or the network's matter."""
PASSING = {"in_flight", "idempotency_conflict"}
"""Codes of conflicts that say nothing of the write."""


class OverLimitError(Exception):
    """The run has filed as many issues as it may. Nothing was sent."""


@dataclass(frozen=True)
class IssueWrites:
    """Makes writes on issues.

    Attributes:
        run_id: the run that they are made in; None for those that a person asks for.
        journal: the record that the client keeps, where it keeps one.
    """

    client: Client
    ledger: Ledger
    run_id: str | None = None
    journal: Journal | None = None

    async def once(
        self,
        key: str,
        operation: Operation[R],
        fingerprint: str,
        *,
        finding_id: str | None = None,
        limit: Limit | None = None,
    ) -> R:
        """Make a write unless it was made under this key. A repeat sends what the first attempt was to send.

        Raises OverLimitError, and the CallError of a write that was not made or of which nobody knows.
        """
        request = operation.model_dump(mode="json", exclude_unset=True)
        effect = Effect(key, operation.tool_name(), fingerprint, request, finding_id, self.run_id)
        known = await self.ledger.write(partial(effects.begin, ledger=self.ledger, effect=effect, limit=limit))
        if known.standing == "over_limit":
            raise OverLimitError
        if known.standing == "refused":
            raise Conflict("The API refused this write before.", code=(known.result or {}).get("code"))
        if known.standing == "done":
            return read_result(operation.result_type(), known.result)
        operation = type(operation).model_validate(known.request)
        found = await self._made_before(operation) if known.standing == "begun" else None
        return await self._sent(key, operation) if found is None else await self._ended(key, operation, found)

    async def _sent(self, key: str, operation: Operation[R]) -> R:
        try:
            async with self._as_pipeline(key):
                receipt = await self.client.deliver(operation)
        except VERDICTS as error:
            if error.outcome in (None, "not_committed") and error.code not in PASSING:
                await self._end(key, "refused", {"code": error.code})
            raise
        return await self._ended(key, operation, receipt.result)

    async def _ended(self, key: str, operation: Operation[R], result: R) -> R:
        kept: Any = result
        issue_id = getattr(operation, "issue_id", None) or getattr(result, "id", None)
        await self._end(key, "done", kept.model_dump(mode="json", exclude_unset=True), issue_id)
        return result

    async def _end(self, key: str, state: Any, result: Any, issue_id: str | None = None) -> None:
        change: Callable[[Connection], None] = partial(
            effects.end, ledger=self.ledger, key=key, state=state, result=result, issue_id=issue_id
        )
        with anyio.CancelScope(shield=True):
            await self.ledger.write(change)

    @asynccontextmanager
    async def _as_pipeline(self, key: str) -> AsyncGenerator[None]:
        if self.journal is None:
            yield
            return
        async with self.journal.calling(TOOL, WHO, key):
            yield

    async def _made_before(self, operation: Operation[R]) -> R | None:
        """What an earlier attempt made, if it made it. The request of one that was killed may still arrive."""
        await self.client.triage.retry.sleep(SETTLE_S)
        if isinstance(operation, CreateIssue):
            found: Any = await described(operation.description or "", self.client)
            return found
        trace = operation.trace()
        if not isinstance(trace, LeftRow):
            return None
        cursor: str | None = None
        for _ in range(PAGES):
            page: Any = await self.client.send(trace.rows.pages.model_copy(update={"limit": 100, "cursor": cursor}))
            row = next((one for one in page.items if trace.rows.same(one)), None)
            if row is not None:
                return row
            cursor = page.next_cursor
            if cursor is None:
                break
        return None


def is_verdict(error: CallError) -> bool:
    """Whether an error says that a write can never be made."""
    return isinstance(error, VERDICTS) and error.code not in PASSING
