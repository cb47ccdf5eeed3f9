"""A turn among the processes that share a journal: one of them at a time looks and then writes what the look allows."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from calltriage.client.limits import deadline_in
from calltriage.errors import Conflict
from calltriage.storage.folders import file_lock, try_lock

if TYPE_CHECKING:
    from filelock import BaseFileLock

FILE = "turn.lock"
LOOK_EVERY_S = 0.05
PATIENCE_S = 15.0
"""Seconds that a call waits for its turn at most. A call in between may take longer: an API may answer late."""


@asynccontextmanager
async def turn(folder: Path) -> AsyncGenerator[None]:
    """Around a look and the write that depends on it. The turn of a process that is killed ends with it.

    Raises Conflict when another process does not end its turn in time. Where there can be no lock, nobody waits.
    """
    try:
        lock = file_lock(folder / FILE, 0)
    except OSError:  # the folder is gone, and the write is refused for that
        yield
        return
    with anyio.CancelScope(deadline=deadline_in(PATIENCE_S)) as waiting:
        while not _is_free(lock):  # noqa: ASYNC110  another process sets no event here
            await anyio.sleep(LOOK_EVERY_S)
    if waiting.cancelled_caught:
        raise Conflict(
            "Another server on this data folder writes something that this call depends on. Nothing was sent; call again.",
            code="in_flight",
            retry_after_s=1,
            outcome="not_committed",
        )
    try:
        yield
    finally:
        lock.release()


def _is_free(lock: BaseFileLock) -> bool:
    """Whether the lock is ours now, or there can be none."""
    try:
        return try_lock(lock)
    except (OSError, NotImplementedError):  # a file system without locks
        return True
