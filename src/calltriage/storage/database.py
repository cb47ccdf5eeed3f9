"""A database and the two ways to use it: `read` in parallel, `write` one commit for all that wait.

Queries that come together share a snapshot. So each of them costs less: a turn of a thread, a connection, BEGIN and COMMIT.

Acknowledged writes are durable: nothing returns before its commit.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar, cast

import anyio
import anyio.lowlevel
import anyio.to_thread

from calltriage.errors import StoreBusyError

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
PREPARING_PATIENCE_S = 30.0
"""Seconds for which making or changing the tables waits for other writers."""

T = TypeVar("T")
_Answer: TypeAlias = tuple[Any, Exception | None]
"""A query's result, or its error."""


class Place(Protocol):
    """Where a database is kept. Its methods are called in worker threads and raise StoreError with what to do."""

    def open(self) -> Engine:
        """An engine whose connections are set to lose nothing."""
        ...

    def preparing(self, engine: Engine) -> AbstractContextManager[None]:
        """Held while the tables are made or checked: one process at a time; failures become StoreError."""
        ...

    def enter(self, connection: Connection, lanes: Iterable[str]) -> None:
        """Wait until no other write transaction is in one of these lanes, and keep them until this one ends."""
        ...

    def confirm(self, connection: Connection) -> None:
        """Raise StoreError if the path no longer leads to the file that the connection has open."""
        ...

    def try_out(self, engine: Engine) -> None:
        """Raise when the place has no room for a write, or has lost what was written. Changes no row."""
        ...

    def is_busy(self, error: BaseException) -> bool:
        """Whether a change failed because others were writing for too long."""
        ...

    def release(self) -> None:
        """Let go of what `open` took beside the engine."""
        ...


@contextmanager
def writing(engine: Engine, patience_s: float = PREPARING_PATIENCE_S) -> Generator[Connection]:
    """A write transaction. Starts with BEGIN IMMEDIATE. Waits up to `patience_s` for other writers."""
    options: dict[str, Any] = {"begin": "IMMEDIATE", "wait_ms": max(1, round(patience_s * 1000))}
    with engine.connect().execution_options(**options) as connection, connection.begin():
        yield connection


