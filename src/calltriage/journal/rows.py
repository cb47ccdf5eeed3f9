"""The rows of the journal, how they are chained, and what a check of the chain can find.

Each row's hash covers the row and the hash before it, and the head (number and hash of the last row) stands apart. So a
row that was altered, dropped, moved or put in is found at the first row that does not fit, and rows cut off at the end are
found by the head. A file that was emptied, or put back as it was earlier, is found by the head noted beside it
(`heads.HeadNote`). Not found: a file and a note rewritten together by somebody who may read the folder's key; compare with
a head that was noted elsewhere to find that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from calltriage.errors import StoreError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

FILE = "journal.sqlite3"
FIRST = "0" * 64
"""What stands for the hash before the first row."""

COLUMNS = (
    "seq", "at", "kind", "write_id", "process", "caller", "tool", "operation", "key", "fingerprint", "arguments",
    "outcome", "code", "result",
)  # fmt: skip

SELECTED = (*COLUMNS, "previous", "hash")
OPTIONAL = frozenset({"process", "operation", "key", "arguments", "outcome", "code", "result"})

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
    # Versions before this fact named callers by their credentials, which change: these names are kept as they stood then.
    """INSERT INTO facts SELECT 'earlier callers', (SELECT coalesce(group_concat(DISTINCT caller), '') FROM entries)
        WHERE NOT EXISTS (SELECT 1 FROM facts WHERE name = 'earlier callers')""",
    """CREATE TRIGGER IF NOT EXISTS entries_stay BEFORE DELETE ON entries
        BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END""",
    """CREATE TRIGGER IF NOT EXISTS entries_stand BEFORE UPDATE ON entries
        BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END""",
    # INSERT OR REPLACE deletes the row in its way without asking the trigger for deletions.
    """CREATE TRIGGER IF NOT EXISTS entries_follow BEFORE INSERT ON entries
        WHEN NEW.seq IS NOT 1 + (SELECT coalesce(max(seq), 0) FROM entries)
            OR EXISTS (SELECT 1 FROM entries WHERE write_id = NEW.write_id AND kind = NEW.kind)
        BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END""",
    """CREATE TRIGGER IF NOT EXISTS entries_lead AFTER INSERT ON entries
        BEGIN UPDATE head SET seq = NEW.seq, hash = NEW.hash; END""",
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the journal. `asked`: who, what, and as `result` what the list of such rows showed before. `outcome`: what
    became of it; the same `write_id`."""

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

    def is_sound(self) -> bool:
        """Whether each value is of the kind that a journal holds. SQLite lets any cell hold anything."""
        texts = [
            value for name, value in vars(self).items() if name != "seq" and not (name in OPTIONAL and value is None)
        ]
        return isinstance(self.seq, int) and all(isinstance(text, str) for text in texts)  # pyright: ignore[reportUnnecessaryIsInstance]

    def digest(self) -> str:
        """What `hash` must be."""
        return chained(self.previous, *(getattr(self, name) for name in COLUMNS))


def prepare(engine: Engine) -> None:
    """Make the tables, or check that this version knows them. From now on SQL knows `chained`."""
    from sqlalchemy import event  # noqa: PLC0415

    from calltriage.storage import writing  # noqa: PLC0415

    event.listen(engine, "connect", _teach)
    with writing(engine) as connection:
        for statement in SCHEMA:
            connection.exec_driver_sql(statement)
        refuse_other_version(connection)


def refuse_other_version(connection: Connection) -> None:
    """Raise StoreError for a journal that this version does not know."""
    found = connection.exec_driver_sql("SELECT value FROM facts WHERE name = 'version'").scalar_one_or_none()
    if found != "1":
        raise StoreError(f"The journal has version {found}; this calltriage knows 1. Use the calltriage that wrote it.")


def _teach(driver: Any, _: Any) -> None:
    driver.create_function("chained", -1, chained, deterministic=True)


