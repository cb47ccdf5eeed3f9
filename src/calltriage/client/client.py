"""How an operation goes over HTTP: bounded in time and size, repeated only where that is safe, answered with a type."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

import anyio
import httpx2

from calltriage.client.answers import Answer
from calltriage.client.credentials import Endpoint
from calltriage.client.exchanges import Exchanges
from calltriage.client.http import Http
from calltriage.client.ledger import Entry, Ledger
from calltriage.client.limits import LastAnswers, RetryBudget, Turns, deadline_in, seen_through
from calltriage.client.long_cursors import LongCursors
from calltriage.client.look_ups import Found, ListLook, Seen, Sight, Verdict, look
from calltriage.client.lost_answers import in_doubt, may_still_run, not_there, unreachable
from calltriage.client.network import Network
from calltriage.client.receipts import Receipt, receipt_of
from calltriage.client.signed_links import Fetch, Links
from calltriage.errors import (
    CallError,
    Conflict,
    NotFound,
    Outcome,
    SettingsError,
    Unreachable,
)
from calltriage.operations.base import Api, Effect, Operation
from calltriage.operations.traces import Changed, LeftRow

R = TypeVar("R")

logger = logging.getLogger(__name__)

LOOK_UP_S = 10.0
"""Most seconds of a write's deadline that are reserved for looking whether it was carried out."""
SETTLE_S = 2.0
"""How long a request whose connection broke may still be on its way inside the API (our choice)."""
BEFORE_S = 5.0
"""Most seconds for reading a list before a write. A fifth of the write's deadline is the other limit."""
PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8, *[1.6] * 7)
"""Seconds between looks at an equal write that another process is sending."""


@dataclass
class _Course:
    """One call on its way.

    Attributes:
        deadline: when it must have ended, on the event loop's clock.
        last_send: when the last request of a write must have ended, so that its look-up has time left.
        sight: what a look-up sees with.
        in_doubt: failure of a request that may have been carried out, until that is settled.
        retried: whether a try failed.
        told: what a look that settled nothing ended in.
    """

    deadline: float
    last_send: float
    sight: Sight
    in_doubt: CallError | None = None
    retried: bool = False
    told: CallError | None = None


Watcher = Callable[[Operation[Any]], Awaitable[None]]
"""Hears of each write. It must be quick and must not fail."""


