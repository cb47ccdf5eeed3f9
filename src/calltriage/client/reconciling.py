"""Whether a write was carried out: what is there before it is sent, and what a look finds after its answer was lost."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

import anyio

from calltriage.client.common_reads import CommonReads
from calltriage.client.credentials import Endpoint
from calltriage.client.exchanges import Exchanges
from calltriage.client.ledger import Entry
from calltriage.client.limits import RetryBudget, deadline_in, seen_through
from calltriage.client.look_ups import Found, ListLook, Seen, Sight, Verdict, look
from calltriage.client.lost_answers import in_doubt, may_still_run, not_there
from calltriage.client.receipts import Receipt, receipt_of, receipt_of_nothing
from calltriage.errors import CallError, Conflict
from calltriage.operations.base import Api, Effect, Operation
from calltriage.operations.traces import Changed, LeftRow

R = TypeVar("R")

LOOK_UP_S = 10.0
"""Most seconds of a write's deadline that are reserved for looking whether it was carried out."""
SETTLE_S = 2.0
"""How long a request whose connection broke may still be on its way inside the API (our choice)."""
BEFORE_S = 5.0
"""Most seconds for reading a list before a write. A fifth of the write's deadline is the other limit."""


@dataclass
class Course:
    """One operation on its way.

    Attributes:
        deadline: when it must have ended, on the event loop's clock.
        last_send: when the last request of a write must have ended, so that its look-up has time left.
        sight: what a look-up sees with.
        in_doubt: failure of a request that may have been carried out, until that is settled.
        retried: whether a request failed.
        told: error of a look-up that settled nothing.
    """

    deadline: float
    last_send: float
    sight: Sight
    in_doubt: CallError | None = None
    retried: bool = False
    told: CallError | None = None


