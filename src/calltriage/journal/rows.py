"""The rows of the journal, how they are chained, and what a check of the chain can find.

Each row's hash covers the row and the hash before it, and the head (number and hash of the last row) stands apart. So a
row that was altered, dropped, moved or put in is found at the first row that does not fit, and rows cut off at the end are
found by the head. Not found: a file put back whole as it was at an earlier time, or rewritten whole, head included, by
somebody who may write to the folder; compare with a head that was noted elsewhere to find that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from calltriage.errors import StoreError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

FIRST = "0" * 64
"""What stands for the hash before the first row."""

COLUMNS = (
    "seq", "at", "kind", "write_id", "process", "caller", "tool", "operation", "key", "fingerprint", "arguments",
    "outcome", "code", "result",
)  # fmt: skip

SCHEMA = (
    """CREATE TABLE IF NOT EXISTS entries (
        seq INTEGER PRIMARY KEY, at TEXT NOT NULL, kind TEXT NOT NULL, write_id TEXT NOT NULL, process TEXT,
        caller TEXT NOT NULL, tool TEXT NOT NULL, operation TEXT, key TEXT, fingerprint TEXT NOT NULL,
        arguments TEXT, outcome TEXT, code TEXT, result TEXT, previous TEXT NOT NULL, hash TEXT NOT NULL)""",
    "CREATE UNIQUE INDEX IF NOT EXISTS entries_once ON entries (write_id, kind)",
    "CREATE INDEX IF NOT EXISTS entries_by_content ON entries (caller, fingerprint, seq) WHERE kind = 'asked'",
    "CREATE INDEX IF NOT EXISTS entries_by_key ON entries (caller, key, seq) WHERE key IS NOT NULL",
    "CREATE TABLE IF NOT EXISTS head (one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL, hash TEXT NOT NULL)",
    "INSERT OR IGNORE INTO head VALUES (1, 0, printf('%064d', 0))",
    "CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "INSERT OR IGNORE INTO facts VALUES ('version', '1')",
    "INSERT OR IGNORE INTO facts VALUES ('salt', lower(hex(randomblob(32))))",
    """CREATE TRIGGER IF NOT EXISTS entries_stay BEFORE DELETE ON entries
        BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END""",
    """CREATE TRIGGER IF NOT EXISTS entries_stand BEFORE UPDATE ON entries
        BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END""",
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the journal. `asked`: who, what. `outcome`: what became of it; the same `write_id`."""

    seq: int
    at: str
    kind: str
    write_id: str
    process: str | None
    caller: str
    tool: str
    operation: str | None
    key: str | None
    fingerprint: str
    arguments: str | None
    outcome: str | None
    code: str | None
    result: str | None
    previous: str
    hash: str

    def digest(self) -> str:
        """What `hash` must be."""
        values = [getattr(self, name) for name in COLUMNS]
        return hashlib.sha256(json.dumps([self.previous, *values], separators=(",", ":")).encode()).hexdigest()


def prepare(engine: Engine) -> None:
    """Make the tables, or check that this version knows them."""
    from calltriage.storage import writing  # noqa: PLC0415

    with writing(engine) as connection:
        for statement in SCHEMA:
            connection.exec_driver_sql(statement)
        found = connection.exec_driver_sql("SELECT value FROM facts WHERE name = 'version'").scalar_one()
    if found != "1":
        raise StoreError(f"The journal has version {found}; this calltriage knows 1. Use the calltriage that wrote it.")


def append(connection: Connection, **values: Any) -> None:
    """Add a row at the end of the chain. Within a write transaction: nobody else can add one meanwhile."""
    seq, previous = connection.exec_driver_sql("SELECT seq, hash FROM head").one()
    draft = Row(**{**dict.fromkeys(COLUMNS), **values, "seq": seq + 1, "previous": previous, "hash": ""})  # type: ignore[arg-type]
    digest = draft.digest()
    columns = (*COLUMNS, "previous", "hash")
    row = tuple(digest if name == "hash" else getattr(draft, name) for name in columns)
    places = ", ".join("?" * len(columns))
    connection.exec_driver_sql(f"INSERT INTO entries ({', '.join(columns)}) VALUES ({places})", row)  # noqa: S608
    connection.exec_driver_sql("UPDATE head SET seq = ?, hash = ?", (seq + 1, digest))


def rows(connection: Connection, where: str = "1 = 1", values: tuple[Any, ...] = ()) -> Iterable[Row]:
    """Rows in order; `where` is a condition of ours."""
    columns = ", ".join((*COLUMNS, "previous", "hash"))
    found = connection.exec_driver_sql(f"SELECT {columns} FROM entries WHERE {where} ORDER BY seq", values)  # noqa: S608
    for row in found.mappings():
        yield Row(**row)


@dataclass(frozen=True)
class Check:
    """What a check of the chain found: rows read, head, and the number of the first row that does not fit."""

    rows: int
    head: str
    broken_at: int | None = None
    why: str = ""


def check(lines: Iterable[Row], head: tuple[int, str] | None) -> Check:
    """Follow the chain from its first row. `head` is what must stand at its end."""
    previous, count = FIRST, 0
    for row in lines:
        if row.seq != count + 1:
            return Check(count, previous, count + 1, "it is missing, or moved")
        if row.previous != previous:
            return Check(count, previous, row.seq, "it does not follow on the row before it")
        if row.digest() != row.hash:
            return Check(count, previous, row.seq, "it was altered")
        previous, count = row.hash, row.seq
    if head is not None and head[0] > count:
        return Check(count, previous, count + 1, f"rows {count + 1} to {head[0]} are missing at the end")
    if head is not None and head != (count, previous):
        return Check(count, previous, count, "the last row is not the one that was written last")
    return Check(count, previous)
