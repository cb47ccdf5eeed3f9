"""Conditions and inserts whose statements are built once, for SQLite and PostgreSQL.

Building a statement costs several times more than running it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, bindparam

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Table


def own(table: Table, *names: str) -> ColumnElement[bool]:
    """The condition that a row's account and these columns equal the parameters `of_account`, `of_<name>` and so on."""
    return and_(*(table.c[name] == bindparam(f"of_{name}") for name in ("account", *names)))


def insert_into(dialect: str, table: Table) -> Any:
    """An insert statement of a dialect, with `on_conflict_…` methods."""
    if dialect == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as on_postgres  # noqa: PLC0415

        return on_postgres(table)
    from sqlalchemy.dialects.sqlite import insert as on_sqlite  # noqa: PLC0415

    return on_sqlite(table)


def add_new(
    connection: Connection, table: Table, rows: Sequence[dict[str, Any]], replacing: tuple[str, str] | None = None
) -> None:
    """Insert rows whose keys do not exist. Existing rows stay, unless they have the value of `replacing`, a column's name
    and a value."""
    if rows:
        connection.execute(_adding(connection.dialect.name, table, replacing), rows)


@cache
def _adding(dialect: str, table: Table, replacing: tuple[str, str] | None) -> Any:
    change = insert_into(dialect, table)
    if replacing is None:
        return change.on_conflict_do_nothing()
    key = list(table.primary_key.columns)
    values = {column.name: change.excluded[column.name] for column in table.columns if column not in key}
    name, value = replacing
    return change.on_conflict_do_update(index_elements=key, set_=values, where=table.c[name] == value)
