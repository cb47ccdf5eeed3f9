"""A database in one SQLite file: WAL, `synchronous=FULL`, its owner's alone, safe for several processes."""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Generator, Iterable
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, cast
from urllib.parse import quote

from calltriage.errors import StoreError
from calltriage.leaves.durable import settle
from calltriage.storage.database import READERS
from calltriage.storage.folders import check_room, file_lock, make_folder, unusable
from calltriage.storage.postgres import PREPARING_S, compact, value_of

if TYPE_CHECKING:
    import filelock
    from sqlalchemy import Connection, Engine, PoolProxiedConnection

FIRST_SAFE_SQLITE = (3, 51, 3)
"""Older versions can corrupt a WAL file that two connections write and checkpoint at once (sqlite.org/wal.html)."""

LOG_PATIENCE_MS = 5000
"""Milliseconds for which emptying the log waits for others' transactions to end."""

Identity = tuple[int, int]
"""Device and number of a file."""
HELD = "calltriage_held"
"""Where a connection notes which files it has open."""
PATIENCE = "calltriage_patience"
"""Where a connection notes for how many milliseconds it waits for other writers."""


def sqlite_driver() -> ModuleType:
    """The SQLite that comes with the package where there is one, else Python's own. Never both on one file."""
    try:
        return importlib.import_module("pysqlite3.dbapi2")
    except ImportError:
        return importlib.import_module("sqlite3")


