"""Writes on issues, each made once: recorded before it is sent, looked for after a crash, remembered for ever.

The client and the journal prevent a second write for 48 hours. The ledger's effects do so without limit, and for machines
that share no journal.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import anyio

from calltriage.client.pages import pages
from calltriage.client.reconciling import SETTLE_S
from calltriage.client.side_by_side import at_once
from calltriage.errors import CallError, Conflict, NotFound, Rejected
from calltriage.filing.fingerprint_line import described
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.activity import AddComment
from calltriage.operations.issues import CreateIssue, GetIssue
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
logger = logging.getLogger(__name__)

TOOL, WHO = "pipeline", "calltriage pipeline"
"""Tool and caller of a pipeline's writes in the journal."""
PAGES = 20
"""Pages that are searched for a write whose outcome is not known."""
VERDICTS = (Rejected, NotFound, Conflict)
"""Errors that mean that this write can never succeed. Others concern the operator or the network."""
PASSING = {"in_flight", "idempotency_conflict"}
"""Codes of conflicts that pass: a repeat may succeed."""


class OverLimitError(Exception):
    """The run has filed as many issues as it may. Nothing was sent."""


@dataclass(frozen=True)
class Write:
    """One of several writes. `key` identifies it for ever, such as `<finding id>:flag:<issue id>`."""

    key: str
    operation: Operation[Any]
    fingerprint: str
    finding_id: str | None = None


@dataclass(frozen=True)
class Ended:
    """How a write ended. `error`: the refusal, if it was refused. `is_new`: it ended now, not in an earlier attempt."""

    state: Literal["done", "refused"]
    result: JsonObject | None
    issue_id: str | None = None
    error: CallError | None = None
    is_new: bool = True


Following = Callable[["Connection", dict[str, Ended]], None]
"""Gets the writes that ended, by key, and records what follows in the transaction that records them. May run twice."""


def _nothing_follows(connection: Connection, came: dict[str, Ended]) -> None:
    """Records nothing besides the write's end."""


@dataclass(frozen=True)
class IssueWrites:
    """Makes writes on issues.

    Attributes:
        run_id: the run that makes them; None for a person's.
        journal: the client's record of writes, if it has one.
    """

    client: Client
    ledger: Ledger
    run_id: str | None = None
    journal: Journal | None = None

    async def once(self, key: str, operation: Operation[R], fingerprint: str, *, limit: Limit | None = None) -> R:
        """Make a write unless it was made under this key. A repeat sends the request of the first attempt.

        Raises OverLimitError if `limit` is reached, and the CallError of a write that was refused or may have been made.
        """
        ended = (await self.each_once([Write(key, operation, fingerprint)], limit=limit))[key]
        if ended.error is not None:
            raise ended.error
        return read_result(operation.result_type(), ended.result)

    async def comment(self, key: str, issue_id: str, text: str, fingerprint: str) -> None:
        """Comment on an issue once. A refusal is logged: what the comment tells of is done without it. Raises the CallError
        of a comment that may have been made, and of one that may be made later."""
        try:
            await self.once(key, AddComment(issue_id=issue_id, detail=text), fingerprint)
        except CallError as error:
            if not is_verdict(error) or error.outcome == "unknown":
                raise
            logger.warning("a comment was not made: %s", error.code)

    async def creation_after(self, fingerprint: str, issue_id: str) -> str:
        """The key of the write that creates the issue that follows another one; after those that followed it and were
        deleted."""
        read = partial(effects.created, ledger=self.ledger, fingerprint=fingerprint, follows=issue_id)
        for made in (await self.ledger.read(read)).issue_ids:
            try:
                await self.client.send(GetIssue(issue_id=made))
            except NotFound:
                issue_id = made
            else:
                break
        return effects.creation_of(fingerprint, issue_id)

    async def each_once(
        self, several: Sequence[Write], follow: Following = _nothing_follows, *, limit: Limit | None = None
    ) -> dict[str, Ended]:
        """Make writes concurrently, each unless it was made under its key. One ledger transaction before them, one after.

        Returns how each ended, by key. Raises OverLimitError, before anything is sent, if the new ones exceed `limit`; and
        the CallError of a write that was neither made nor refused.
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
        known = await self.ledger.write(partial(effects.begin, ledger=self.ledger, several=begun, limit=limit))
        if known is None:
            raise OverLimitError
        if any(one.standing == "begun" for one in known):  # the request of an attempt that was killed may still arrive
            await self.client.triage.retry.sleep(SETTLE_S)
        came = dict[str, Ended]()
        try:
            await at_once(*(self._come(one, it, came) for one, it in zip(several, known, strict=True)))
        finally:
            with anyio.CancelScope(shield=True):
                quoting = {one.key for one in several if one.finding_id is not None}
                await self.ledger.write(partial(self._end_all, came=came, quoting=quoting, follow=follow))
        return came

    async def _come(self, one: Write, known: Known, came: dict[str, Ended]) -> None:
        """Make one write and put its end into `came`."""
        if known.standing == "refused":
            error = Conflict("The API refused this write before.", code=(known.result or {}).get("code"))
            came[one.key] = Ended("refused", known.result, error=error, is_new=False)
            return
        if known.standing == "done":
            came[one.key] = Ended("done", known.result, known.issue_id, is_new=False)
            return
        operation = type(one.operation).model_validate(known.request)
        result = await self._made_before(operation) if known.standing == "begun" else None
        try:
            if result is None:
                async with self._as_pipeline(one.key):
                    result = (await self.client.deliver(operation)).result
        except VERDICTS as error:
            if error.outcome not in (None, "not_committed") or error.code in PASSING:
                raise
            came[one.key] = Ended("refused", {"code": error.code}, error=error)
            return
        kept: Any = result
        issue_id = getattr(operation, "issue_id", None) or getattr(result, "id", None)
        came[one.key] = Ended("done", kept.model_dump(mode="json", exclude_unset=True), issue_id)

    def _end_all(
        self, connection: Connection, came: dict[str, Ended], quoting: Collection[str], follow: Following
    ) -> None:
        """Record how writes ended. `quoting`: keys of those that repeat words of a call, which nothing masks."""
        for key, one in came.items():
            if one.is_new:
                effects.end(
                    connection, self.ledger, key, one.state, result=one.result, issue_id=one.issue_id,
                    has_words=key in quoting,
                )  # fmt: skip
        follow(connection, came)

    @asynccontextmanager
    async def _as_pipeline(self, key: str) -> AsyncGenerator[None]:
        if self.journal is None:
            yield
            return
        async with self.journal.calling(TOOL, WHO, key):
            yield

    async def _made_before(self, operation: Operation[R]) -> R | None:
        """The result of an earlier attempt that was cut off; None if it made nothing."""
        if isinstance(operation, CreateIssue):
            found: Any = await described(operation.description or "", self.client)
            return found
        trace = operation.trace()
        if not isinstance(trace, LeftRow):
            return None
        listed: Any = trace.rows.pages.model_copy(update={"limit": 100})
        async for page in pages(self.client.send, listed, PAGES):
            row: Any = next((one for one in page.items if trace.rows.same(one)), None)
            if row is not None:
                return row
        return None


def _request(operation: Operation[Any]) -> JsonObject:
    return operation.model_dump(mode="json", exclude_unset=True)


def is_verdict(error: CallError) -> bool:
    """Whether an error means that a write can never succeed."""
    return isinstance(error, VERDICTS) and error.code not in PASSING
