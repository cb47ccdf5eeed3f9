"""One request and its answer: bounded in time, in turn, with good credentials, to an API that is not to be left alone."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import anyio
import anyio.lowlevel
import httpx2

from calltriage.client.answers import Answer, failure, read_answer
from calltriage.client.credentials import Endpoint
from calltriage.client.http import Http
from calltriage.client.limits import LastAnswers
from calltriage.client.lost_answers import unreachable
from calltriage.client.network import NOT_SENT, not_connected
from calltriage.client.signed_links import TIMEOUT as BYTES_TIMEOUT
from calltriage.client.signed_links import Fetch
from calltriage.errors import CallError
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.base import Api, Effect, Operation

SUCCESS = frozenset({200, 201, 202, 204})
"""Statuses of success, whichever of them an operation is documented with."""


class Exchanges:
    """Carries single requests to the two APIs, each over its HTTP client. Nothing is repeated here, but after a 401 with
    renewed credentials."""

    def __init__(self, endpoints: Mapping[Api, Endpoint], http: Mapping[Api, Http]) -> None:
        self._endpoints = endpoints
        self._http = http
        self._slots = {api: anyio.CapacityLimiter(endpoint.in_flight) for api, endpoint in endpoints.items()}
        self.last_answers = LastAnswers()
        self.requests = 0

    async def exchange(self, operation: Operation[object], deadline: float, *, guarded: bool) -> Answer:
        """One exchange if the API is not left alone at the moment; look-ups, not guarded, are always sent."""
        breaker = self._endpoints[operation.api].breaker
        if breaker is None or not guarded:
            return await self._exchange_noted(operation, deadline)
        with breaker.around(is_write=operation.effect is not Effect.READ):
            return await self._exchange_noted(operation, deadline)

    @asynccontextmanager
    async def stream(self, operation: Operation[object]) -> AsyncGenerator[Fetch]:
        """Send a read and yield its answer while the bytes arrive. Repeated only after a 401, with renewed credentials.

        It waits for its turn like any other, and holds no slot while the bytes arrive. Raises a CallError for a failure.
        """
        try:
            async with AsyncExitStack() as stack:
                response = await self._opened(operation, stack)
                if response.status_code not in operation.success:
                    raise failure(await read_answer(response), type(operation))
                yield Fetch.of(response)
        except NOT_SENT as error:
            raise not_connected(error, is_write=False) from error
        except httpx2.TransportError as error:
            raise unreachable("The transfer broke off. Call again.", is_write=False, maybe_applied=False) from error

    async def _opened(self, operation: Operation[object], stack: AsyncExitStack) -> httpx2.Response:
        """The head of an answer whose body comes later; the stack closes it."""

        async def send(authorization: str) -> httpx2.Response:
            headers = {"authorization": authorization, "accept": "*/*"}
            http = self._http[operation.api]
            opening = http.stream(operation.method, operation.url(), headers=headers, patience=BYTES_TIMEOUT)
            return await stack.enter_async_context(opening)

        rate = self._endpoints[operation.api].rate
        if rate is not None:
            await rate.acquire()
        async with self._slots[operation.api]:
            refused = await self._authorization(operation)
            response = await send(refused)
            if response.status_code == 401:
                renewed = await self._authorization(operation, refused=refused)
                if renewed != refused:
                    await response.aclose()
                    response = await send(renewed)
            return response

    async def _exchange_noted(self, operation: Operation[object], deadline: float) -> Answer:
        """One exchange, whose answer is remembered."""
        with self.last_answers.noted(operation.api.value):
            return await self._exchange_in_turn(operation, deadline)

    async def _exchange_in_turn(self, operation: Operation[object], deadline: float) -> Answer:
        """One exchange, renewed credentials included. A write that began is seen through, cancelled or not."""
        is_write = operation.effect is not Effect.READ
        sent, seen = False, list[Answer]()
        try:
            await self._take_slot(operation, deadline)
            try:
                with anyio.CancelScope(shield=is_write, deadline=deadline):
                    headers = {"authorization": await self._authorization(operation)}
                    sent = True
                    answer = await self._exchange_single(operation, headers, seen.append)
                    if answer.status == 401:
                        sent = False  # a 401 was not carried out
                        refused = headers["authorization"]
                        headers = {"authorization": await self._authorization(operation, refused=refused)}
                        if headers["authorization"] != refused:
                            sent = True
                            answer = await self._exchange_single(operation, headers, seen.append)
                    return _checked(operation, answer)
            finally:
                self._slots[operation.api].release()
        except NOT_SENT as error:
            raise not_connected(error, is_write=is_write) from error
        except httpx2.TransportError as error:
            timed_out = isinstance(error, httpx2.TimeoutException)
            what = "The answer timed out." if timed_out else "The connection broke before the answer came."
            raise unreachable(what, is_write=is_write, maybe_applied=sent) from error
        # Whatever else leaves the scope returns or raises: this is its deadline.
        if is_write and seen and 200 <= seen[-1].status < 300:
            return seen[-1]  # the body still drips, but the API has said that it is done
        raise unreachable("No answer within the deadline.", is_write=is_write, maybe_applied=sent) from TimeoutError()

    async def _take_slot(self, operation: Operation[object], deadline: float) -> None:
        """Wait for the operation's turn, if there is anything to wait for. Raises Unreachable if that takes too long."""
        rate, slots = self._endpoints[operation.api].rate, self._slots[operation.api]
        await anyio.lowlevel.checkpoint_if_cancelled()
        if rate is None and anyio.current_time() < deadline:
            with suppress(anyio.WouldBlock):
                slots.acquire_nowait()
                return
        with anyio.CancelScope(deadline=deadline) as waiting:
            if rate is not None:
                await rate.acquire()
            await slots.acquire()
        if waiting.cancelled_caught:
            is_write = operation.effect is not Effect.READ
            raise unreachable("Too many calls were waiting.", is_write=is_write, maybe_applied=False, code="overloaded")

    async def _authorization(self, operation: Operation[object], *, refused: str | None = None) -> str:
        """The header. What goes wrong here happened before the call was sent, so the call was not carried out."""
        try:
            return await self._endpoints[operation.api].credentials.header(self._http[operation.api], refused=refused)
        except NOT_SENT as error:  # only the token endpoint is asked for a header
            is_write = operation.effect is not Effect.READ
            raise not_connected(error, is_write=is_write, what="the token endpoint") from error
        except CallError as error:
            if operation.effect is not Effect.READ:
                error.outcome = "not_committed"
            raise

    async def _exchange_single(
        self, operation: Operation[object], headers: dict[str, str], on_head: Callable[[Answer], None]
    ) -> Answer:
        """One request and its answer; `on_head` hears of the answer before its body is there."""
        payload = operation.payload()
        content: JsonObject = {"params": payload} if operation.method == "GET" else {"json": payload}
        if operation.method in {"DELETE", "PUT"} and not payload:  # they have no body in either contract
            content = {}
        http = self._http[operation.api]
        self.requests += 1
        async with http.stream(operation.method, operation.url(), headers=headers, whole=True, **content) as response:
            on_head(Answer(response.status_code, response.headers, None, broke_off=True))
            return await read_answer(response)


def _checked(operation: Operation[object], answer: Answer) -> Answer:
    is_write = operation.effect is not Effect.READ
    if answer.status in {*SUCCESS, *operation.success} or (is_write and 200 <= answer.status < 300):
        if answer.broke_off and not is_write:
            raise unreachable("The answer broke off.", is_write=False, maybe_applied=False)
        return answer
    raise failure(answer, type(operation))