class Client:
    """Sends operations to the two APIs. Make one with `open_client`; safe to share between tasks."""

    def __init__(
        self,
        endpoints: Mapping[Api, Endpoint],
        http: Mapping[Api, Http],
        links: Links | None,
        deadline_s: float,
        ledger: Ledger | None = None,
        *,
        cursors: LongCursors | None = None,
    ) -> None:
        self._endpoints = endpoints
        self._exchanges = Exchanges(endpoints, http)
        self._links = links
        self._deadline_s = deadline_s
        self._ledger = ledger
        self._cursors = cursors or LongCursors()
        self._budgets = {api: RetryBudget() for api in endpoints}
        self._turns = Turns()
        self._seen = Seen()
        self._watchers: list[Watcher] = []

    @property
    def last_answers(self) -> LastAnswers:
        """How the last exchanges with each API ended."""
        return self._exchanges.last_answers

    def watch(self, watcher: Watcher) -> None:
        """Tell `watcher` of each write that was carried out now or may have been."""
        self._watchers.append(watcher)

    @property
    def links(self) -> Links:
        """The signed URLs of the attachments API: where bytes go, which no operation carries."""
        if self._links is None:
            raise SettingsError("This client has no attachments API.")
        return self._links

    @property
    def triage(self) -> Endpoint:
        """How the triage API is reached, and what it can do."""
        return self._endpoints[Api.TRIAGE]

    @property
    def shares_ids(self) -> bool:
        """Whether both APIs are one service, so that an id of one means something to the other."""
        return len({str(httpx2.URL(endpoint.base_url)).rstrip("/") for endpoint in self._endpoints.values()}) == 1

    @property
    def deadline_s(self) -> float:
        """Seconds that one call may take."""
        return self._deadline_s

    async def send(self, operation: Operation[R]) -> R:
        """Send an operation and return its result. Raises a `CallError` (calltriage.errors) when it did not succeed."""
        return (await self.deliver(operation)).result

    def stream(self, operation: Operation[Any]) -> AbstractAsyncContextManager[Fetch]:
        """Send a read and yield its answer while the bytes arrive. Sent once. Raises a CallError for a failure."""
        return self._exchanges.stream(operation)

    async def deliver(self, operation: Operation[R]) -> Receipt[R]:
        """Like `send`, and says besides what became of a write.

        A write that was sent is seen through, cancelled or not: to its answer, or to a look whether it was carried out.
        """
        outcome: Outcome | None = "unknown"  # unless it is found out: a crash or a cancellation leaves it so
        try:
            receipt = await self._deliver(operation)
            outcome = receipt.outcome
            return receipt
        except CallError as error:
            outcome = error.outcome
            raise
        finally:
            if outcome in {"committed", "unknown"} and operation.effect is not Effect.READ:
                with anyio.CancelScope(shield=True):
                    for watcher in self._watchers:
                        await watcher(operation)

    async def _read(self, operation: Operation[R]) -> Receipt[R]:
        meant = await self._cursors.meant(operation)
        receipt = await self._carry_out(meant, self._course(meant))
        return replace(receipt, result=await self._cursors.named(receipt.result))

    async def _deliver(self, operation: Operation[R]) -> Receipt[R]:
        if operation.effect is Effect.READ:
            return await self._read(operation)
        course = self._course(operation)
        async with self._turns.one(operation, course.deadline):
            await self._look_before(operation, course)
            if self._ledger is None:
                return await self._carry_out(operation, course)
            entry = await seen_through(self._ledger.begin(operation, course.sight.before))
            came: Receipt[R] | BaseException | None = None
            try:
                came = await self._once(operation, course, entry)
                return came
            except Exception as error:
                came = error
                raise
            finally:
                # None: cancelled, which happens only while nothing is under way.
                came = came or course.in_doubt or Unreachable("Cancelled.", code="cancelled", outcome="not_committed")
                await seen_through(self._ledger.end(entry, operation, came))

    async def _look_before(self, operation: Operation[Any], course: _Course) -> None:
        """Read the present state before a write whose repeat would add a second row or undo another's change.

        If it cannot be read, the write is sent all the same, and later look-ups decide nothing.
        """
        trace, now = operation.trace(), anyio.current_time()
        ends = now + min(BEFORE_S, (course.deadline - now) / 5)

        async def ask(read: Operation[R], /) -> Receipt[R]:
            return receipt_of(read, await self._exchanges.exchange(read, ends, guarded=True))

        with suppress(CallError):
            if isinstance(trace, LeftRow) and operation.effect is Effect.ADD:
                course.sight.before = await ListLook(trace).before(ask)
            elif isinstance(trace, Changed):
                course.sight.stood = (await ask(trace.read)).result

    async def _once(self, operation: Operation[R], course: _Course, entry: Entry) -> Receipt[R]:
        """Carry out a write unless the ledger knows an equal one that did it."""
        trace = operation.trace()
        entry = await self._waited(operation, course, entry)
        if entry.standing == "done":
            return Receipt(cast("R", entry.result), "replayed")
        if entry.standing == "new" or trace is None or operation.effect not in {Effect.ADD, Effect.CHANGE}:
            return await self._carry_out(operation, course)
        if entry.standing == "standing":
            if isinstance(trace, LeftRow) and await ListLook(trace).still_has(course.sight, entry.result.id):
                return Receipt(cast("R", entry.result), "replayed")
            return await self._carry_out(operation, course)
        return await self._once_settled(operation, course, entry)

    async def _once_settled(self, operation: Operation[R], course: _Course, entry: Entry) -> Receipt[R]:
        """Look whether an equal write without a recorded outcome was carried out; send this one only if it was not."""
        if not entry.under_way and entry.last_age_s < SETTLE_S:  # its process has ended; its request may still arrive
            await self._endpoints[operation.api].retry.sleep(SETTLE_S)
        verdict = await seen_through(self._verdict(operation, self._course(operation, first=entry)))
        if isinstance(verdict, Found):
            return Receipt(verdict.result, "replayed")
        if verdict == "undecided" and operation.effect is Effect.ADD:  # a change that is asked for again is made again
            raise in_doubt(unreachable("An equal call was cut off.", is_write=True, maybe_applied=True))
        if entry.under_way and entry.last_age_s < self._deadline_s:
            raise Conflict(
                "An equal call is under way. Nothing was sent; wait, then call again.",
                code="in_flight",
                retry_after_s=math.ceil(self._deadline_s - entry.last_age_s),
                outcome="not_committed",
            )
        course.sight.before = entry.before or course.sight.before
        return await self._carry_out(operation, course)

    async def _waited(self, operation: Operation[Any], course: _Course, entry: Entry) -> Entry:
        """How a write stands after an equal one of another process has ended or the wait for it was too long."""
        for pause in PAUSES if self._ledger is not None and operation.effect is Effect.ADD else ():
            if entry.standing != "open" or not entry.under_way or anyio.current_time() + pause >= course.last_send:
                break
            await self._endpoints[operation.api].retry.sleep(pause)
            entry = await cast("Ledger", self._ledger).again(entry, operation)
        return entry

    async def _carry_out(self, operation: Operation[R], course: _Course) -> Receipt[R]:
        """Send an operation, repeat it where that is safe, and find out what became of it after a lost answer."""
        endpoint, budget = self._endpoints[operation.api], self._budgets[operation.api]
        try:
            attempts = endpoint.retry.attempts(operation.effect, course.deadline, budget)
            receipt = cast("Receipt[R]", await attempts(self._try, operation, course))
        except CallError as error:
            if course.in_doubt is None or error is course.told or error.outcome in {"committed", "replayed"}:
                raise
            return await seen_through(self._settled(operation, course, error))
        budget.succeeded(retried=course.retried)
        return receipt

    def _course(self, operation: Operation[Any], *, first: Entry | None = None) -> _Course:
        """A call that begins now. `first` describes its first attempt if another course made it."""
        began, deadline, mark = anyio.current_time(), deadline_in(self._deadline_s), self._seen.mark()

        async def ask(read: Operation[R], /) -> Receipt[R]:
            attempts = self._endpoints[read.api].retry.attempts(read.effect, deadline, self._budgets[read.api])
            answer = cast("Answer", await attempts(self._exchanges.exchange, read, deadline, guarded=False))
            return receipt_of(read, answer)

        sight = Sight(
            ask=ask,
            known=(lambda found: self._seen.before(found, mark)) if first is None else (lambda _: False),
            age=lambda: anyio.current_time() - began + (0.0 if first is None else first.age_s),
            before=None if first is None else first.before,
        )
        reserve = min(LOOK_UP_S, (deadline - began) * 0.3) if operation.trace() is not None else 0.0
        return _Course(deadline, deadline - reserve, sight)

    async def _try(self, operation: Operation[R], course: _Course) -> Receipt[R]:
        """One request and its answer. In doubt, a write whose repeat would add a second row is looked for."""
        if operation.effect is Effect.ENSURE and course.in_doubt is not None:
            found = await self._there(operation, course)
            if found is not None:
                return found
        ends = course.last_send
        if operation.effect in {Effect.ENSURE, Effect.REMOVE}:  # may be repeated in doubt: keep time for that
            ends -= max(0.0, ends - anyio.current_time()) / 2
        try:
            receipt = receipt_of(operation, await self._exchanges.exchange(operation, ends, guarded=True))
        except NotFound:
            # Gone already when asked again after a lost answer: the first request did it (bland-triage, section 2).
            if operation.effect is Effect.REMOVE and course.in_doubt is not None:
                return Receipt(cast("R", None), "committed")
            raise
        except CallError as error:
            return await self._after_failure(operation, course, error)
        if receipt.outcome == "replayed" and course.in_doubt is not None and course.sight.may_have_made(receipt):
            receipt = replace(receipt, outcome="committed")  # by the request whose answer was lost
        self._seen.note(receipt.result)
        return receipt

    async def _after_failure(self, operation: Operation[R], course: _Course, error: CallError) -> Receipt[R]:
        """The result that the operation asks for, if it exists after a failed request. Raises the error otherwise."""
        course.retried = True
        if isinstance(error, Conflict) and error.code == Conflict.default_code:
            found = await self._there(operation, course)
            if found is not None:
                return found
        if error.outcome != "unknown":
            raise error
        course.in_doubt = error
        if operation.effect not in {Effect.ADD, Effect.CHANGE}:
            raise error
        return await seen_through(self._settled(operation, course, error))

    async def _there(self, operation: Operation[R], course: _Course) -> Receipt[R] | None:
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

    async def _settled(self, operation: Operation[R], course: _Course, error: CallError) -> Receipt[R]:
        """Look whether a write in doubt was carried out. Raises `error` with the outcome if it was not."""
        verdict = await self._verdict(operation, course)
        if isinstance(verdict, Found):
            course.in_doubt = None
            self._seen.note(verdict.result)
            return Receipt(verdict.result, verdict.outcome)
        if verdict == "undecided":
            course.told = in_doubt(error)
            raise course.told from error
        course.in_doubt = None
        raise not_there(error) from error

    async def _verdict(self, operation: Operation[R], course: _Course) -> Verdict[R]:
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


