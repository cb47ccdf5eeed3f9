"""Indexes that a database may not be able to have. A desk without one is only slower."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.exc import DBAPIError

from calltriage.desk.database.tables import settings


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


def kind_of(connection: Connection, setting: str) -> str | None:
    """The kind of the index that a setting records. Each connection asks the database once."""
    known: dict[str, str | None] = connection.info.setdefault("indexes", {})
    if setting not in known:
        query = select(settings.c.value).where(settings.c.name == setting)
        known[setting] = connection.execute(query).scalar_one_or_none()
    return known[setting]
