"""Whether a journal's file is whole: read as it is, changed in nothing, whatever it holds."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calltriage.errors import StoreError
from calltriage.journal.head_notes import HeadNote
from calltriage.journal.rows import EVERY_ROW, FILE, FIRST, SCHEMA, Check, check, refuse_other_version, rows_of
from calltriage.storage.foreign_files import opened_as_data, refuse_other_tables, statements
from calltriage.storage.sqlite import sqlite_driver

if TYPE_CHECKING:
    from sqlalchemy import Connection


@contextmanager
def opened_to_read(folder: Path) -> Generator[Connection]:
    """The journal of a folder, changed in nothing, whether it can be written or not. Blocks. Raises StoreError; where there
    is none, too."""
    from sqlalchemy import StaticPool, create_engine, exc  # noqa: PLC0415  half a second of import

    refuse_missing(folder)
    with opened_as_data(folder / FILE, own_statements(), "The journal") as opened:
        opened.text_factory = _as_text
        engine = create_engine("sqlite://", module=sqlite_driver(), creator=lambda: opened, poolclass=StaticPool)
        try:
            with engine.connect() as connection:
                refuse_other_version(connection)
                yield connection
        except exc.DBAPIError as error:  # a table is missing, or is not as a journal has it
            raise StoreError("The journal cannot be read. Nothing was changed.") from error


def refuse_missing(folder: Path) -> None:
    """Raise StoreError where a folder has no journal: asking about it must not make one."""
    if not (folder / FILE).is_file():
        raise StoreError(f"There is no journal in {folder}: nothing was written through calltriage yet.")


@cache
def own_statements() -> frozenset[str]:
    """The text of each statement that stands in the schema of a new journal's file."""
    connection = sqlite_driver().connect(":memory:")
    try:
        for statement in SCHEMA:
            connection.execute(statement)
        return frozenset(text for _, text in statements(connection))
    finally:
        connection.close()


def check_file(path: Path, noted: tuple[int, str] | None = None) -> Check:
    """Follow the chain in a file and compare its end with the head; `noted` must be the number and hash of one of its rows.

    Raises StoreError for a file that cannot be read as a journal.
    """
    with opened_as_data(path, own_statements(), "The journal") as connection:
        connection.text_factory = _as_text
        head = connection.execute("SELECT seq, hash FROM head").fetchone()
        if head is None or not (isinstance(head[0], int) and isinstance(head[1], str)):
            return Check(0, FIRST, 1, "the journal does not say which row is its last")
        found = check(rows_of(connection.execute(EVERY_ROW)), (head[0], head[1]))
        if noted is None or found.broken_at is not None:
            return found
        return _with_noted(connection, found, noted)


def _as_text(raw: bytes) -> str:
    """A cell's text, one that is no UTF-8 included: it was altered, which the chain tells."""
    return raw.decode("utf-8", "surrogateescape")


def _with_noted(connection: Any, found: Check, noted: tuple[int, str]) -> Check:
    seq, digest = noted
    if seq > found.rows:
        why = f"rows {found.rows + 1} to {seq} are missing: row {seq} was noted as the last one"
        return Check(found.rows, found.head, found.rows + 1, why)
    held = FIRST if seq == 0 else connection.execute("SELECT hash FROM entries WHERE seq = ?", (seq,)).fetchone()[0]
    if held != digest:
        return Check(found.rows, found.head, seq, "it is not the row that was noted")
    return Check(found.rows, found.head, noted=True)


def check_folder(folder: Path, note: HeadNote | None) -> Check:
    """Check the journal of a folder against the head noted beside it. Raises StoreError; for a missing journal, too."""
    noted = None if note is None else note.read()
    if noted is not None and noted[0] and not (folder / FILE).is_file():
        return Check(0, FIRST, 1, f"the journal is gone: row {noted[0]} was noted as its last one")
    refuse_missing(folder)
    return check_file(folder / FILE, noted)


def refuse_unsound(path: Path) -> None:
    """Raise StoreError unless a backup's journal is whole, so that a restore puts no other one in place."""
    with opened_as_data(path, own_statements(), "The journal") as connection:
        refuse_other_tables(connection, own_statements(), "The journal")
    found = check_file(path)
    if found.broken_at is not None:
        raise StoreError(
            f"The journal is broken at row {found.broken_at}: {found.why}. Nothing was changed. To back up a desk without "
            f"it, move {FILE} out of the data folder and keep it."
        )
