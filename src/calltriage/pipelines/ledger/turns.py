"""A turn among everybody who files: one of them at a time looks at an incident and writes what the look allows.

On one machine it is a lock file in the data folder, on PostgreSQL an advisory lock of a session. Both end with their
process, so that nobody waits for one that was killed.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from calltriage.errors import StoreBusyError
from calltriage.storage.folders import file_lock, make_folder, try_lock

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from calltriage.pipelines.ledger.ledger import Ledger

LOOK_EVERY_S = 0.02
PATIENCE_S = 60.0
"""Seconds that a turn is waited for. A turn may hold a few requests to a vendor."""
LANES = 64
"""Lock files. Names share them, so that the folder stays small."""


@asynccontextmanager
async def alone(ledger: Ledger, name: str) -> AsyncGenerator[None]:
    """Around a look and the writes that depend on it, for all processes on the ledger. Raises StoreBusyError when others
    keep the turn for too long; nothing was done then."""
    number = int.from_bytes(hashlib.blake2b(f"{ledger.account}\n{name}".encode(), digest_size=8).digest(), signed=True)
    async with ledger.turns.setdefault(number % LANES, anyio.Lock()):
        if ledger.url is None:
            async with _with_file(ledger, number % LANES):
                yield
        else:
            async with _with_session(ledger, number):
                yield


@asynccontextmanager
async def _with_file(ledger: Ledger, lane: int) -> AsyncGenerator[None]:
    make_folder(ledger.folder)
    lock = file_lock(ledger.folder / f"pipelines-{lane:02}.lock", 0)
    with _patience() as waiting:
        while not try_lock(lock):  # noqa: ASYNC110  another process sets no event here
            await anyio.sleep(LOOK_EVERY_S)
    _refuse_if_late(waiting)
    try:
        yield
    finally:
        lock.release()


@asynccontextmanager
async def _with_session(ledger: Ledger, key: int) -> AsyncGenerator[None]:
    """A session of its own holds the lock: the server frees it when the session ends, however it ends."""
    engine = await ledger.database.open()
    session = await anyio.to_thread.run_sync(lambda: engine.connect().execution_options(isolation_level="AUTOCOMMIT"))
    try:
        with _patience() as waiting:
            while not await anyio.to_thread.run_sync(_is_given, session, key):  # noqa: ASYNC110
                await anyio.sleep(LOOK_EVERY_S)
        _refuse_if_late(waiting)
        yield
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(_end, session)


def _is_given(session: Connection, key: int) -> bool:
    return bool(session.exec_driver_sql("SELECT pg_try_advisory_lock(%s)", (key,)).scalar_one())


def _end(session: Connection) -> None:
    session.exec_driver_sql("SELECT pg_advisory_unlock_all()")
    session.close()


def _patience() -> anyio.CancelScope:
    return anyio.CancelScope(deadline=anyio.current_time() + PATIENCE_S)


def _refuse_if_late(waiting: anyio.CancelScope) -> None:
    if waiting.cancelled_caught:
        raise StoreBusyError("Another process files for this incident. Nothing was done; the next run goes on.")
