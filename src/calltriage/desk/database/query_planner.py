"""Statistics for the query planner, so that a small desk and a large one run the same plans.

Without statistics SQLite assumes ten rows for an organisation and reads all of them; gathered statistics would be those of
an empty desk. So each desk gets typical ones when it is made (sqlite.org/optoverview.html on the stability of plans).
PostgreSQL gathers its own. But where few issues have all flags of a desk, it takes each issue for one of these and reads all
flags for it (n_distinct in postgresql.org/docs/current/sql-altertable.html).
"""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, text

from calltriage.desk.database.tables import metadata

ROWS = 1_000_000
GROUPS = {
    "org_id": 50_000,
    "status": 8000, "status_rank": 8000, "severity": 12_500, "severity_rank": 12_500, "category_folded": 1200,
    "owner_id": 200, "assignee_id": 200, "resource_type": 15_000, "type": 2000, "batch_id": 500, "issue_id": 20,
    "completed": 40_000, "from_number": 5, "to_number": 5, "related_issue_id": 5, "session_id": 5,
}  # fmt: skip
"""By column, how many rows have the same value; 1 for any other column."""
OWNERS = ("issue_id", "related_issue_id", "session_id")
"""Columns that name what a row belongs to."""


def give_statistics(connection: Connection) -> None:
    """Store the statistics of each index that begins with the organisation. PostgreSQL is told how many rows belong to one
    thing, which counts once it has gathered its own."""
    if connection.dialect.name != "sqlite":
        _tell_owners(connection)
        return
    connection.exec_driver_sql("ANALYZE")  # makes the table that holds them
    connection.exec_driver_sql("DELETE FROM sqlite_stat1")
    for table in metadata.sorted_tables:
        for (index,) in connection.exec_driver_sql("SELECT name FROM pragma_index_list(?)", (table.name,)).fetchall():
            query = "SELECT name FROM pragma_index_info(?) ORDER BY seqno"
            columns = [name for (name,) in connection.exec_driver_sql(query, (index,))]
            if columns[0] == "org_id":
                row = (table.name, index, _figures(columns))
                connection.exec_driver_sql("INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (?, ?, ?)", row)
    connection.exec_driver_sql("ANALYZE sqlite_schema")  # has this connection read them, as later ones do


def _tell_owners(connection: Connection) -> None:
    """Of the tables and columns that there are: a migration begins with an older version's."""
    query = text(
        "SELECT relname, attname FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid WHERE relkind IN ('r', 'p') "
        "AND pg_table_is_visible(attrelid) AND relname IN :tables AND attname IN :columns"
    ).bindparams(bindparam("tables", [*metadata.tables], expanding=True), bindparam("columns", OWNERS, expanding=True))
    for table, column in connection.execute(query).all():
        connection.exec_driver_sql(f"ALTER TABLE {table} ALTER {column} SET (n_distinct = {-1 / GROUPS[column]})")


def _figures(columns: list[str]) -> str:
    """Rows in all, and how many agree in the first column, in the first two, and so on."""
    figures = [ROWS]
    for column in columns:
        figures.append(min(figures[-1], GROUPS.get(column, 1)))
    return " ".join(map(str, figures))
