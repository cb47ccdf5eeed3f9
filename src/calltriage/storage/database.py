"""A database and the two ways to use it: `read` in parallel, `write` one commit for all that wait.

A query that is brief, a few rows by key, is answered in the event loop where the place is local: a thread beside a busy
loop takes three times the CPU for it, as both want the interpreter. Other queries go to threads, where those that come
together share a snapshot. So each of them costs less: a turn of a thread, a connection, BEGIN and COMMIT.

Acknowledged writes are durable: nothing returns before its commit.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import anyio
import anyio.lowlevel
import anyio.to_thread

from calltriage.errors import StoreBusyError
from calltriage.storage.transactions import Place, Write, answers, commit, writing

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

BATCH = 64
"""Writes that share one commit."""
READERS = 8
"""Snapshots that are read at once. Each holds its results until they are written out: more of them take memory and are no
faster."""
TOGETHER = 4
"""Queries that share a snapshot. They run one after another: with more of them, short ones would wait long for others."""
PATIENCE_S = 5.0
"""Seconds for which a write waits for those of other processes; less than any client waits for its answer."""
HASTE_S = 0.25
"""A waiting write is given up this many seconds before its caller's deadline, so that the caller gets the error."""

T = TypeVar("T")


@dataclass(eq=False)
class _Read(Generic[T]):
    """One waiting query and what came of it.

    Attributes:
        woken: set when it is answered, or when it is this one's turn to ask for those that wait.
        finished: it is answered, or its caller is gone.
    """

    query: Callable[[Connection], T]
    woken: anyio.Event = field(default_factory=anyio.Event)
    finished: bool = False
    error: Exception | None = None
    result: Any = None

    def end(self, result: object, error: Exception | None) -> None:
        self.result, self.error, self.finished = result, error, True
        self.woken.set()


