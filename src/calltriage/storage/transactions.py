"""What is done with one connection: queries on one snapshot, and changes that are committed together."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeAlias, TypeVar

import anyio

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

PREPARING_PATIENCE_S = 30.0
"""Seconds for which making or changing the tables waits for other writers."""

T = TypeVar("T")
Answer: TypeAlias = tuple[Any, Exception | None]
"""A query's result, or its error."""


class Place(Protocol):
    """Where a database is kept. Its methods raise StoreError with what to do. They are called in worker threads; `confirm`
    of a local place in the event loop, too.

    Attributes:
        is_local: a look-up by key takes less time there than handing it to a thread.
    """

    is_local: ClassVar[bool]

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
class Write(Generic[T]):
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

    def run(self, once: Callable[[Write[Any]], None]) -> None:
        """Make the change by `once`, twice if need be."""
        from sqlalchemy import exc  # noqa: PLC0415

        try:
            try:
                once(self)
            except exc.IntegrityError:
                # Somebody wrote past the lanes between look-up and insert, and the constraint held. Now the look-up finds
                # what they wrote; if it is not that, it fails again.
                once(self)
        except BaseException as error:  # noqa: BLE001  the waiting caller gets it, the rest of the batch goes on
            self.error = error


def answers(engine: Engine, place: Place, queries: Sequence[Callable[[Connection], Any]]) -> list[Answer]:
    """Each query's result, or its error. Those behind one that failed get a new snapshot: PostgreSQL ends one at errors.
    If there is none to be had, they get that error."""
    found = list[Answer]()
    while len(found) < len(queries):
        try:
            with engine.connect() as connection, connection.begin() as snapshot:
                place.confirm(connection)
                found += _until_one_fails(connection, queries[len(found) :])
                if found[-1][1] is not None:
                    snapshot.rollback()
        except Exception as error:  # noqa: BLE001  those that have no answer get it
            found += [(None, error)] * (len(queries) - len(found))
    return found


def _until_one_fails(connection: Connection, queries: Sequence[Callable[[Connection], Any]]) -> list[Answer]:
    """Answers of the queries up to the first that fails, whose error is the last."""
    answers = list[Answer]()
    for query in queries:
        try:
            answers.append((query(connection), None))
        except Exception as error:  # noqa: BLE001  its caller gets it
            return [*answers, (None, error)]
    return answers


def commit(engine: Engine, place: Place, batch: list[Write[Any]], patience_s: float) -> None:
    """Make the changes of a batch and commit them. Each one hears what came of it."""
    if len(batch) == 1:
        batch[0].run(partial(_alone, engine, place, patience_s))
    else:
        _together(engine, place, batch, patience_s)
    for job in batch:
        job.finished = True


def _alone(engine: Engine, place: Place, patience_s: float, job: Write[Any]) -> None:
    """A transaction of one change needs no savepoint: it fails as a whole."""
    with writing(engine, patience_s) as connection:
        place.enter(connection, {job.lane})
        try:
            job.result = job.change(connection)
        finally:
            place.confirm(connection)


def _together(engine: Engine, place: Place, batch: list[Write[Any]], patience_s: float) -> None:
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


def _in_one_savepoint(connection: Connection, batch: list[Write[Any]]) -> bool:
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


def _in_savepoint(connection: Connection, job: Write[Any]) -> None:
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
