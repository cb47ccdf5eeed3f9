"""What the client may ask of one API, and for how long: a deadline, requests a second, retries, and when to leave it alone.

Rates come from aiolimiter. The breaker and the budget are our own: no light asynchronous library lets exactly one probe
through and says how long to wait, or lets a retry cost more than a first try.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import anyio

from calltriage.client.lost_answers import unreachable
from calltriage.errors import CallError, RateLimited, ServerFailure, Unauthenticated, Unreachable
from calltriage.operations.base import Operation

T = TypeVar("T")

if TYPE_CHECKING:
    from aiolimiter import AsyncLimiter

_until: ContextVar[float] = ContextVar("calltriage_deadline", default=math.inf)


@contextmanager
def within(seconds: float) -> Generator[None]:
    """Give everything that the client sends in the block one deadline together, the tasks begun in it included."""
    token = _until.set(min(_until.get(), anyio.current_time() + seconds))
    try:
        yield
    finally:
        _until.reset(token)


def deadline_in(seconds: float) -> float:
    """The instant, on the event loop's clock, by which a call begun now must end."""
    return min(_until.get(), anyio.current_time() + seconds)


@dataclass
class RetryBudget:
    """Tokens that retries cost and successes give back, so that an outage is not answered with three times the traffic.

    The figures are those of the AWS SDKs' standard mode: 500 tokens pay for 35 retries, then one needs 14 successes.
    """

    capacity: int = 500
    cost: int = 14
    left: int = field(init=False)

    def __post_init__(self) -> None:
        self.left = self.capacity

    def take(self) -> bool:
        """Pay for a retry; False when there is not enough left."""
        if self.left < self.cost:
            return False
        self.left -= self.cost
        return True

    def succeeded(self, *, retried: bool) -> None:
        """A call succeeded: its last retry is paid back, or a first try earns one token."""
        self.left = min(self.capacity, self.left + (self.cost if retried else 1))


@dataclass
class Rate:
    """At most `burst` requests at once and `per_second` on average; a caller waits its turn."""

    per_second: float = 5.0
    burst: int = 10
    _limiter: AsyncLimiter | None = field(default=None, init=False, repr=False)
    _shared: list[Callable[[], Awaitable[None]]] = field(
        default_factory=list[Callable[[], Awaitable[None]]], init=False, repr=False, compare=False
    )

    @contextmanager
    def shared(self, take: Callable[[], Awaitable[None]]) -> Generator[None]:
        """While the block runs, `take` waits for each request's turn, among all processes that share it.

        Blocks may overlap in any order, as those of a server's tools do: the one that began last counts."""
        self._shared.append(take)
        try:
            yield
        finally:
            self._shared.remove(take)

    async def acquire(self) -> None:
        if self._shared:
            await self._shared[-1]()
            return
        if self._limiter is None:
            from aiolimiter import AsyncLimiter  # noqa: PLC0415  only vendors are limited

            self._limiter = AsyncLimiter(self.burst, self.burst / self.per_second)
        await self._limiter.acquire()