@dataclass(eq=False)
class _Write(Generic[T]):
    """One waiting change and, once its batch is through, what came of it.

    Attributes:
        until: when it is given up, on the event loop's clock.
        woken: set when the batch is through, or when it is this one's turn to commit what waits.
    """

    change: Callable[[Connection], T]
    lane: str
    until: float
    woken: anyio.Event = field(default_factory=anyio.Event)
    finished: bool = False
    error: BaseException | None = None
    result: Any = None

    def run(self, once: Callable[[_Write[Any]], None]) -> None:
        """Make the change by `once`, twice if need be."""
        from sqlalchemy.exc import IntegrityError  # noqa: PLC0415

        try:
            try:
                once(self)
            except IntegrityError:
                # Somebody wrote past the lanes between look-up and insert, and the constraint held. Now the look-up finds
                # what they wrote; if it is not that, it fails again.
                once(self)
        except BaseException as error:  # noqa: BLE001  the waiting caller gets it, the rest of the batch goes on
            self.error = error


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
    _opening: anyio.Lock = field(default_factory=anyio.Lock, init=False)
    _readers: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(READERS), init=False)
    """Threads of their own, so that reads wait for no other work."""
    _snapshots: anyio.Semaphore = field(default_factory=lambda: anyio.Semaphore(READERS, fast_acquire=True), init=False)
    """Held from before a thread is given its queries: until then more of them may come together."""
    _asking: deque[_Read[Any]] = field(default_factory=deque[_Read[Any]], init=False)
    """Queries that no thread has yet. The first of them asks for those behind it, too."""
    _leader: _Write[Any] | None = field(default=None, init=False)
    """The write that commits what waits; the others wait until it wakes them."""
    _waiting: deque[_Write[Any]] = field(default_factory=deque[_Write[Any]], init=False)

    async def open(self) -> Engine:
        """The engine; the first call creates or checks the tables. Raises StoreError with what to do."""
        async with self._opening:
            if self._engine is None:
                self._engine = await anyio.to_thread.run_sync(self._open)
        return self._engine

    def _open(self) -> Engine:
        engine = self.place.open()
        try:
            with self.place.preparing(engine):
                self.prepare(engine)
        except BaseException:
            engine.dispose()
            self.place.release()
            raise
        return engine

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Run a query in a worker thread on a consistent snapshot, which is not older than this call."""
        engine = self._engine or await self.open()
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
                answers = await anyio.to_thread.run_sync(_answers, engine, self.place, queries, limiter=self._readers)
            except BaseException:  # cancelled, or no thread could be started: the others that still wait ask again
                self._asking.extend(one for one in batch[1:] if not one.finished)
                self._wake_first()
                raise
        for one, (result, error) in zip(batch, answers, strict=True):
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
        job = _Write(change, lane, min(anyio.current_time() + PATIENCE_S, deadline))
        await anyio.lowlevel.checkpoint_if_cancelled()  # a leader's commit is shielded
        await self._through(job, engine)
        if job.error is not None and self.place.is_busy(job.error):
            raise StoreBusyError("Others were writing for too long. Nothing was done.") from job.error
        if job.error is not None:
            raise job.error
        return cast("T", job.result)

    async def _through(self, job: _Write[Any], engine: Engine) -> None:
        """Wait until a change was made, or failed. The first of those that wait commits for all of them."""
        batch = list[_Write[Any]]()
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
                    await anyio.to_thread.run_sync(_commit, engine, self.place, batch, patience_s)
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
        if self._engine is not None:
            await anyio.to_thread.run_sync(self._engine.dispose)
            self._engine = None
        self.place.release()


def _answers(engine: Engine, place: Place, queries: Sequence[Callable[[Connection], Any]]) -> list[_Answer]:
    """Each query's result, or its error. Those behind one that failed get a new snapshot: PostgreSQL ends one at errors.
    If there is none to be had, they get that error."""
    answers = list[_Answer]()
    while len(answers) < len(queries):
        try:
            with engine.connect() as connection, connection.begin() as snapshot:
                place.confirm(connection)
                answers += _until_one_fails(connection, queries[len(answers) :])
                if answers[-1][1] is not None:
                    snapshot.rollback()
        except Exception as error:  # noqa: BLE001  those that have no answer get it
            answers += [(None, error)] * (len(queries) - len(answers))
    return answers


def _until_one_fails(connection: Connection, queries: Sequence[Callable[[Connection], Any]]) -> list[_Answer]:
    """Answers of the queries up to the first that fails, whose error is the last."""
    answers = list[_Answer]()
    for query in queries:
        try:
            answers.append((query(connection), None))
        except Exception as error:  # noqa: BLE001  its caller gets it
            return [*answers, (None, error)]
    return answers


def _commit(engine: Engine, place: Place, batch: list[_Write[Any]], patience_s: float) -> None:
    """Make the changes of a batch and commit them. Each one hears what came of it."""
    if len(batch) == 1:
        batch[0].run(partial(_alone, engine, place, patience_s))
    else:
        _together(engine, place, batch, patience_s)
    for job in batch:
        job.finished = True


def _alone(engine: Engine, place: Place, patience_s: float, job: _Write[Any]) -> None:
    """A transaction of one change needs no savepoint: it fails as a whole."""
    with writing(engine, patience_s) as connection:
        place.enter(connection, {job.lane})
        try:
            job.result = job.change(connection)
        finally:
            place.confirm(connection)


def _together(engine: Engine, place: Place, batch: list[_Write[Any]], patience_s: float) -> None:
    """One transaction for the batch. If the commit fails, no change happened, and each caller gets the error."""
    try:
        with writing(engine, patience_s) as connection:
            place.enter(connection, {job.lane for job in batch})
            if not _in_one_savepoint(connection, batch):
                for job in batch:
                    job.run(partial(_in_savepoint, connection))
                    if job.error is not None and not _in_transaction(connection):
                        raise job.error  # a full disk rolls back everything, savepoints or not
            place.confirm(connection)
    except BaseException as error:  # noqa: BLE001  the waiting callers get it
        for job in batch:
            job.error, job.result = error, None


def _in_one_savepoint(connection: Connection, batch: list[_Write[Any]]) -> bool:
    """Make all changes, in one savepoint: one for each takes as long as a small change. If a change fails, none is made,
    and the answer is False."""
    try:
        with _savepoint(connection):
            for job in batch:
                job.result = job.change(connection)
    except BaseException:
        if not _in_transaction(connection):
            raise
        return False
    return True


def _in_savepoint(connection: Connection, job: _Write[Any]) -> None:
    with _savepoint(connection):
        job.result = job.change(connection)


@contextmanager
def _savepoint(connection: Connection) -> Generator[None]:
    """What fails in the block leaves nothing in the transaction."""
    connection.exec_driver_sql("SAVEPOINT one")
    try:
        yield
    except BaseException:
        if _in_transaction(connection):
            connection.exec_driver_sql("ROLLBACK TO SAVEPOINT one")
            connection.exec_driver_sql("RELEASE SAVEPOINT one")
        raise
    connection.exec_driver_sql("RELEASE SAVEPOINT one")


def _in_transaction(connection: Connection) -> bool:
    """Whether the database still holds the transaction that was begun. SQLite ends it by itself when its disk is full. On
    PostgreSQL a lost transaction is a lost connection."""
    return not connection.invalidated and getattr(connection.connection.dbapi_connection, "in_transaction", True)
