"""Turns: named locks over all tasks, processes and machines on a ledger.

A turn is a lock file in the data folder or, on PostgreSQL, an advisory lock of a session. Both are freed when their process
ends, killed or not. `alone` waits for a turn and keeps it for a short time. `held` waits little and keeps it for long.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import anyio
import anyio.to_thread

from calltriage.errors import StoreBusyError
from calltriage.storage.folders import file_lock, make_folder, try_lock

if TYPE_CHECKING:
    import filelock
    from sqlalchemy import Connection, Engine

    from calltriage.pipelines.ledger.ledger import Ledger

LOOK_EVERY_S = 0.02
PATIENCE_S = 60.0
"""Seconds that `alone` waits for a turn: the holder may send several requests to a vendor."""
LANES = 64
"""Number of lock files. Different names may share one, so that the folder stays small."""
GATE = "pipelines-held.lock"
"""Lock file that is held while `held` takes or removes its own one, so that no process locks a file that was removed."""
GATE_S = 10.0
KEEPALIVE = "SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3"
"""The server ends the session of a lost machine after a minute, so that its turns are free again."""


class Turn(Protocol):
    """A turn that is kept for a long time."""

    async def take(self) -> bool:
        """Take the turn, or take it again if its session was lost. Returns whether this process has it."""
        ...

    async def give_back(self) -> None: ...


@asynccontextmanager
async def held(ledger: Ledger, name: str, wait_s: float = 0) -> AsyncGenerator[Turn | None]:
    """A turn while the block runs; None if another process has it, and keeps it for longer than `wait_s`. Raises the
    database's errors."""
    turn: Turn = _OfFile(ledger.folder, name) if ledger.url is None else _OfSession(ledger, _number(ledger, name))
    try:
        yield turn if await is_taken(turn, wait_s) else None
    finally:
        with anyio.CancelScope(shield=True):
            await turn.give_back()


async def is_taken(turn: Turn, wait_s: float) -> bool:
    """Take a turn, or take it again. Returns False if another process keeps it for longer than `wait_s`."""
    ends = anyio.current_time() + wait_s
    while not await turn.take():
        if anyio.current_time() >= ends:
            return False
        await anyio.sleep(LOOK_EVERY_S)
    return True


@asynccontextmanager
async def alone(ledger: Ledger, *names: str) -> AsyncGenerator[None]:
    """Hold the turns `names` while the block runs. Raises StoreBusyError, before the block, if others keep one of them for
    longer than PATIENCE_S.

    Whoever needs several turns takes them in one call: all callers take them in the same order, so that no two wait for each
    other. A block that holds a turn takes no other one.
    """
    numbers = sorted({_number(ledger, name) for name in names}, key=lambda number: (number % LANES, number))
    lanes = list(dict.fromkeys(number % LANES for number in numbers))
    async with AsyncExitStack() as stack:
        for lane in lanes:
            await stack.enter_async_context(ledger.turns.setdefault(lane, anyio.Lock()))
        if ledger.url is None:
            for lane in lanes:
                await stack.enter_async_context(_with_file(ledger, lane))
        else:
            await stack.enter_async_context(_with_session(ledger, numbers))
        yield


def _number(ledger: Ledger, name: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{ledger.account}\n{name}".encode(), digest_size=8).digest(), signed=True)


@asynccontextmanager
async def _with_file(ledger: Ledger, lane: int) -> AsyncGenerator[None]:
    lock = _lock_file(ledger.folder / f"pipelines-{lane:02}.lock")
    with _patience() as waiting:
        while not try_lock(lock):  # noqa: ASYNC110  another process sets no event here
            await anyio.sleep(LOOK_EVERY_S)
    _refuse_if_late(waiting)
    try:
        yield
    finally:
        lock.release()


def _lock_file(path: Path, timeout_s: float = 0) -> filelock.BaseFileLock:
    """A lock file in the data folder, which is made if it is not there. To check each time what is in it takes too long."""
    if not path.parent.is_dir():
        make_folder(path.parent)
    return file_lock(path, timeout_s)


@asynccontextmanager
async def _with_session(ledger: Ledger, keys: Sequence[int]) -> AsyncGenerator[None]:
    """A session of its own holds the locks. The server frees them when the session ends for any reason."""
    engine = await ledger.database.open()
    async with ledger.sessions, _session_with(engine, keys):
        yield


@asynccontextmanager
async def _session_with(engine: Engine, keys: Sequence[int]) -> AsyncGenerator[None]:
    session = await anyio.to_thread.run_sync(_session, engine)
    try:
        with _patience() as waiting:
            for key in keys:
                while not await anyio.to_thread.run_sync(_is_given, session, key):  # noqa: ASYNC110
                    await anyio.sleep(LOOK_EVERY_S)
        _refuse_if_late(waiting)
        yield
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(_end, session)


@dataclass
class _OfFile:
    folder: Path
    name: str
    _lock: filelock.BaseFileLock | None = field(default=None, init=False)

    @property
    def _path(self) -> Path:
        return self.folder / f"pipeline-{self.name}.lock"

    async def take(self) -> bool:
        """Take the lock in this thread, without a worker: the library counts locks for each thread."""
        if self._lock is not None:
            return True
        with _lock_file(self.folder / GATE, GATE_S):
            lock = file_lock(self._path, 0)
            if not try_lock(lock):
                return False
        self._lock = lock
        return True

    async def give_back(self) -> None:
        if self._lock is not None:
            with file_lock(self.folder / GATE, GATE_S):
                self._path.unlink(missing_ok=True)
                self._lock.release()
            self._lock = None


@dataclass
class _OfSession:
    ledger: Ledger
    key: int
    _kept: Connection | None = field(default=None, init=False)

    async def take(self) -> bool:
        if self._kept is not None and await anyio.to_thread.run_sync(_is_alive, self._kept):
            return True
        await self.give_back()
        engine = await self.ledger.database.open()
        session = await anyio.to_thread.run_sync(_session, engine)
        try:
            is_given = await anyio.to_thread.run_sync(partial(_take_for_long, session, self.key))
        except BaseException:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(_end, session)
            raise
        self._kept = session
        if not is_given:
            await self.give_back()
        return is_given

    async def give_back(self) -> None:
        if self._kept is not None:
            session, self._kept = self._kept, None
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(_end, session)


def _session(engine: Engine) -> Connection:
    return engine.connect().execution_options(isolation_level="AUTOCOMMIT")


def _take_for_long(session: Connection, key: int) -> bool:
    session.exec_driver_sql(KEEPALIVE)
    return _is_given(session, key)


def _is_alive(session: Connection) -> bool:
    from sqlalchemy import exc  # noqa: PLC0415

    try:
        session.exec_driver_sql("SELECT 1")
    except exc.DBAPIError:
        return False
    return True


def _is_given(session: Connection, key: int) -> bool:
    return bool(session.exec_driver_sql("SELECT pg_try_advisory_lock(%s)", (key,)).scalar_one())


def _end(session: Connection) -> None:
    """Free a session's locks and close it. If the server is away, it has freed them already."""
    from sqlalchemy import exc  # noqa: PLC0415

    try:
        if not session.invalidated:
            session.exec_driver_sql("SELECT pg_advisory_unlock_all()")
    except exc.DBAPIError:
        session.invalidate()
    finally:
        session.close()


def _patience() -> anyio.CancelScope:
    return anyio.CancelScope(deadline=anyio.current_time() + PATIENCE_S)


def _refuse_if_late(waiting: anyio.CancelScope) -> None:
    if waiting.cancelled_caught:
        raise StoreBusyError("Another process works on the same and did not finish in time. Try again in a minute.")
