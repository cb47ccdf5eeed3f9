"""Indexes that a database may not be able to have. A desk without one is only slower."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, delete, insert
from sqlalchemy.exc import DBAPIError

from calltriage.desk.database.tables import settings

PAGE_BYTES = 1000
"""Bytes of a page of an FTS5 index, 4050 unless said. To find one of the rows that have a term, SQLite reads a page from its
start: among a million rows, these halve the time that a rare word takes. Writes take no longer."""


def make_where_possible(connection: Connection, statements: Iterable[str], *, setting: str, kind: str) -> None:
    """Make an index with these statements. The setting `setting` records its kind, or `none` if the database refuses."""
    kept = kind
    try:
        with connection.begin_nested():
            for statement in statements:
                connection.exec_driver_sql(statement)
    except DBAPIError:
        kept = "none"
    connection.execute(delete(settings).where(settings.c.name == setting))
    connection.execute(insert(settings).values(name=setting, value=kept))


def small_pages(index: str) -> str:
    """The statement for an FTS5 index that is empty."""
    return f"INSERT INTO {index} ({index}, rank) VALUES ('pgsz', {PAGE_BYTES})"  # noqa: S608
