"""Database files that come from elsewhere: opened to be read, and refused when they would run something."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Collection, Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from calltriage.errors import StoreError
from calltriage.storage.sqlite import sqlite_driver

TABLE = re.compile(r"CREATE TABLE\s.*", re.IGNORECASE | re.DOTALL)
NAMED = re.compile(r"""CREATE (?:VIRTUAL )?TABLE (?:IF NOT EXISTS )?["']?(\w+)""", re.IGNORECASE)
INDEX = re.compile(r'CREATE (UNIQUE )?INDEX "?\w+"? ON "?\w+"? \("?\w+"?(, ?"?\w+"?)*\)', re.IGNORECASE)
"""An index of plain columns: no expression, no condition."""
COMPUTES = re.compile(r"--|/\*|\b(AS|CHECK|DEFAULT)\s*\(", re.IGNORECASE)
"""What makes a table compute: generated columns, checks, defaults; and comments, which could hide one of them."""


def statements(connection: Any) -> list[tuple[Any, Any]]:
    """Name and text of each thing in a database's schema."""
    return connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()


@contextmanager
def opened_as_data(path: Path, known: Collection[str], what: str) -> Generator[Any]:
    """A driver's connection that only reads. Raises StoreError for a file that is not sound, or that would run something.

    `known` are the statements that calltriage itself makes such a database with. Besides them there may be plain tables,
    as earlier versions made them, and indexes; triggers, views, virtual tables and computed columns are refused. `what`
    names the database in messages.
    """
    driver = sqlite_driver()
    try:
        with _connected(path) as connection:
            connection.isolation_level = None
            for pragma in ("query_only=ON", "trusted_schema=OFF", "cell_size_check=ON", "busy_timeout=30000"):
                connection.execute(f"PRAGMA {pragma}")
            connection.execute("BEGIN")  # reads one state, even while others write
            for name, text in statements(connection):
                if text not in known and not _is_plain(text):
                    raise StoreError(
                        f"{what} has {_shown(name)} in its schema, which no calltriage makes and which could run when the "
                        "database is used. Nothing was changed. Remove it from a desk of your own with: DROP TRIGGER, "
                        "VIEW, INDEX or TABLE."
                    )
            if connection.execute("PRAGMA quick_check").fetchall() != [("ok",)]:
                raise StoreError(f"{what} is damaged. Nothing was changed.")
            yield connection
    except (driver.Error, UnicodeDecodeError) as error:
        raise StoreError(f"{what} cannot be read. Nothing was changed.") from error


@contextmanager
def _connected(path: Path) -> Generator[Any]:
    """A driver's connection to a file, whether it can be written or not."""
    driver = sqlite_driver()
    address = f"file:{quote(str(path))}"
    if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK):  # "ro" would leave the log's files behind there
        with closing(driver.connect(f"{address}?mode=rw", uri=True)) as connection:
            yield connection
        return
    with closing(driver.connect(f"{address}?mode=ro", uri=True)) as connection:
        if _can_be_read(connection):
            yield connection
            return
    with tempfile.TemporaryDirectory() as folder:  # no process has the file open: the log's files would be there
        for file in (path, path.with_name(f"{path.name}-wal")):
            if file.exists():
                shutil.copyfile(file, Path(folder) / file.name)
        with closing(driver.connect(Path(folder) / path.name)) as connection:
            yield connection


def _can_be_read(connection: object) -> bool:
    """Whether it can, which it cannot where the log's files would have to be made."""
    try:
        statements(connection)
    except sqlite_driver().OperationalError:
        return False
    return True


def refuse_other_tables(connection: Any, known: Collection[str], what: str) -> None:
    """Raise StoreError where a driver's connection finds tables besides SQLite's own and those that the `known` statements
    make."""
    ours = {found[1] for text in known if (found := NAMED.match(text))}
    query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    for (name,) in connection.execute(query).fetchall():
        if name not in ours:
            raise StoreError(
                f"{what} has the table {_shown(name)}, which no calltriage makes. Nothing was changed. Remove it from a "
                "desk of your own with: DROP TABLE."
            )


def _is_plain(text: object) -> bool:
    if not isinstance(text, str):
        return False
    return bool(INDEX.fullmatch(text) or (TABLE.fullmatch(text) and not COMPUTES.search(text)))


def _shown(name: object) -> str:
    return name if isinstance(name, str) and re.fullmatch(r"\w{1,64}", name) else "something with an odd name"
