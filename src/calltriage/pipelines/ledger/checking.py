"""Checks a ledger's file from a backup without changing it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from calltriage.storage.foreign_files import opened_as_data, refuse_other_tables, statements
from calltriage.storage.sqlite import sqlite_driver

WHAT = "The pipelines' ledger"


def refuse_unsound(path: Path) -> None:
    """Raise StoreError unless a backup's file is a sound ledger, so that a restore installs no other file."""
    with opened_as_data(path, own_statements(), WHAT) as connection:
        refuse_other_tables(connection, own_statements(), WHAT)


@cache
def own_statements() -> frozenset[str]:
    """The statements in the schema of a new ledger's file."""
    from sqlalchemy import create_engine  # noqa: PLC0415  half a second of import

    from calltriage.pipelines.ledger.tables import metadata  # noqa: PLC0415

    engine = create_engine("sqlite://", module=sqlite_driver())
    try:
        with engine.begin() as connection:
            metadata.create_all(connection)
            return frozenset(text for _, text in statements(connection.connection.dbapi_connection))
    finally:
        engine.dispose()