@dataclass
class Breaker:
    """Leaves an API alone for a while once it fails again and again.

    It opens after `in_a_row` exchanges without an answer, or when more than half of the last `window` exchanges failed
    (no answer, or a 5xx). After `rest_s` seconds one exchange is let through as a probe, and what becomes of it decides.
    A refusal (4xx) is an answer: a wrong key opens nothing. One breaker per API and client, so per set of credentials.
    """

    in_a_row: int = 5
    window: int = 20
    rest_s: float = 10.0
    _recent: deque[bool] = field(default_factory=deque[bool], init=False, repr=False)
    _silent: int = field(default=0, init=False)
    _open_until: float | None = field(default=None, init=False)
    _probing: bool = field(default=False, init=False)

    @contextmanager
    def around(self, *, is_write: bool) -> Generator[None]:
        """Around one exchange. Raises Unreachable, with the time to wait, when it may not begin."""
        is_probe, failed = self._enter(is_write=is_write), None
        try:
            yield
        except BaseException as error:
            failed = error
            raise
        finally:
            self._leave(failed, is_probe=is_probe)

    def _enter(self, *, is_write: bool) -> bool:
        """Whether an exchange that begins is the probe."""
        if self._open_until is None:
            return False
        wait = self._open_until - anyio.current_time()
        if wait <= 0 and not self._probing:
            self._probing = True
            return True
        raise Unreachable(
            "The API failed again and again and is left alone for a moment. Nothing was sent; wait, then call again.",
            code="circuit_open",
            retry_after_s=max(1.0, math.ceil(round(wait, 3))),  # the last bits of a clock are no second
            outcome="not_committed" if is_write else None,
        )

    def _leave(self, error: BaseException | None, *, is_probe: bool) -> None:
        """Take in how an exchange ended. An error that is not the API's doing counts for nothing, nor does an
        exchange that began before the API was left alone and ends while it is."""
        silent, failed = isinstance(error, Unreachable), isinstance(error, Unreachable | ServerFailure)
        proves_nothing = error is not None and not isinstance(error, CallError)  # cancelled
        if is_probe:
            self._probing = False
        if proves_nothing or (self._open_until is not None and not is_probe):
            return
        if is_probe or not failed:
            self._silent = 0
        if is_probe:
            self._open_until = anyio.current_time() + self.rest_s if failed else None
            self._recent.clear()
            return
        self._silent += silent
        self._recent.append(failed)
        if len(self._recent) > self.window:
            self._recent.popleft()
        bad = len(self._recent) == self.window and sum(self._recent) * 2 > self.window
        if self._silent >= self.in_a_row or bad:
            self._open_until = anyio.current_time() + self.rest_s
            self._recent.clear()
            self._silent = 0


@dataclass
class LastAnswers:
    """How each API answered last. A failure counts for `counts_s` seconds: a load balancer that sends no calls here
    because of it would otherwise never learn that the API is back."""

    counts_s: float = 60.0
    _failed_at: dict[str, float] = field(default_factory=dict[str, float], init=False)

    @contextmanager
    def noted(self, api: str) -> Generator[None]:
        """Around one exchange. It fails without an answer, with a 5xx, or with a refusal of the credentials."""
        try:
            yield
        except (Unreachable, ServerFailure, Unauthenticated):
            self._failed_at[api] = anyio.current_time()
            raise
        except CallError:
            self._failed_at.pop(api, None)
            raise
        self._failed_at.pop(api, None)

    @property
    def are_good(self) -> bool:
        """Whether no API failed at its last exchange. Nothing is sent to know that."""
        since = anyio.current_time() - self.counts_s
        return all(at < since for at in self._failed_at.values())


def is_failure(error: BaseException) -> bool:
    """Whether time may mend an error, so that a retry is worth its cost."""
    return isinstance(error, RateLimited | ServerFailure | Unreachable) and error.code != "circuit_open"


class Turns:
    """Lets equal writes go one after the other. Two at once with lost answers could not be told apart."""

    def __init__(self) -> None:
        self._locks: dict[str, anyio.Lock] = {}

    @asynccontextmanager
    async def one(self, operation: Operation[object], deadline: float) -> AsyncGenerator[None]:
        """Holds the turn of one write. Raises Unreachable if equal ones take until the deadline."""
        name = f"{operation.method} {operation.url()} {operation.model_dump_json()}"
        lock = self._locks.setdefault(name, anyio.Lock(fast_acquire=True))
        with anyio.CancelScope(deadline=deadline) as waiting:
            await lock.acquire()
        if waiting.cancelled_caught:
            raise unreachable("An equal call is still under way.", is_write=True, maybe_applied=False)
        try:
            yield
        finally:
            lock.release()
            if not lock.locked():  # else who waited has it now
                self._locks.pop(name, None)


async def seen_through(work: Awaitable[T]) -> T:
    """Wait for something and hold a cancellation back until it has ended."""
    with anyio.CancelScope(shield=True):
        return await work
    raise AssertionError("a shield without a deadline swallows nothing")