@asynccontextmanager
async def open_client(
    endpoints: Mapping[Api, Endpoint],
    *,
    deadline_s: float = 30.0,
    ledger: Ledger | None = None,
    network: Network | None = None,
    cursors: LongCursors | None = None,
) -> AsyncGenerator[Client]:
    """Open a client on the given endpoints; its connections close with the block.

    Args:
        endpoints: where each API is.
        deadline_s: seconds that one operation may take, its repeats and look-ups included.
        ledger: keeps a record of the writes, and knows of those before.
        network: reaches the endpoints that bring no transport, and signed links; direct connections unless given.
        cursors: hand out short names for long cursors; without them, a list with such a one cannot be read on.
    """
    network = network or Network()
    async with AsyncExitStack() as stack:
        http = dict[Api, Http]()
        for api, endpoint in endpoints.items():
            transport = endpoint.transport or network.transport(at_once=endpoint.in_flight + 1)
            stack.push_async_callback(transport.aclose)
            http[api] = Http(transport, endpoint.base_url)
        links = Links(endpoints[Api.ATTACHMENTS], deadline_s, network=network) if Api.ATTACHMENTS in endpoints else None
        if links is not None:
            stack.push_async_callback(links.aclose)
        yield Client(endpoints, http, links, deadline_s, ledger, cursors=cursors)
