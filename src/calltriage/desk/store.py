"""The desk's tables, and the two ways to use them: `read` in parallel, `write` one commit for all that wait.

Acknowledged writes are durable: nothing returns before its commit, and SQLite runs with `synchronous=FULL`. Every table
has the organisation first in its key, so that a query that forgets it finds nothing useful by accident.
"""

from __future__ import annotations

import importlib
import json
import secrets
import uuid
import warnings
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar, cast

import anyio
import anyio.to_thread
import filelock
from sqlalchemy import (
    Column,
    Connection,
    Engine,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    create_engine,
    event,
    insert,
    select,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import JSON

from calltriage.errors import StoreError

SCHEMA_VERSION = 1
FIRST_SAFE_SQLITE = (3, 51, 3)
"""Older versions can corrupt a WAL file that two connections write and checkpoint at once (sqlite.org/wal.html)."""
BATCH = 64
"""Writes that share one commit."""

metadata = MetaData()
Json = JSON(none_as_null=True)


def _owned(name: str, *columns: Column[Any] | UniqueConstraint | ForeignKeyConstraint | Index) -> Table:
    """A table whose rows belong to one organisation; `seq` keeps the order of arrival."""
    return Table(
        name,
        metadata,
        Column("seq", Integer, primary_key=True, autoincrement=True),
        Column("org_id", Text, nullable=False),
        Column("id", Text, nullable=False),
        *columns,
        UniqueConstraint("org_id", "id"),
        sqlite_autoincrement=True,
    )


def _of_issue() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(["org_id", "issue_id"], ["issues.org_id", "issues.id"], ondelete="CASCADE")


settings = Table("settings", metadata, Column("name", Text, primary_key=True), Column("value", Text, nullable=False))
"""Facts of the desk itself: schema version, signing secret, the organisation and user of its own key."""

organisations = Table(
    "organisations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("last_number", Integer, nullable=False),
    Column("created_at", Text, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("org_id", Text, nullable=False),
    Column("user_id", Text, nullable=False),
)
"""Keys by their SHA-256; the keys themselves are not kept."""

issues = _owned(
    "issues",
    Column("number", Integer, nullable=False),
    Column("title", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("status_rank", Integer, nullable=False),
    Column("severity", Text, nullable=False),
    Column("severity_rank", Integer, nullable=False),
    Column("source", Text, nullable=False),
    Column("category", Text, nullable=False),
    Column("category_folded", Text, nullable=False),
    Column("owner_id", Text),
    Column("assignee_id", Text),
    Column("author_id", Text, nullable=False),
    Column("agent_id", Text),
    Column("agent_version_id", Text),
    Column("created_at", Text, nullable=False),
    Column("updated_at", Text, nullable=False),
    Column("last_activity_at", Text, nullable=False),
    Column("words", Text, nullable=False),
    UniqueConstraint("org_id", "number"),
    Index("issues_by_activity", "org_id", "last_activity_at", "id"),
    Index("issues_by_creation", "org_id", "created_at", "id"),
    Index("issues_by_severity", "org_id", "severity_rank", "id"),
    Index("issues_by_status", "org_id", "status_rank", "id"),
)
"""`words` is title and description, case folded, for search."""

views = Table(
    "views",
    metadata,
    Column("org_id", Text),
    Column("issue_id", Text),
    Column("user_id", Text),
    Column("viewed_at", Text, nullable=False),
    PrimaryKeyConstraint("org_id", "issue_id", "user_id"),
    _of_issue(),
)

links = _owned(
    "resource_links",
    Column("issue_id", Text, nullable=False),
    Column("resource_type", Text, nullable=False),
    Column("resource_id", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("metadata", Json),
    Column("attached_by_id", Text),
    Column("created_at", Text, nullable=False),
    UniqueConstraint("org_id", "issue_id", "resource_type", "resource_id"),
    Index("links_of_issue", "org_id", "issue_id", "seq"),
    _of_issue(),
)

flags = _owned(
    "flags",
    Column("issue_id", Text, nullable=False),
    Column("call_id", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("node_id", Text),
    Column("node_name", Text),
    Column("message_index", Integer),
    Column("message_text", Text),
    Column("author_id", Text, nullable=False),
    Column("created_at", Text, nullable=False),
    Index("flags_of_issue", "org_id", "issue_id", "seq"),
    Index("flags_by_type", "org_id", "type", "seq"),
    _of_issue(),
)

relations = _owned(
    "relations",
    Column("issue_id", Text, nullable=False),
    Column("related_issue_id", Text, nullable=False),
    Column("relation_type", Text, nullable=False),
    Column("created_by_id", Text),
    Column("created_at", Text, nullable=False),
    UniqueConstraint("org_id", "issue_id", "related_issue_id", "relation_type"),
    Index("relations_of_target", "org_id", "related_issue_id", "seq"),
    _of_issue(),
    ForeignKeyConstraint(["org_id", "related_issue_id"], ["issues.org_id", "issues.id"], ondelete="CASCADE"),
)

sessions = _owned(
    "agent_sessions",
    Column("issue_id", Text, nullable=False),
    Column("created_at", Text, nullable=False),
    Index("sessions_of_issue", "org_id", "issue_id", "seq"),
    _of_issue(),
)

runs = _owned(
    "agent_runs",
    Column("issue_id", Text, nullable=False),
    Column("session_id", Text, nullable=False),
    Column("intent", Text, nullable=False),
    Column("started_at", Text, nullable=False),
    Column("finished_at", Text, nullable=False),
    Index("runs_of_issue", "org_id", "issue_id", "seq"),
    _of_issue(),
)
"""Runs of the embedded agent. What a run will do is known when it starts, so it is written down then, with the times at
which it will have happened; a run is in flight until `finished_at`."""

activity = _owned(
    "activity",
    Column("issue_id", Text, nullable=False),
    Column("session_id", Text),
    Column("type", Text, nullable=False),
    Column("actor_id", Text),
    Column("detail", Text, nullable=False),
    Column("from_status", Text),
    Column("to_status", Text),
    Column("metadata", Json),
    Column("resources", Json, nullable=False),
    Column("referenced_issues", Json, nullable=False),
    Column("created_at", Text, nullable=False),
    Index("activity_of_issue", "org_id", "issue_id", "created_at", "seq"),
    _of_issue(),
)
"""The feed. Entries with a `session_id` are the agent's; one in the future belongs to a run in flight and is not shown."""

categories = _owned(
    "categories",
    Column("name", Text, nullable=False),
    Column("folded", Text, nullable=False),
    Column("created_at", Text, nullable=False),
    UniqueConstraint("org_id", "folded"),
)
"""Created categories and names first used on an issue; the built-in ones are not stored."""

calls = _owned(
    "calls",
    Column("summary", Text, nullable=False),
    Column("created_at", Text, nullable=False),
    Column("updated_at", Text, nullable=False),
    Column("record", Json, nullable=False),
    Column("events", Json, nullable=False),
    Column("corrected", Json),
    Column("digest", Text, nullable=False),
    Index("calls_by_creation", "org_id", "created_at", "id"),
)
"""`record` is the call as `get_call` answers it, `events` and `corrected` what the neighbouring routes do; `digest` tells
whether an import brings something new."""

conversations = _owned(
    "conversations",
    Column("summary", Text, nullable=False),
    Column("created_at", Text, nullable=False),
    Column("record", Json, nullable=False),
    Column("digest", Text, nullable=False),
    Index("conversations_by_creation", "org_id", "created_at", "id"),
)

reservations = _owned(
    "reservations",
    Column("object_key", Text, nullable=False, unique=True),
    Column("allowed_types", Json, nullable=False),
    Column("expires_at", Integer, nullable=False),
    Column("size", Integer),
    Column("type", Text),
    Column("sha256", Text),
    Column("consumed_by", Text),
)
"""Upload reservations; `id` is the request_id, `expires_at` Unix seconds."""

attachments = _owned(
    "attachments",
    Column("name", Text, nullable=False),
    Column("size", Integer, nullable=False),
    Column("type", Text, nullable=False),
    Column("metadata", Json),
    Column("sha256", Text, nullable=False),
    Column("created_at", Text, nullable=False),
    UniqueConstraint("org_id", "name"),
)

T = TypeVar("T")


@dataclass(eq=False)
class _Write(Generic[T]):
    """One waiting change and, once its batch is through, what came of it."""

    change: Callable[[Connection], T]
    finished: bool = False
    error: BaseException | None = None
    result: Any = None

    def run(self, connection: Connection) -> None:
        try:
            with connection.begin_nested():
                self.result = self.change(connection)
        except BaseException as error:  # noqa: BLE001  the waiting caller gets it, the rest of the batch goes on
            self.error = error


@dataclass
class Store:
    """SQLite in WAL mode below `folder`, opened at the first use. Several processes may use one folder."""

    folder: Path
    _engine: Engine | None = None
    _opening: anyio.Lock = field(default_factory=anyio.Lock)
    _turn: anyio.Lock = field(default_factory=anyio.Lock)
    _waiting: deque[_Write[Any]] = field(default_factory=deque[_Write[Any]])
    _process_lock: filelock.BaseFileLock | None = None

    async def open(self) -> Engine:
        """The engine; the first call creates or checks the schema. Raises StoreError with what to do."""
        async with self._opening:
            if self._engine is None:
                self._engine = await anyio.to_thread.run_sync(self._open)
        return self._engine

    def _open(self) -> Engine:
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            database = self.folder / "desk.sqlite3"
            database.touch(mode=0o600)
            database.chmod(
                0o600
            )  # SQLite gives its side files the same mode; the folder may be older and open to others
            engine = create_engine(
                f"sqlite:///{database}",
                module=self._driver(),
                connect_args={"timeout": 30},
                json_serializer=_compact,
            )
            event.listen(engine, "connect", _on_connect)
            event.listen(engine, "begin", _on_begin)
            # Only one process at a time may turn a new file into a WAL database: nobody waits for that, they fail.
            with (
                filelock.FileLock(self.folder / "desk.opening", timeout=30),
                engine.connect().execution_options(begin="IMMEDIATE") as connection,
                connection.begin(),
            ):
                _prepare_schema(connection)
        except (OSError, DBAPIError, filelock.Timeout) as error:
            raise StoreError(
                f"The data folder {self.folder} cannot be used ({type(error).__name__}). Check that it belongs to this "
                "user and has space, or point CALLTRIAGE_DATA_DIR elsewhere."
            ) from error
        return engine

    def _driver(self) -> ModuleType:
        """An SQLite that is safe with several processes; failing that, this process alone on the folder."""
        bundled = sqlite_driver()
        if cast("tuple[int, int, int]", bundled.sqlite_version_info) >= FIRST_SAFE_SQLITE:
            return bundled
        warnings.warn(
            f"SQLite {bundled.sqlite_version} is older than 3.51.3: one calltriage process at a time per folder.",
            stacklevel=2,
        )
        self._process_lock = filelock.FileLock(self.folder / "desk.lock")
        try:
            self._process_lock.acquire(timeout=1)
        except filelock.Timeout as error:
            raise StoreError(
                f"Another calltriage process uses {self.folder}, and SQLite {bundled.sqlite_version} is not safe "
                "for two. Stop it, or point CALLTRIAGE_DATA_DIR elsewhere."
            ) from error
        return bundled

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Run a query in a worker thread on a consistent snapshot."""
        engine = self._engine or await self.open()

        def run() -> T:
            with engine.connect() as connection, connection.begin():
                return query(connection)

        return await anyio.to_thread.run_sync(run)

    async def write(self, change: Callable[[Connection], T]) -> T:
        """Run a change and return once it is on disk. What waits together shares one commit, each in a savepoint.

        A caller that is cancelled while it waits leaves no effect; once its batch has begun it is seen through.
        """
        engine = self._engine or await self.open()
        job = _Write(change)
        self._waiting.append(job)
        try:
            async with self._turn:
                if not job.finished:
                    batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
                    with anyio.CancelScope(shield=True):
                        await anyio.to_thread.run_sync(_commit, engine, batch)
        finally:
            if job in self._waiting:
                self._waiting.remove(job)
        if job.error is not None:
            raise job.error
        return cast("T", job.result)

    async def close(self) -> None:
        """Let go of the files."""
        if self._engine is not None:
            await anyio.to_thread.run_sync(self._engine.dispose)
            self._engine = None
        if self._process_lock is not None:
            self._process_lock.release()


def sqlite_driver() -> ModuleType:
    """The SQLite that comes with the package where there is one, else Python's own. Never both on one file."""
    try:
        return importlib.import_module("pysqlite3.dbapi2")
    except ImportError:
        return importlib.import_module("sqlite3")


def _commit(engine: Engine, batch: list[_Write[Any]]) -> None:
    """One transaction for the batch; if it cannot be committed, none of it happened and all hear so."""
    try:
        with engine.connect().execution_options(begin="IMMEDIATE") as connection, connection.begin():
            for job in batch:
                job.run(connection)
                if job.error is not None and not _in_transaction(connection):
                    raise job.error  # a full disk rolls back everything, savepoints or not
    except BaseException as error:  # noqa: BLE001  the waiting callers get it
        for job in batch:
            job.error, job.result = error, None
    for job in batch:
        job.finished = True


def _in_transaction(connection: Connection) -> bool:
    """Whether the database still holds the transaction that was begun; SQLite ends it by itself when its disk is full."""
    return getattr(connection.connection.dbapi_connection, "in_transaction", True)


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _on_connect(dbapi_connection: Any, _: object) -> None:
    dbapi_connection.isolation_level = None  # transactions are begun by _on_begin, not by the driver
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
        dbapi_connection.execute(f"PRAGMA {pragma}")


def _on_begin(connection: Connection) -> None:
    connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get('begin', 'DEFERRED')}")


def _prepare_schema(connection: Connection) -> None:
    if not connection.dialect.has_table(connection, "settings"):
        metadata.create_all(connection)
        org, user = new_id(), new_id()
        connection.execute(insert(organisations).values(**new_organisation(org, "Embedded desk")))
        facts = {
            "schema_version": str(SCHEMA_VERSION),
            "secret": secrets.token_hex(32),
            "org_id": org,
            "user_id": user,
        }
        connection.execute(insert(settings), [{"name": name, "value": value} for name, value in facts.items()])
    version = connection.execute(select(settings.c.value).where(settings.c.name == "schema_version")).scalar()
    if version != str(SCHEMA_VERSION):
        raise StoreError(
            f"The data folder has schema version {version}; this calltriage knows {SCHEMA_VERSION}. "
            "Install the calltriage that wrote it, or point CALLTRIAGE_DATA_DIR elsewhere."
        )


def new_organisation(org_id: str, name: str) -> dict[str, Any]:
    """The row of an organisation without issues: its first ticket will be T-1001."""
    return {"id": org_id, "name": name, "last_number": 1000, "created_at": written(datetime.now(UTC))}


def written(instant: datetime) -> str:
    """An instant as the triage API writes it: ISO 8601 UTC with milliseconds and a Z."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{instant.microsecond // 1000:03d}Z"


def new_id() -> str:
    """A random UUID in its usual form."""
    return str(uuid.uuid4())