@dataclass
class SqliteFile:
    """The file `name` in `folder`, both made at the first use for their owner alone.

    Once opened it is this file for good. While its path leads to another one, or to none, nothing is read or written; a
    folder that is put back is used again, one in its place is not: that takes a new process (or `release`, then `open`).
    """

    is_local: ClassVar[bool] = True
    folder: Path
    name: str
    _identity: Identity | None = field(default=None, init=False)
    _process_lock: filelock.BaseFileLock | None = field(default=None, init=False)

    @property
    def path(self) -> Path:
        return self.folder / self.name

    def open(self) -> Engine:
        from sqlalchemy import create_engine, event  # noqa: PLC0415  half a second of import

        with self._explained():
            make_folder(self.folder)
            self.path.touch(mode=0o600)
            self.path.chmod(0o600)  # SQLite gives its side files the same mode. An older folder may be open to others.
            self._identity = _identity(self.path)
            driver = self._driver()
        engine = create_engine(
            "sqlite:///file",  # the creator knows which one; this says that connections are pooled
            module=driver,
            creator=lambda: self._connected(driver),
            pool_size=READERS + 1,  # beyond those, each use would open a connection anew and close it
            pool_use_lifo=True,  # so that as few are opened as are used at once: each has a cache of its own
            hide_parameters=True,
            json_serializer=compact,
            json_deserializer=value_of,
        )
        event.listen(engine, "connect", self._on_connect)
        event.listen(engine, "begin", _on_begin)
        return engine

    @contextmanager
    def preparing(self, engine: Engine) -> Generator[None]:  # noqa: ARG002  other places need it
        # Only one process at a time may turn a new file into a WAL database; the others fail at once.
        with self._explained(), file_lock(self.path.with_suffix(".opening"), PREPARING_S):
            yield

    def enter(self, connection: Connection, lanes: Iterable[str]) -> None:
        """A file has one writer at a time: `BEGIN IMMEDIATE` waited for the others."""

    def confirm(self, connection: Connection) -> None:
        """Raise StoreError unless the open files are those at their paths."""
        held: dict[Path, Identity | None] = connection.connection.info[HELD]
        if any(_identity(path) != identity for path, identity in held.items()):
            raise self._gone()

    def _connected(self, driver: ModuleType) -> Any:
        """A connection to the file that was opened first, which is never made anew."""
        address = f"file:{quote(str(self.path.absolute()))}?mode=rw"
        try:
            connection = driver.connect(address, uri=True, timeout=30, check_same_thread=False)
        except driver.OperationalError:
            if _identity(self.path) != self._identity:
                raise self._gone() from None
            raise
        if _identity(self.path) != self._identity:
            connection.close()
            raise self._gone()
        return connection

    def _on_connect(self, connection: Any, record: Any) -> None:
        connection.isolation_level = None  # transactions are begun by _on_begin, not by the driver
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "user_version"):  # the last one reads
            connection.execute(f"PRAGMA {pragma}").fetchall()
        paths = (self.path, *(self.path.with_name(f"{self.name}-{side}") for side in ("wal", "shm")))
        record.info[HELD] = {path: _identity(path) for path in paths}

    def _gone(self) -> StoreError:
        return StoreError(
            f"The data folder {self.folder} was moved, replaced or deleted after calltriage opened it. Put it back, or "
            "start calltriage again to use what is there now."
        )

    def try_out(self, engine: Engine) -> None:
        """Checkpoints the log, which reads it. Fails if the log was cut."""
        with closing(engine.raw_connection()) as pooled:
            connection: Any = pooled.driver_connection
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        check_room(self.folder)

    def is_busy(self, error: BaseException) -> bool:
        from sqlalchemy import exc  # noqa: PLC0415

        return isinstance(error, exc.OperationalError) and "is locked" in str(error.orig)

    def release(self) -> None:
        self._identity = None
        if self._process_lock is not None:
            self._process_lock.release()

    def empty_log(self, engine: Engine) -> bool:
        """Carry the write-ahead log over into the file and cut it to nothing, so that what was deleted stands in neither.
        False where others have been reading older rows for longer than LOG_PATIENCE_MS: then it stands in the log."""
        with closing(engine.raw_connection()) as pooled:
            connection: Any = pooled.driver_connection
            _be_patient(pooled, LOG_PATIENCE_MS)
            return connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0

    def copy_to(self, target: Path) -> None:
        """A whole copy of the file as it is now, while others may write to it; `target` is whole or not there."""
        driver = sqlite_driver()
        with self._explained():
            draft = target.with_name(f".{target.name}.{os.getpid()}.draft")
            try:
                os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
                with closing(driver.connect(self.path)) as source, closing(driver.connect(draft)) as copy:
                    source.backup(copy, pages=2048, sleep=0.01)
                    copy.execute("PRAGMA journal_mode=DELETE")  # one file, without its side files
                settle(draft, target)
            finally:
                draft.unlink(missing_ok=True)

    @contextmanager
    def _explained(self) -> Generator[None]:
        from sqlalchemy import exc  # noqa: PLC0415

        try:
            yield
        except (OSError, exc.DBAPIError, sqlite_driver().Error) as error:
            raise unusable(self.folder, error) from error

    def _driver(self) -> ModuleType:
        """An SQLite that is safe with several processes; failing that, this process alone on the file."""
        bundled = sqlite_driver()
        if cast("tuple[int, int, int]", bundled.sqlite_version_info) >= FIRST_SAFE_SQLITE:
            return bundled
        warnings.warn(
            f"SQLite {bundled.sqlite_version} is older than 3.51.3: one calltriage process at a time per folder.",
            stacklevel=2,
        )
        self._process_lock = file_lock(self.path.with_suffix(".lock"), 1)
        try:
            self._process_lock.acquire()
        except TimeoutError as error:
            raise StoreError(
                f"Another calltriage process uses {self.folder}, and SQLite {bundled.sqlite_version} is not safe "
                "for two. Stop it, or point CALLTRIAGE_DATA_DIR elsewhere."
            ) from error
        return bundled


def _identity(path: Path) -> Identity | None:
    """Identity of the file at a path; None if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _be_patient(pooled: PoolProxiedConnection, wait_ms: int) -> None:
    """Have a connection wait for other writers for so long, if it does not already."""
    if pooled.info.get(PATIENCE) != wait_ms:
        driver: Any = pooled.driver_connection
        driver.execute(f"PRAGMA busy_timeout = {wait_ms}")
        pooled.info[PATIENCE] = wait_ms


def _on_begin(connection: Connection) -> None:
    options = connection.get_execution_options()
    _be_patient(connection.connection, options.get("wait_ms", 30_000))
    if "begin" in options:
        connection.exec_driver_sql(f"BEGIN {options['begin']}")
    else:  # never refused, so nothing of it is for the engine to see
        driver: Any = connection.connection.driver_connection
        driver.execute("BEGIN")