def facts(connection: Connection) -> dict[str, str]:
    """What the journal says of itself."""
    return {row.name: row.value for row in connection.exec_driver_sql("SELECT name, value FROM facts")}


def head_of(connection: Connection) -> tuple[int, str]:
    """Number and hash of the last row."""
    seq, digest = connection.exec_driver_sql("SELECT seq, hash FROM head").one()
    return seq, digest


def holds(connection: Connection, noted: tuple[int, str] | None) -> bool:
    """Whether the row of a head that was noted, if one was, is in the journal."""
    if noted is None or noted[0] == 0:
        return True
    found = connection.exec_driver_sql("SELECT hash FROM entries WHERE seq = ?", (noted[0],)).scalar_one_or_none()
    return found == noted[1]


_GIVEN = tuple(name for name in COLUMNS if name != "seq")
_VALUES = ", ".join(f":{name}" for name in _GIVEN)
_APPEND = (
    f"INSERT INTO entries (seq, {', '.join(_GIVEN)}, previous, hash) "  # noqa: S608  names of ours
    f"SELECT seq + 1, {_VALUES}, hash, chained(hash, seq + 1, {_VALUES}) FROM head"
)


def append(connection: Connection, **values: str | None) -> None:
    """Add a row at the end of the chain. Within a write transaction: nobody else can add one meanwhile.

    Raises StoreError for a journal without a head.
    """
    if connection.exec_driver_sql(_APPEND, {**dict.fromkeys(_GIVEN), **values}).rowcount != 1:
        raise StoreError("The journal does not say which row is its last. Run: calltriage journal verify")


def chained(previous: str, *values: object) -> str:
    """The hash of a row with these values of `COLUMNS`, after the row with the hash `previous`."""
    return hashlib.sha256(json.dumps([previous, *values], separators=(",", ":")).encode()).hexdigest()


EVERY_ROW = f"SELECT {', '.join(SELECTED)} FROM entries ORDER BY seq"  # noqa: S608  names of ours


def rows(connection: Connection, where: str = "1 = 1", values: tuple[Any, ...] = ()) -> Iterator[Row]:
    """Rows in order; `where` is a condition of ours. Raises StoreError at a row that holds what no journal writes."""
    query = f"SELECT {', '.join(SELECTED)} FROM entries WHERE {where} ORDER BY seq"  # noqa: S608
    for row in rows_of(connection.exec_driver_sql(query, values)):
        if not row.is_sound():
            raise StoreError(
                f"Row {row.seq} of the journal holds a value that no journal writes. Run: calltriage journal verify"
            )
        yield row


def any_row(connection: Connection, where: str, values: tuple[Any, ...]) -> bool:
    """Whether there is a row; `where` is a condition of ours."""
    query = f"SELECT 1 FROM entries WHERE {where} LIMIT 1"  # noqa: S608
    return connection.exec_driver_sql(query, values).first() is not None


def outcome_of(connection: Connection, asked: Row) -> Row | None:
    """What became of a write, where that is on record."""
    return next(rows(connection, "write_id = ? AND kind = 'outcome'", (asked.write_id,)), None)


def rows_of(found: Iterable[Any]) -> Iterator[Row]:
    """The rows that `EVERY_ROW` found, sound or not."""
    for values in found:
        yield Row(**dict(zip(SELECTED, values, strict=True)))


@dataclass(frozen=True)
class Check:
    """What a check of the chain found: rows read, head, and the number of the first row that does not fit.

    `noted` says whether a head was noted beside the journal and is on the chain.
    """

    rows: int
    head: str
    broken_at: int | None = None
    why: str = ""
    noted: bool = False


def check(lines: Iterable[Row], head: tuple[int, str] | None) -> Check:
    """Follow the chain from its first row. `head` is what must stand at its end."""
    previous, count = FIRST, 0
    for row in lines:
        if not row.is_sound():
            return Check(count, previous, count + 1, "it holds a value that no journal writes")
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
