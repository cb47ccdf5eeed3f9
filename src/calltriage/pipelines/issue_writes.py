"""Writes on issues, each made once: put on record before it is sent, found again after a crash, remembered for ever.

The client and the journal make a write once while its key is known (48 hours). The ledger's effects hold for longer, and
over machines that share no journal.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import anyio

from calltriage.client.reconciling import SETTLE_S
from calltriage.client.side_by_side import at_once
from calltriage.errors import CallError, Conflict, NotFound, Rejected
from calltriage.filing.fingerprint_line import described
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.issues import CreateIssue
from calltriage.operations.results import read_result
from calltriage.operations.traces import LeftRow
from calltriage.pipelines.ledger import effects
from calltriage.pipelines.ledger.effects import Effect, Known, Limit

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
class Write:
    """One of several writes. `key` says what it is, such as a finding's id and `flag`."""

    key: str
    operation: Operation[Any]
    fingerprint: str
    finding_id: str | None = None


@dataclass(frozen=True)
class Ended:
    """How a write ended. `code`: of its refusal. `is_new`: it ended now and not at an earlier attempt."""

    state: Literal["done", "refused"]
    code: str | None
    result: JsonObject | None
    issue_id: str | None = None
    is_new: bool = True


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
        effect = Effect(key, operation.tool_name(), fingerprint, _request(operation), finding_id, self.run_id)
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

    async def each_once(
        self, several: Sequence[Write], ended: Callable[[Connection, dict[str, Ended]], None]
    ) -> dict[str, Ended]:
        """Make writes side by side, each unless it was made under its key: one transaction before, one after them.

        `ended` records in that one what follows from those that were made or refused, by key; it may be called twice. Raises
        the CallError of one of which neither is true.
        """
        begun = [
            Effect(
                one.key,
                one.operation.tool_name(),
                one.fingerprint,
                _request(one.operation),
                one.finding_id,
                self.run_id,
            )
            for one in several
        ]
        known = await self.ledger.write(partial(effects.begin_all, ledger=self.ledger, several=begun))
        if any(one.standing == "begun" for one in known):
            await self.client.triage.retry.sleep(SETTLE_S)
        came = dict[str, Ended]()
        try:
            await at_once(*(self._come(one, it, came) for one, it in zip(several, known, strict=True)))
        finally:
            with anyio.CancelScope(shield=True):
                await self.ledger.write(partial(self._end_all, came=came, ended=ended))
        return came

    async def _come(self, one: Write, known: Known, came: dict[str, Ended]) -> None:
        """What came of a write, kept in `came`."""
        if known.standing == "refused":
            came[one.key] = Ended("refused", (known.result or {}).get("code"), known.result, is_new=False)
            return
        if known.standing == "done":
            came[one.key] = Ended("done", None, known.result, known.issue_id, is_new=False)
            return
        operation = type(one.operation).model_validate(known.request)
        result = await self._found(operation) if known.standing == "begun" else None
        try:
            if result is None:
                async with self._as_pipeline(one.key):
                    result = (await self.client.deliver(operation)).result
        except VERDICTS as error:
            if error.outcome not in (None, "not_committed") or error.code in PASSING:
                raise
            came[one.key] = Ended("refused", error.code, {"code": error.code})
            return
        kept: Any = result
        issue_id = getattr(operation, "issue_id", None) or getattr(result, "id", None)
        came[one.key] = Ended("done", None, kept.model_dump(mode="json", exclude_unset=True), issue_id)

    def _end_all(
        self, connection: Connection, came: dict[str, Ended], ended: Callable[[Connection, dict[str, Ended]], None]
    ) -> None:
        for key, one in came.items():
            if one.is_new:
                effects.end(connection, self.ledger, key, one.state, result=one.result, issue_id=one.issue_id)
        ended(connection, came)

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
        return await self._found(operation)

    async def _found(self, operation: Operation[R]) -> R | None:
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


def _request(operation: Operation[Any]) -> JsonObject:
    return operation.model_dump(mode="json", exclude_unset=True)


def is_verdict(error: CallError) -> bool:
    """Whether an error says that a write can never be made."""
    return isinstance(error, VERDICTS) and error.code not in PASSING
