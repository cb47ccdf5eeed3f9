"""Steps that are repeated while the API or a database is away."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from calltriage.errors import (
    Blocked,
    CallError,
    Forbidden,
    StorageUnavailable,
    StoreBusyError,
    Unauthenticated,
    is_group,
)

T = TypeVar("T")

PATIENCE_S = 600.0
"""Seconds for which a step is repeated before its error is raised, which pauses the run."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
"""Seconds between two tries: the first pause, doubled each time up to the longest."""

logger = logging.getLogger(__name__)


def may_pass(error: BaseException) -> bool:
    """Whether a repeat may succeed: the API does not answer, or a database is away or busy."""
    from sqlalchemy import exc  # noqa: PLC0415

    if is_group(error):
        return all(may_pass(one) for one in error.exceptions)
    if isinstance(error, CallError):
        return error.retryable and error.outcome != "unknown"
    if isinstance(error, StoreBusyError | exc.OperationalError | exc.TimeoutError):
        return True
    return isinstance(error, exc.DBAPIError) and error.connection_invalidated


def is_of_all(error: CallError) -> bool:
    """Whether an error is not of one call or incident: each other one would meet it, too, or a repeat may succeed."""
    return may_pass(error) or isinstance(error, Unauthenticated | Forbidden | Blocked | StorageUnavailable)


def may_be_repeated(error: BaseException) -> bool:
    """Whether a step that makes each write once may be repeated: `may_pass`, or nobody knows whether a write was made. The
    repeat looks for that write before it sends it again."""
    return may_pass(error) or (isinstance(error, CallError) and error.outcome == "unknown")


async def patiently(
    step: Callable[[], Awaitable[T]],
    *,
    passes: Callable[[BaseException], bool] = may_pass,
) -> T:
    """Repeat a step while it fails in a way that `passes`. Raises its last error PATIENCE_S after the first one."""
    ends, pause = None, FIRST_PAUSE_S
    while True:
        try:
            return await step()
        except Exception as error:
            wait, now = max(pause, getattr(error, "retry_after_s", None) or 0.0), anyio.current_time()
            ends = now + PATIENCE_S if ends is None else ends
            if not passes(error) or now + wait > ends:
                raise
            logger.warning("waiting %.1f s: %s", wait, error if isinstance(error, CallError) else type(error).__name__)
        await anyio.sleep(wait)
        pause = min(pause * 2, LONGEST_PAUSE_S)
