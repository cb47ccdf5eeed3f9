"""How an operation goes over HTTP: bounded in time and size, repeated only where that is safe, answered with a type."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TypeVar

import anyio
import httpx2

from calltriage.client.common_reads import CommonReads
from calltriage.client.credentials import Endpoint
from calltriage.client.exchanges import Exchanges
from calltriage.client.home import Home
from calltriage.client.http import Http
from calltriage.client.ledger import Entry, Ledger
from calltriage.client.limits import LastAnswers, RetryBudget, Turns, seen_through
from calltriage.client.long_cursors import LongCursors
from calltriage.client.look_ups import Found, ListLook
from calltriage.client.lost_answers import in_doubt, unreachable
from calltriage.client.network import Network
from calltriage.client.receipts import Receipt, receipt_of
from calltriage.client.reconciling import SETTLE_S, Course, Reconciler
from calltriage.client.signed_links import Fetch, Links
from calltriage.errors import CallError, Conflict, NotFound, Outcome, SettingsError, Unreachable
from calltriage.operations.base import Api, Effect, Operation
from calltriage.operations.traces import LeftRow

R = TypeVar("R")

logger = logging.getLogger(__name__)

PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8, *[1.6] * 7)
"""Seconds between looks at an equal write that another process is sending."""


Watcher = Callable[[Operation[object]], Awaitable[None]]
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
        home: Home | None = None,
    ) -> None:
        self._endpoints = endpoints
        self._exchanges = Exchanges(endpoints, http)
        self._links = links
        self._deadline_s = deadline_s
        self._ledger = ledger
        self._home = home
        self._cursors = cursors or LongCursors()
        self._budgets = {api: RetryBudget() for api in endpoints}
        self._turns = Turns()
        self._common = CommonReads()
        self._reconciler = Reconciler(self._exchanges, endpoints, self._budgets, deadline_s)
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
    def endpoints(self) -> Mapping[Api, Endpoint]:
        """How each API is reached."""
        return self._endpoints

    @property
    def triage(self) -> Endpoint:
        """How the triage API is reached, and what it can do."""
        return self._endpoints[Api.TRIAGE]

    @property
    def home(self) -> Home:
        """Where a program on this client keeps what it has to remember. Raises SettingsError for a client without one."""
        if self._home is None:
            raise SettingsError("This client has no data folder. Open one with calltriage.open_client().")
        return self._home

    @property
    def record(self) -> Ledger | None:
        """Where writes are recorded before they are sent."""
        return self._ledger

    @property
    def shares_ids(self) -> bool:
        """Whether both APIs are one service, so that an id of one means something to the other."""
        return len({str(httpx2.URL(endpoint.base_url)).rstrip("/") for endpoint in self._endpoints.values()}) == 1

    @property
    def requests(self) -> int:
        """How many requests it has sent, those for operations."""
        return self._exchanges.requests

    @property
    def deadline_s(self) -> float:
        """Seconds that one call may take."""
        return self._deadline_s

    async def send(self, operation: Operation[R]) -> R:
        """Send an operation and return its result. Raises a `CallError` (calltriage.errors) when it did not succeed."""
        return (await self.deliver(operation)).result

    async def send_shared(self, read: Operation[R]) -> R:
        """Like `send`, for a read that several tasks may ask for at once: one request, sent after they asked, answers them
        all. They share the result, so nobody may change it."""
        name = f"{type(read).__name__} {read.model_dump_json()}"
        return await self._common.one(name, lambda: self.send(read), anyio.current_time() + self._deadline_s)

    def stream(self, operation: Operation[object]) -> AbstractAsyncContextManager[Fetch]:
        """Send a read and yield its answer while the bytes arrive. Sent once. Raises a CallError for a failure."""
        return self._exchanges.stream(operation)

    async def deliver(self, operation: Operation[R]) -> Receipt[R]:
        """Like `send`, and says besides what became of a write.

        A write that was sent is seen through, cancelled or not: to its answer, or to a look whether it was carried out.
        """
        outcome: Outcome | None = "unknown"  # unless it is found out: a crash or a cancellation leaves it so
        try:
            receipt = await self._deliver_once(operation)
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

    async def _deliver_once(self, operation: Operation[R]) -> Receipt[R]:
        """Deliver an operation. Equal writes go one after the other, and one that the ledger knows as done is not sent."""
        if operation.effect is Effect.READ:
            return await self._deliver_read(operation)
        course = self._reconciler.course(operation)
        async with self._turns.one(operation, course.deadline):
            await self._reconciler.look_before(operation, course)
            if self._ledger is None:
                return await self._send_repeating(operation, course)
            return await self._deliver_recorded(operation, course, self._ledger)

    async def _deliver_read(self, operation: Operation[R]) -> Receipt[R]:
        """Deliver a read. Its cursor goes out as the vendor wrote it, and a long one comes back under a short name."""
        meant = await self._cursors.meant(operation)
        receipt = await self._send_repeating(meant, self._reconciler.course(meant))
        return replace(receipt, result=await self._cursors.named(receipt.result))

    async def _deliver_recorded(self, operation: Operation[R], course: Course, ledger: Ledger) -> Receipt[R]:
        """Deliver a write that is on record before it is sent, and record what became of it."""
        entry = await seen_through(ledger.begin(operation, course.sight.before))
        came: Receipt[R] | BaseException | None = None
        try:
            came = await self._deliver_unless_done(
                operation, course, await self._waited(operation, course, ledger, entry)
            )
            return came
        except Exception as error:
            came = error
            raise
        finally:
            # None: cancelled, which happens only while nothing is under way.
            came = came or course.in_doubt or Unreachable("Cancelled.", code="cancelled", outcome="not_committed")
            await seen_through(ledger.end(entry, operation, came))

    async def _waited(self, operation: Operation[object], course: Course, ledger: Ledger, entry: Entry) -> Entry:
        """How a write stands after an equal one of another process has ended or the wait for it was too long."""
        for pause in PAUSES if operation.effect is Effect.ADD else ():
            if entry.standing != "open" or not entry.under_way or anyio.current_time() + pause >= course.last_send:
                break
            await self._endpoints[operation.api].retry.sleep(pause)
            entry = await ledger.again(entry, operation)
        return entry

    async def _deliver_unless_done(self, operation: Operation[R], course: Course, entry: Entry) -> Receipt[R]:
        """Send a write unless the ledger knows an equal one that did it."""
        trace = operation.trace()
        if entry.standing == "done":
            return Receipt(entry.result, "replayed")
        if entry.standing == "new" or trace is None or operation.effect not in {Effect.ADD, Effect.CHANGE}:
            return await self._send_repeating(operation, course)
        if entry.standing == "standing":
            if isinstance(trace, LeftRow) and await ListLook(trace).still_has(course.sight, entry.result.id):
                return Receipt(entry.result, "replayed")
            return await self._send_repeating(operation, course)
        return await self._deliver_unless_found(operation, course, entry)

    async def _deliver_unless_found(self, operation: Operation[R], course: Course, entry: Entry) -> Receipt[R]:
        """Look whether an equal write without a recorded outcome was carried out; send this one only if it was not."""
        if not entry.under_way and entry.last_age_s < SETTLE_S:  # its process has ended; its request may still arrive
            await self._endpoints[operation.api].retry.sleep(SETTLE_S)
        first = self._reconciler.course(operation, first=entry)
        verdict = await seen_through(self._reconciler.verdict(operation, first))
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
        return await self._send_repeating(operation, course)

    async def _send_repeating(self, operation: Operation[R], course: Course) -> Receipt[R]:
        """Send an operation, repeat it where that is safe, and find out what became of it after a lost answer."""
        policy, budget = self._endpoints[operation.api].retry, self._budgets[operation.api]
        try:
            receipt = await policy.repeat(
                lambda: self._send_reconciling(operation, course), operation.effect, course.deadline, budget
            )
        except CallError as error:
            if course.in_doubt is None or error is course.told or error.outcome in {"committed", "replayed"}:
                raise
            return await seen_through(self._reconciler.settle(operation, course, error))
        budget.succeeded(retried=course.retried)
        return receipt

    async def _send_reconciling(self, operation: Operation[R], course: Course) -> Receipt[R]:
        """Send one request. In doubt, a write whose repeat would add a second row is looked for."""
        if operation.effect is Effect.ENSURE and course.in_doubt is not None:
            found = await self._reconciler.there(operation, course)
            if found is not None:
                return found
        ends = course.last_send
        if operation.effect in {Effect.ENSURE, Effect.REMOVE}:  # may be repeated in doubt: keep time for that
            ends -= max(0.0, ends - anyio.current_time()) / 2
        try:
            receipt = receipt_of(operation, await self._exchanges.exchange(operation, ends, guarded=True))
        except NotFound:
            removed = self._reconciler.gone(operation, course)
            if removed is not None:
                return removed
            raise
        except CallError as error:
            return await self._reconciler.failed(operation, course, error)
        return self._reconciler.succeeded(receipt, course)


@asynccontextmanager
async def open_client(
    endpoints: Mapping[Api, Endpoint],
    *,
    deadline_s: float = 30.0,
    ledger: Ledger | None = None,
    network: Network | None = None,
    cursors: LongCursors | None = None,
    home: Home | None = None,
) -> AsyncGenerator[Client]:
    """Open a client on the given endpoints; its connections close with the block.

    Args:
        endpoints: where each API is.
        deadline_s: seconds that one operation may take, its repeats and look-ups included.
        ledger: keeps a record of the writes, and knows of those before.
        network: reaches the endpoints that bring no transport, and signed links; direct connections unless given.
        cursors: hand out short names for long cursors; without them, a list with such a one cannot be read on.
        home: where a program on the client keeps what it has to remember.
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
        yield Client(endpoints, http, links, deadline_s, ledger, cursors=cursors, home=home)
