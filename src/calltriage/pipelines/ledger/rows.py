"""Inserts of rows that may exist already, for SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Table


def insert_into(connection: Connection, table: Table) -> Any:
    """An insert statement of the connection's dialect, with `on_conflict_…` methods."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as on_postgres  # noqa: PLC0415

        return on_postgres(table)
    from sqlalchemy.dialects.sqlite import insert as on_sqlite  # noqa: PLC0415

    return on_sqlite(table)


def add_new(
    connection: Connection, table: Table, rows: Sequence[dict[str, Any]], replacing: ColumnElement[bool] | None = None
) -> None:
    """Insert rows whose keys do not exist. Existing rows stay, unless `replacing` is true of them."""
    if not rows:
        return
    change = insert_into(connection, table)
    if replacing is None:
        connection.execute(change.on_conflict_do_nothing(), rows)
        return
    key = list(table.primary_key.columns)
    values = {column.name: change.excluded[column.name] for column in table.columns if column not in key}
    connection.execute(change.on_conflict_do_update(index_elements=key, set_=values, where=replacing), rows)