@dataclass
class Database:
    """Opened at the first use. Several processes may use one place.

    Attributes:
        place: where it is kept.
        prepare: makes or checks the tables, given the engine; raises StoreError with what to do.
    """

    place: Place
    prepare: Callable[[Engine], None]
    _engine: Engine | None = field(default=None, init=False)
    _near: Connection | None = field(default=None, init=False)
    """The event loop's own connection, which brief reads share. None where the place is not local."""
    _briefly: anyio.Lock = field(default_factory=lambda: anyio.Lock(fast_acquire=True), init=False)
    """Held by a brief read for its turn of the event loop, so that many at once leave others theirs."""
    _opening: anyio.Lock = field(default_factory=anyio.Lock, init=False)
    _readers: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(READERS), init=False)
    """Threads of their own, so that reads wait for no other work."""
    _snapshots: anyio.Semaphore = field(default_factory=lambda: anyio.Semaphore(READERS, fast_acquire=True), init=False)
    """Held from before a thread is given its queries: until then more of them may come together."""
    _asking: deque[_Read[Any]] = field(default_factory=deque[_Read[Any]], init=False)
    """Queries that no thread has yet. The first of them asks for those behind it, too."""
    _leader: Write[Any] | None = field(default=None, init=False)
    """The write that commits what waits; the others wait until it wakes them."""
    _waiting: deque[Write[Any]] = field(default_factory=deque[Write[Any]], init=False)

    async def open(self) -> Engine:
        """The engine; the first call creates or checks the tables. Raises StoreError with what to do."""
        async with self._opening:
            if self._engine is None:
                self._engine, self._near = await anyio.to_thread.run_sync(self._opened)
        return self._engine

    def _opened(self) -> tuple[Engine, Connection | None]:
        """The engine, and the event loop's own connection, which waits for no other writer."""
        engine = self._open()
        try:
            return engine, engine.connect().execution_options(wait_ms=0) if self.place.is_local else None
        except BaseException:
            self._let_go(engine)
            raise

    def _open(self) -> Engine:
        engine = self.place.open()
        try:
            with self.place.preparing(engine):
                self.prepare(engine)
        except BaseException:
            self._let_go(engine)
            raise
        return engine

    def _let_go(self, engine: Engine) -> None:
        engine.dispose()
        self.place.release()

    async def read(self, query: Callable[[Connection], T], *, is_brief: bool = False) -> T:
        """Run a query on a consistent snapshot, which is not older than this call; in a worker thread, unless it is brief
        and the place local."""
        if self._engine is None:
            await self.open()
        near = self._near
        if is_brief and near is not None:
            try:
                return await self._read_near(near, query)
            except Exception as error:
                if not (near.closed or self.place.is_busy(error)):  # a thread waits for others
                    raise
        return await self._read_far(self._engine or await self.open(), query)

    async def _read_near(self, near: Connection, query: Callable[[Connection], T]) -> T:
        async with self._briefly:
            await anyio.lowlevel.checkpoint()
            with near.begin():
                self.place.confirm(near)
                return query(near)

    async def _read_far(self, engine: Engine, query: Callable[[Connection], T]) -> T:
        """Run a query in a worker thread, on one snapshot with those that wait beside it."""
        job = _Read(query)
        self._asking.append(job)
        try:
            if self._asking[0] is not job:
                await job.woken.wait()
            if not job.finished:
                await self._ask(engine)
        finally:
            job.finished = True  # nobody waits for it any more
            if job in self._asking:  # cancelled
                self._asking.remove(job)
                self._wake_first()
        if job.error is not None:
            raise job.error
        return cast("T", job.result)

    async def _ask(self, engine: Engine) -> None:
        """Answer the first of the queries that wait, and some of those behind it."""
        if self._snapshots.value < READERS:
            await anyio.lowlevel.checkpoint()  # others will come in this turn of the event loop
        async with self._snapshots:
            batch = [self._asking.popleft() for _ in range(min(TOGETHER, len(self._asking)))]
            self._wake_first()
            try:
                queries = [one.query for one in batch]
                found = await anyio.to_thread.run_sync(answers, engine, self.place, queries, limiter=self._readers)
            except BaseException:  # cancelled, or no thread could be started: the others that still wait ask again
                self._asking.extend(one for one in batch[1:] if not one.finished)
                self._wake_first()
                raise
        for one, (result, error) in zip(batch, found, strict=True):
            one.end(result, error)

    def _wake_first(self) -> None:
        if self._asking:
            self._asking[0].woken.set()

    async def write(self, change: Callable[[Connection], T], lane: str = "", *, deadline: float = math.inf) -> T:
        """Run a change and return once it is on disk. What waits together shares one commit; one that fails is left out.

        Changes of one lane happen one after another, whichever process makes them, so that what a change has looked up
        still holds when it writes. (On SQLite all changes do.) A change may be run again, where it fails or one beside it
        does, and must not mind.

        A caller that is cancelled before its batch has begun leaves no effect; after that its change may be made, though
        it does not hear so. Raises StoreBusyError when others were writing until the patience ended or, if that is sooner,
        until shortly before the deadline: the one given or that of the scope.
        """
        engine = self._engine or await self.open()
        deadline = min(deadline, anyio.current_effective_deadline()) - HASTE_S
        job = Write(change, lane, min(anyio.current_time() + PATIENCE_S, deadline))
        await anyio.lowlevel.checkpoint_if_cancelled()  # a leader's commit is shielded
        await self._through(job, engine)
        if job.error is not None and self.place.is_busy(job.error):
            raise StoreBusyError("Others were writing for too long. Nothing was done.") from job.error
        if job.error is not None:
            raise job.error
        return cast("T", job.result)

    async def _through(self, job: Write[Any], engine: Engine) -> None:
        """Wait until a change was made, or failed. The first of those that wait commits for all of them."""
        batch = list[Write[Any]]()
        self._waiting.append(job)
        try:
            if self._leader is None:
                self._leader = job
                await anyio.lowlevel.checkpoint()  # others will come in this turn of the event loop
            else:
                await job.woken.wait()
            if not job.finished:
                batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
                patience_s = min(one.until for one in batch) - anyio.current_time()
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(commit, engine, self.place, batch, patience_s)
        except BaseException as error:
            # No thread could be started, or this task was cancelled by asyncio itself, which no shield holds back.
            cut_off = RuntimeError("The commit was cut off. Whether this change was made is not known.")
            cut_off.__cause__ = error
            for one in batch:
                one.error, one.finished = cut_off, True
            raise
        finally:
            if job in self._waiting:
                self._waiting.remove(job)
            if self._leader is job:
                self._leader = self._waiting[0] if self._waiting else None
                for one in batch if self._leader is None else [*batch, self._leader]:
                    one.woken.set()

    async def is_usable(self) -> bool:
        """Whether a write could be carried out at this moment, as far as that can be told without one."""
        try:
            engine = self._engine or await self.open()
            await anyio.to_thread.run_sync(self._try, engine)
        except Exception:  # noqa: BLE001  whatever it is, the answer is no
            return False
        return True

    def _try(self, engine: Engine) -> None:
        try:
            with writing(engine, HASTE_S) as connection:
                self.place.confirm(connection)
        except Exception as error:
            if not self.place.is_busy(error):  # then others can write
                raise
        self.place.try_out(engine)

    async def close(self) -> None:
        """Let go of the files; a later use opens them again."""
        async with self._opening:
            engine, near = self._engine, self._near
            self._engine = self._near = None
            if near is not None:
                near.close()
            if engine is not None:
                await anyio.to_thread.run_sync(engine.dispose)
            self.place.release()
