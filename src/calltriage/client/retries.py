"""When a request may be sent again, and how long to wait first: one table for everything the client sends."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from time import time
from typing import TYPE_CHECKING, TypeVar

import anyio

from calltriage.client.limits import RetryBudget, is_failure
from calltriage.errors import CallError, RateLimited, ServerFailure
from calltriage.operations.base import Effect

if TYPE_CHECKING:
    from tenacity import RetryCallState

T = TypeVar("T")


@dataclass(frozen=True)
class RetryPolicy:
    """Full jitter: each wait is random between 0 and `first_s` doubled per try, at most `cap_s`.

    `sleep` is replaced in tests, so that none of them waits.
    """

    first_s: float = 0.5
    cap_s: float = 8.0
    tries: int = 3
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep

    async def repeat(self, send: Callable[[], Awaitable[T]], effect: Effect, deadline: float, budget: RetryBudget) -> T:
        """Send, and repeat it where `may_repeat` allows that. Raises the last try's error.

        No try begins if its wait would reach the deadline or the budget cannot pay for it.

        Args:
            send: one try.
            effect: of what is sent.
            deadline: instant on the event loop's clock.
            budget: what the API's calls pay their retries from.
        """
        least = (deadline - anyio.current_time()) * 0.1  # seconds that a try needs to be worth its wait
        try:
            return await send()
        except CallError as error:
            if not may_repeat(effect, error):
                raise
            first = [error]
        from tenacity import AsyncRetrying, retry_if_exception  # noqa: PLC0415  few calls fail

        def is_last(state: RetryCallState) -> bool:
            too_late = anyio.current_time() + state.upcoming_sleep + least >= deadline
            return state.attempt_number >= self.tries or too_late or not budget.take()

        async def attempt() -> T:
            if first:
                raise first.pop()
            return await send()

        retrying = AsyncRetrying(
            stop=is_last,
            wait=self._wait,
            retry=retry_if_exception(lambda error: may_repeat(effect, error)),
            sleep=self.sleep,
            reraise=True,
        )
        result: T = await retrying(attempt)
        return result

    async def pause(self, attempt: int, error: BaseException) -> None:
        """Wait after a failed attempt; attempts count from 1."""
        await self.sleep(self._seconds(attempt, error))

    def _wait(self, state: RetryCallState) -> float:
        return self._seconds(state.attempt_number, state.outcome.exception() if state.outcome else None)

    def _seconds(self, attempt: int, error: BaseException | None) -> float:
        jitter = random.uniform(0, min(self.cap_s, self.first_s * 2 ** (attempt - 1)))  # noqa: S311
        return jitter + ((error.retry_after_s or 0) if isinstance(error, RateLimited | ServerFailure) else 0)


LONGEST_WAIT = 86_400.0
"""One day in seconds. A longer wait is a mistake of the API, often a Unix time."""


def may_repeat(effect: Effect, error: BaseException) -> bool:
    """Whether a request with this failure may be sent again unchanged.

    It may if it was surely not carried out: 429, no connection, or looked for and not found. In doubt, it may only if a
    repeat cannot do it twice. Every other failure is a verdict, 409 above all.
    """
    if not isinstance(error, CallError) or not is_failure(error):
        return False
    if isinstance(error, RateLimited) or error.outcome == "not_committed":
        return True
    return effect not in {Effect.ADD, Effect.CHANGE}


def retry_after_seconds(value: str | None) -> float | None:
    """Seconds of a `Retry-After` header (RFC 9110: seconds or a date); None when absent or unreadable.
    Never more than LONGEST_WAIT."""
    if value is None:
        return None
    if value.strip().isascii() and value.strip().isdigit():
        return min(float(value.strip()[:9]), LONGEST_WAIT)
    try:
        moment = parsedate_to_datetime(value)
        seconds = moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - time()
    except (ValueError, OverflowError):
        return None
    return min(max(0.0, seconds), LONGEST_WAIT)