class Reconciler:
    """Finds out whether writes were carried out. It only reads, whatever it is asked."""

    def __init__(
        self,
        exchanges: Exchanges,
        endpoints: Mapping[Api, Endpoint],
        budgets: Mapping[Api, RetryBudget],
        deadline_s: float,
    ) -> None:
        self._exchanges = exchanges
        self._endpoints = endpoints
        self._budgets = budgets
        self._deadline_s = deadline_s
        self._seen = Seen()
        self._common = CommonReads()

    def course(self, operation: Operation[object], *, first: Entry | None = None) -> Course:
        """The course of an operation that begins now. `first` describes its first attempt if another course made it."""
        began, deadline, mark = anyio.current_time(), deadline_in(self._deadline_s), self._seen.mark()

        async def ask(read: Operation[R], /) -> Receipt[R]:
            policy, budget = self._endpoints[read.api].retry, self._budgets[read.api]
            answer = await policy.repeat(
                lambda: self._exchanges.exchange(read, deadline, guarded=False), read.effect, deadline, budget
            )
            return receipt_of(read, answer)

        sight = Sight(
            ask=ask,
            known=(lambda found: self._seen.before(found, mark)) if first is None else (lambda _: False),
            age=lambda: anyio.current_time() - began + (0.0 if first is None else first.age_s),
            before=None if first is None else first.before,
            since=_now() if first is None and self._endpoints[operation.api].one_clock else None,
        )
        reserve = min(LOOK_UP_S, (deadline - began) * 0.3) if operation.trace() is not None else 0.0
        return Course(deadline, deadline - reserve, sight)

    async def look_before(self, operation: Operation[object], course: Course) -> None:
        """Read the present state before a write whose repeat would add a second row or undo another's change.

        A row that is the only one of its content is found at any time; where rows are dated by this process's clock, its
        date says whether it is new, and nothing is read before. If the state cannot be read, the write is sent all the
        same, and later look-ups decide nothing.
        """
        trace, now = operation.trace(), anyio.current_time()
        ends = now + min(BEFORE_S, (course.deadline - now) / 5)

        async def ask(read: Operation[R], /) -> Receipt[R]:
            return receipt_of(read, await self._exchanges.exchange(read, ends, guarded=True))

        with suppress(CallError):
            if isinstance(trace, LeftRow) and operation.effect is Effect.ADD:
                if trace.rows.unique and course.sight.since is not None:
                    return
                course.sight.before = await ListLook(trace).before(ask, partial(self._common.one, until=ends))
            elif isinstance(trace, Changed):
                course.sight.stood = (await ask(trace.read)).result

    def succeeded(self, receipt: Receipt[R], course: Course) -> Receipt[R]:
        """The receipt of a request that succeeded. It says `committed` if the request whose answer was lost made what
        this one found."""
        if receipt.outcome == "replayed" and course.in_doubt is not None and course.sight.may_have_made(receipt):
            receipt = replace(receipt, outcome="committed")
        self._seen.note(receipt.result)
        return receipt

    def gone(self, operation: Operation[R], course: Course) -> Receipt[R] | None:
        """The receipt of a removal that is answered with 404 when it is sent again: the first request did it
        (bland-triage, section 2). None for any other 404."""
        return (
            receipt_of_nothing("committed")
            if operation.effect is Effect.REMOVE and course.in_doubt is not None
            else None
        )

    async def failed(self, operation: Operation[R], course: Course, error: CallError) -> Receipt[R]:
        """The result that the operation asks for, if it exists after a failed request. Raises the error otherwise."""
        course.retried = True
        if isinstance(error, Conflict) and error.code == Conflict.default_code:
            found = await self.there(operation, course)
            if found is not None:
                return found
        if error.outcome != "unknown":
            raise error
        course.in_doubt = error
        if operation.effect not in {Effect.ADD, Effect.CHANGE}:
            raise error
        return await seen_through(self.settle(operation, course, error))

    async def there(self, operation: Operation[R], course: Course) -> Receipt[R] | None:
        """The result that the operation asks for, if the API has it; None otherwise."""
        trace = operation.trace()
        if not isinstance(trace, LeftRow) or not trace.rows.unique:
            return None
        try:
            verdict = await look(trace, course.sight)
        except CallError:
            return None
        if not isinstance(verdict, Found):
            return None
        was_lost = course.in_doubt is not None
        course.in_doubt = None
        self._seen.note(verdict.result)
        return Receipt(verdict.result, verdict.outcome if was_lost else "replayed")

    async def settle(self, operation: Operation[R], course: Course, error: CallError) -> Receipt[R]:
        """Look whether a write in doubt was carried out. Raises `error` with the outcome if it was not."""
        verdict = await self.verdict(operation, course)
        if isinstance(verdict, Found):
            course.in_doubt = None
            self._seen.note(verdict.result)
            return Receipt(verdict.result, verdict.outcome)
        if verdict == "undecided":
            course.told = in_doubt(error)
            raise course.told from error
        course.in_doubt = None
        raise not_there(error) from error

    async def verdict(self, operation: Operation[R], course: Course) -> Verdict[R]:
        """Look whether a write was carried out.

        A request whose connection broke may still be on its way inside the API, so `absent` needs a second look after a
        pause. A request that we stopped waiting for may still be running: it is never called absent.
        """
        trace, endpoint = operation.trace(), self._endpoints[operation.api]
        late = may_still_run(course.in_doubt)
        pauses = () if late is False else (SETTLE_S,) if late is None else (1.0, 2.0, 4.0)
        if trace is None:
            return "undecided"
        verdict: Verdict[R] = "undecided"
        for pause in (*pauses, None):
            verdict = "undecided"
            try:
                with anyio.CancelScope(deadline=course.deadline):
                    verdict = await look(trace, course.sight)
            except CallError as error:
                if error.outcome == "committed":  # done, but its answer cannot be read again
                    raise
                return "undecided"
            if verdict != "absent" or pause is None:
                break
            if anyio.current_time() + pause >= course.deadline:
                return "undecided"
            await endpoint.retry.sleep(pause)
        return "undecided" if verdict == "absent" and late else verdict


def _now() -> datetime:
    """Now, cut to milliseconds as a desk's rows are."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)
