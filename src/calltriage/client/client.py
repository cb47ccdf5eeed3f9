"""How an operation goes over HTTP: bounded in time and size, repeated only where that is safe, answered with a type."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import anyio
import httpx2
from pydantic import TypeAdapter, ValidationError

from calltriage.client.answers import Answer, failure, read_answer, read_json
from calltriage.client.dialects import Endpoint
from calltriage.client.links import Links
from calltriage.errors import CallError, NotFound, Outcome, SettingsError, Unreachable, UnreadableAnswer
from calltriage.operations.base import Api, Effect, Operation

R = TypeVar("R")

logger = logging.getLogger(__name__)

NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol)
"""Failures before the first byte of the request left."""

TIMEOUT = httpx2.Timeout(connect=5, read=15, write=15, pool=10)


@dataclass(frozen=True)
class Receipt(Generic[R]):
    """A result and, for a write, whether it was done now or found done (`committed`, `replayed`)."""

    result: R
    outcome: Outcome | None


Watcher = Callable[[Operation[Any]], Awaitable[None]]
"""Told of a write; it must be quick and must not fail."""


class Client:
    """Sends operations to the two APIs. Make one with `open_client`; safe to share between tasks."""

    def __init__(
        self,
        endpoints: Mapping[Api, Endpoint],
        http: Mapping[Api, httpx2.AsyncClient],
        links: Links | None,
        deadline_s: float,
    ) -> None:
        self._endpoints = endpoints
        self._http = http
        self._links = links
        self._deadline_s = deadline_s
        self._slots = {api: anyio.CapacityLimiter(endpoint.in_flight) for api, endpoint in endpoints.items()}
        self._watchers: list[Watcher] = []

    def watch(self, watcher: Watcher) -> None:
        """Have `watcher` told of each write that was carried out now, or may have been."""
        self._watchers.append(watcher)

    @property
    def links(self) -> Links:
        """The signed URLs of the attachments API: where bytes go, which no operation carries."""
        if self._links is None:
            raise SettingsError("This client has no attachments API.")
        return self._links

    async def send(self, operation: Operation[R]) -> R:
        """Send an operation and return its result. Raises a `CallError` (calltriage.errors) when it did not succeed."""
        return (await self.deliver(operation)).result

    async def deliver(self, operation: Operation[R]) -> Receipt[R]:
        """Like `send`, and says besides what became of a write."""
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

    async def _deliver(self, operation: Operation[R]) -> Receipt[R]:
        endpoint = self._endpoints[operation.api]
        attempts = endpoint.retry.attempts(operation.effect, self._deadline_s)
        deadline, maybe_done = anyio.current_time() + self._deadline_s, False

        async def attempt() -> Answer:
            nonlocal maybe_done
            try:
                return await self._attempt(operation, deadline)
            except CallError as error:
                maybe_done = maybe_done or error.outcome == "unknown"
                raise

        try:
            answer = cast("Answer", await attempts(attempt))
        except NotFound:
            # Gone already when asked again after a lost answer: the first request did it (bland-triage, section 2).
            if operation.effect is Effect.REMOVE and maybe_done:
                return Receipt(cast("R", None), "committed")
            raise
        return _receipt(operation, answer)

    async def _attempt(self, operation: Operation[Any], deadline: float) -> Answer:
        """One exchange, renewed credentials included. A write that began is seen through, cancelled or not."""
        is_write = operation.effect is not Effect.READ
        sent, seen = False, list[Answer]()
        try:
            with anyio.CancelScope(deadline=deadline) as waiting:
                await self._slots[operation.api].acquire()
            if waiting.cancelled_caught:
                raise _unreachable("Too many calls were waiting.", is_write, maybe_applied=False)
            try:
                with anyio.CancelScope(shield=is_write, deadline=deadline):
                    headers = {"authorization": await self._authorization(operation)}
                    sent = True
                    answer = await self._exchange(operation, headers, seen.append)
                    if answer.status == 401 and self._endpoints[operation.api].credentials.renewable:
                        sent = False  # a 401 was not carried out
                        refused = headers["authorization"]
                        headers = {"authorization": await self._authorization(operation, refused=refused)}
                        sent = True
                        answer = await self._exchange(operation, headers, seen.append)
                    return self._checked(operation, answer)
            finally:
                self._slots[operation.api].release()
        except NOT_SENT as error:
            raise _unreachable("No connection to the API.", is_write, maybe_applied=False) from error
        except httpx2.TransportError as error:
            raise _unreachable("The connection broke before the answer came.", is_write, maybe_applied=sent) from error
        # Whatever else leaves the scope returns or raises: this is its deadline.
        if is_write and seen and 200 <= seen[-1].status < 300:
            return seen[-1]  # the body still drips, but the API has said that it is done
        raise _unreachable("No answer within the deadline.", is_write, maybe_applied=sent)

    async def _authorization(self, operation: Operation[Any], *, refused: str | None = None) -> str:
        """The header. What goes wrong here happened before the call was sent, so the call was not carried out."""
        try:
            return await self._endpoints[operation.api].credentials.header(self._http[operation.api], refused=refused)
        except CallError as error:
            if operation.effect is not Effect.READ:
                error.outcome = "not_committed"
            raise

    async def _exchange(
        self, operation: Operation[Any], headers: dict[str, str], on_head: Callable[[Answer], None]
    ) -> Answer:
        """One request and its answer; `on_head` hears of the answer before its body is there."""
        payload = operation.payload()
        content: dict[str, Any] = {"params": payload} if operation.method == "GET" else {"json": payload}
        if operation.method in {"DELETE", "PUT"} and not payload:  # they have no body in either contract
            content = {}
        http = self._http[operation.api]
        async with http.stream(operation.method, operation.url(), headers=headers, **content) as response:
            on_head(Answer(response.status_code, response.headers, None, broke_off=True))
            return await read_answer(response)

    def _checked(self, operation: Operation[Any], answer: Answer) -> Answer:
        if answer.broke_off and operation.effect is Effect.READ and answer.status in operation.success:
            raise _unreachable("The answer broke off.", is_write=False, maybe_applied=False)
        if answer.status in operation.success or (operation.effect is not Effect.READ and 200 <= answer.status < 300):
            return answer
        is_write = operation.effect is not Effect.READ
        raise failure(answer, arguments=frozenset(type(operation).model_fields), is_write=is_write)


def _receipt(operation: Operation[R], answer: Answer) -> Receipt[R]:
    """Validate a success. A write that the API says it did is never turned into a failure by an unreadable body."""
    outcome: Outcome | None = None
    if operation.effect is not Effect.READ:
        outcome = "replayed" if answer.status in operation.success[1:] else "committed"
    result_type = operation.result_type()
    if result_type is None:
        return Receipt(cast("R", None), outcome)
    try:
        body = read_json(answer.body)
        if operation.envelope:
            body = body["data"]
        return Receipt(_result_adapter(result_type).validate_python(body), outcome)
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        logger.warning("unreadable answer to %s: status %d", operation.tool_name(), answer.status)
        raise UnreadableAnswer(
            "The API said it succeeded, but its answer cannot be read."
            if outcome
            else "The API's answer breaks its contract. Try once more, then ask the operator to run: calltriage doctor",
            status=answer.status,
            outcome=outcome,
        ) from error


_adapters: dict[Any, TypeAdapter[Any]] = {}


def _result_adapter(result_type: Any) -> TypeAdapter[Any]:
    if result_type not in _adapters:
        _adapters[result_type] = TypeAdapter(result_type)
    return _adapters[result_type]


def _unreachable(message: str, is_write: bool, *, maybe_applied: bool) -> Unreachable:
    if not is_write:
        return Unreachable(f"{message} Wait, then call again.")
    if maybe_applied:
        return Unreachable(
            f"{message} It may or may not have been carried out: read the present state before calling again.",
            code="outcome_unknown",
            outcome="unknown",
        )
    return Unreachable(f"{message} Nothing was carried out; call again.", outcome="not_committed")


@asynccontextmanager
async def open_client(endpoints: Mapping[Api, Endpoint], *, deadline_s: float = 30.0) -> AsyncGenerator[Client]:
    """Open a client on the given endpoints; its connections close with the block.

    Args:
        endpoints: where each API is.
        deadline_s: seconds that one operation may take, its repeats included.
    """
    shared: dict[str, Any] = {
        "trust_env": False,
        "follow_redirects": False,
        "timeout": TIMEOUT,
        "headers": {"accept": "application/json, application/hal+json", "accept-encoding": "identity"},
    }
    async with AsyncExitStack() as stack:
        http = {
            api: await stack.enter_async_context(
                httpx2.AsyncClient(
                    base_url=endpoint.base_url,
                    transport=endpoint.transport,
                    limits=httpx2.Limits(max_connections=endpoint.in_flight + 1),
                    **shared,
                )
            )
            for api, endpoint in endpoints.items()
        }
        links = Links(endpoints[Api.ATTACHMENTS], deadline_s) if Api.ATTACHMENTS in endpoints else None
        if links is not None:
            stack.push_async_callback(links.aclose)
        yield Client(endpoints, http, links, deadline_s)
