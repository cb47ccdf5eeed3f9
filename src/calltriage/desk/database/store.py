"""The desk's database: where it is, what makes an empty one a desk, and how an older one becomes one of today's."""

from __future__ import annotations

import secrets
from functools import cache
from pathlib import Path
from typing import Any

import anyio.to_thread
from pydantic import SecretStr
from sqlalchemy import Connection, Engine, create_engine, delete, false, insert, select, update

from calltriage.desk.database.call_words import make_call_index
from calltriage.desk.database.issue_search import make_index
from calltriage.desk.database.query_planner import give_statistics
from calltriage.desk.database.tables import metadata, new_id, new_organisation, organisations, settings, users
from calltriage.errors import StoreError
from calltriage.storage import Database, PostgresDatabase, SqliteFile, writing
from calltriage.storage.folders import make_folder
from calltriage.storage.foreign_files import refuse_other_tables, statements
from calltriage.storage.migrating import VERSION, Schema
from calltriage.storage.sqlite import sqlite_driver

SCHEMA_VERSION = 12
SCHEMA = Schema("The desk", SCHEMA_VERSION, settings, "calltriage.desk.database.migrations")
DATABASE = "desk.sqlite3"


class Store(Database):
    """SQLite in the data folder, or PostgreSQL where a URL is given. Several processes may use one store."""

    def __init__(self, folder: Path, url: SecretStr | None = None) -> None:
        self._folder = folder
        self._file = SqliteFile(folder, DATABASE) if url is None else None
        super().__init__(self._file or PostgresDatabase(url or SecretStr("")), self._prepare_schema)

    def try_out(self) -> None:
        """Open and close the store, which migrates an older one. Blocks. Raises StoreError if its tables are not a
        desk's."""
        engine = self._open()
        try:
            with engine.connect() as connection:
                if differences(connection):
                    raise StoreError(f"The tables of {DATABASE} are not those of a desk. Nothing was changed.")
                refuse_other_tables(connection.connection.dbapi_connection, own_statements(), "The backup's desk")
        finally:
            self._let_go(engine)

    async def try_changes(self) -> None:
        """Go through a change of each kind on each table that changes no row. A server refuses those that its user may not
        make."""
        await self.write(_change_nothing)

    async def empty_log(self) -> bool:
        """Remove what was deleted from SQLite's log. False if other readers keep it there for now. On PostgreSQL the
        server keeps its own log: True."""
        if self._file is None:
            return True
        return await anyio.to_thread.run_sync(self._file.empty_log, await self.open())

    def _prepare_schema(self, engine: Engine) -> None:
        make_folder(self._folder)  # for files, also if the tables are elsewhere
        with engine.connect() as connection, connection.begin():
            version = SCHEMA.found(connection)
        if version is None:
            with writing(engine) as connection:
                _make(connection)
        elif version < SCHEMA_VERSION:
            if self._file is not None:
                self._file.copy_to(self._file.path.with_name(f"desk.version-{version}.sqlite3"))
            with writing(engine) as connection:
                SCHEMA.migrate(connection, version)


def _change_nothing(connection: Connection) -> None:
    for table in metadata.sorted_tables:
        columns = list(table.columns)
        connection.execute(insert(table).from_select(columns, select(*columns).where(false())))
        connection.execute(update(table).where(false()).values({columns[0].name: columns[0]}))
        connection.execute(delete(table).where(false()))


@cache
def own_statements() -> frozenset[str]:
    """The text of each statement in the schema of a new desk's file."""
    engine = create_engine("sqlite://", module=sqlite_driver())
    try:
        with engine.begin() as connection:
            _make(connection)
            return frozenset(text for _, text in statements(connection.connection.dbapi_connection))
    finally:
        engine.dispose()


def differences(connection: Connection) -> list[Any]:
    """How the known tables differ from a new desk's, apart from the search indexes, which are made by hand."""
    from alembic.autogenerate import compare_metadata  # noqa: PLC0415  as in storage.migrating
    from alembic.migration import MigrationContext  # noqa: PLC0415

    def ours(_: object, name: str | None, kind: str, *__: object) -> bool:
        if kind == "table":
            return name in metadata.tables
        return not (name or "").startswith(("issues_by_words", "call_words_by_term"))

    return compare_metadata(MigrationContext.configure(connection, opts={"include_object": ours}), metadata)


def _make(connection: Connection) -> None:
    metadata.create_all(connection)
    org, user = new_id(), new_id()
    made = new_organisation(org, "Embedded desk")
    connection.execute(insert(organisations).values(**made))
    connection.execute(insert(users).values(org_id=org, id=user, created_at=made["created_at"]))
    facts = {
        VERSION: str(SCHEMA_VERSION),
        "secret": secrets.token_hex(32),
        "org_id": org,
        "user_id": user,
    }
    connection.execute(insert(settings), [{"name": name, "value": value} for name, value in facts.items()])
    make_index(connection)
    make_call_index(connection)
    give_statistics(connection)
