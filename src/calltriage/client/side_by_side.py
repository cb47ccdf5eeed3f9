"""Several requests at the same time, but no more than a vendor takes."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine
from typing import TypeVar, overload

import anyio

from calltriage.errors import CallError

R = TypeVar("R")
F = TypeVar("F")

AT_ONCE = 4
"""Requests that are sent side by side; a vendor takes no more either (bland-triage, section 2)."""


@overload
async def at_once(first: Awaitable[F], /, *rest: Awaitable[R]) -> tuple[F, *tuple[R, ...]]: ...
@overload
async def at_once(*work: Awaitable[R]) -> tuple[R, ...]: ...
async def at_once(*work: Awaitable[object]) -> tuple[object, ...]:
    """Run awaitables side by side, AT_ONCE of them, and return their results in order; the first failure is raised as
    itself."""
    results: list[object] = [None] * len(work)
    free = anyio.CapacityLimiter(AT_ONCE)

    async def keep(place: int, one: Awaitable[object]) -> None:
        async with free:
            results[place] = await one

    try:
        async with anyio.create_task_group() as group:
            for place, one in enumerate(work):
                group.start_soon(keep, place, one)
    except* CallError as failures:
        raise failures.exceptions[0] from None
    finally:
        for one in work:
            if isinstance(one, Coroutine):  # one that was cancelled before it began is never awaited
                one.close()
    return tuple(results)
