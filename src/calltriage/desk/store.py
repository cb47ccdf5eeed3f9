"""The desk's database: where it is, and what makes an empty one a desk."""

from __future__ import annotations

import secrets
from pathlib import Path

from sqlalchemy import Engine, insert, select

from calltriage.desk.tables import metadata, new_id, new_organisation, organisations, settings
from calltriage.errors import StoreError
from calltriage.storage import Database, SqliteFile, writing

SCHEMA_VERSION = 1


class Store(Database):
    """SQLite in the data folder. Several processes may use one folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(SqliteFile(folder, "desk.sqlite3"), _prepare_schema)


def _prepare_schema(engine: Engine) -> None:
    with writing(engine) as connection:
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
