"""The pipelines' own database: `pipelines.sqlite3` in the data folder, or tables beside the desk's on PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import anyio
from pydantic import SecretStr

from calltriage.leaves.instants import utc_now, written
from calltriage.storage import Database, PostgresDatabase, SqliteFile, writing
from calltriage.storage.migrating import VERSION, Schema

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
    from sqlalchemy import insert  # noqa: PLC0415

    from calltriage.pipelines.ledger.tables import facts, metadata  # noqa: PLC0415

    schema = Schema("The pipelines' ledger", SCHEMA_VERSION, facts, "calltriage.pipelines.ledger.migrations")
    with writing(engine) as connection:
        version = schema.found(connection)
        if version is None:
            metadata.create_all(connection)
            connection.execute(insert(facts).values(name=VERSION, value=str(SCHEMA_VERSION)))
        elif version < SCHEMA_VERSION:
            schema.migrate(connection, version)
