"""The pipelines' own database: `pipelines.sqlite3` in the data folder, or tables beside the desk's on PostgreSQL."""

from __future__ import annotations

import importlib
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import anyio
from pydantic import SecretStr

from calltriage.errors import StoreError
from calltriage.leaves.instants import utc_now, written
from calltriage.storage import Database, PostgresDatabase, SqliteFile, writing

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

FILE = "pipelines.sqlite3"
SCHEMA_VERSION = 2
SESSIONS = 6
"""PostgreSQL sessions that turns may hold at once. The rest of the pool serves the writes made within turns."""

T = TypeVar("T")


@dataclass
class Ledger:
    """The pipelines' database, limited to one account. Opened at the first use. Several processes may share it.

    Attributes:
        folder: the data folder. It also has the lock files of turns; see the module `turns`.
        account: where calls and issues are. Rows of other accounts are never seen.
        url: PostgreSQL database; None: a SQLite file in the folder.
        clock: returns the present time.
    """

    folder: Path
    account: str
    url: SecretStr | None = None
    clock: Callable[[], datetime] = utc_now
    database: Database = field(init=False)
    turns: dict[int, anyio.Lock] = field(default_factory=dict[int, anyio.Lock], init=False, repr=False)
    """Turns within this process; see the module `turns`."""
    sessions: anyio.Semaphore = field(default_factory=lambda: anyio.Semaphore(SESSIONS), init=False, repr=False)

    def __post_init__(self) -> None:
        place = SqliteFile(self.folder, FILE) if self.url is None else PostgresDatabase(self.url)
        self.database = Database(place, prepare)

    def now(self) -> str:
        return written(self.clock())

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Run a query on a consistent snapshot, in a worker thread."""
        return await self.database.read(query)

    async def write(self, change: Callable[[Connection], T], lane: str = "pipelines") -> T:
        """Make a change, durable when this returns. It may run twice. Changes of one lane run one after another, over all
        processes. Raises StoreBusyError if others write for too long."""
        return await self.database.write(change, lane)

    async def close(self) -> None:
        await self.database.close()


@asynccontextmanager
async def open_ledger(folder: Path, account: str, url: SecretStr | None = None) -> AsyncGenerator[Ledger]:
    """The ledger of an account while the block runs. `url`: PostgreSQL; None: a file in the folder."""
    ledger = Ledger(folder, account, url)
    try:
        yield ledger
    finally:
        with anyio.CancelScope(shield=True):
            await ledger.close()


def prepare(engine: Engine) -> None:
    """Create the tables, or migrate older ones. Raises StoreError for tables of a newer version."""
    from sqlalchemy import insert, inspect, select  # noqa: PLC0415

    from calltriage.pipelines.ledger.tables import facts, metadata  # noqa: PLC0415

    with writing(engine) as connection:
        if not inspect(connection).has_table(facts.name):
            metadata.create_all(connection)
            connection.execute(insert(facts).values(name="schema_version", value=str(SCHEMA_VERSION)))
            return
        version = connection.execute(select(facts.c.value).where(facts.c.name == "schema_version")).scalar_one_or_none()
        if version is None or not version.isdigit() or not 1 <= int(version) <= SCHEMA_VERSION:
            raise StoreError(
                f"The pipelines' ledger has schema version {version or 'unknown'}; this calltriage knows {SCHEMA_VERSION}. "
                "Install the calltriage that wrote it, or point CALLTRIAGE_DATA_DIR (or CALLTRIAGE_DATABASE_URL) elsewhere."
            )
        _migrate(connection, int(version))


def _migrate(connection: Connection, version: int) -> None:
    """Run all steps in one transaction. The module `migrations/v{N}.py` makes version N of version N - 1."""
    if version == SCHEMA_VERSION:
        return
    from alembic.migration import MigrationContext  # noqa: PLC0415
    from alembic.operations import Operations  # noqa: PLC0415
    from sqlalchemy import update  # noqa: PLC0415

    from calltriage.pipelines.ledger.tables import facts  # noqa: PLC0415

    operations = Operations(MigrationContext.configure(connection))
    for step in range(version + 1, SCHEMA_VERSION + 1):
        importlib.import_module(f"calltriage.pipelines.ledger.migrations.v{step}").upgrade(operations)
    change = update(facts).where(facts.c.name == "schema_version")
    connection.execute(change.values(value=str(SCHEMA_VERSION)))
