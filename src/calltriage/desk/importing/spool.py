"""Checked entries, kept on disk until all are checked, so that an import of any size needs little memory."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from calltriage.desk.importing.entries import Entry

TABLES = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE entries (
    n INTEGER PRIMARY KEY, kind TEXT, id TEXT, place TEXT, digest TEXT, columns TEXT, content BLOB, path TEXT, named_by TEXT
);
CREATE TABLE taken (kind TEXT, name TEXT, digest TEXT, PRIMARY KEY (kind, name)) WITHOUT ROWID;
"""
KEEP_BOTH = "rename one file, or import the folder above both if there are two, or give the calls ids of their own"
"""What to do about two calls that their files' names alone give one id."""


class Spool:
    """Entries in the order of their arrival, each id once. They are in an SQLite database without a name, which is
    deleted when it is closed."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.executescript(TABLES)
        self._database.execute("BEGIN")
        self.counts = Counter[str]()
        """Entries of each kind."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._database.close()

    def add(self, entry: Entry) -> None:
        """Keep an entry. One with the same id and content is not kept twice. Raises ValueError if an earlier one has its
        id, or its file's name, with other content."""
        names = [(entry.kind, entry.id)]
        if entry.kind == "file":
            names.append(("name of a file", entry.values["name"]))
        query = "SELECT digest FROM taken WHERE kind = ? AND name = ?"
        found = [self._database.execute(query, name).fetchone() for name in names]
        if any(earlier is not None and earlier[0] != entry.digest for earlier in found):
            if entry.named_by is not None:
                raise ValueError(
                    f"an earlier call with other content has the id {entry.id}, too, which only this file's name gives. "
                    f"To keep both, {KEEP_BOTH}"
                )
            raise ValueError("an earlier line has this id or name with other content")
        if found[0] is not None:
            return
        insert = "INSERT OR IGNORE INTO taken VALUES (?, ?, ?)"
        self._database.executemany(insert, [(*name, entry.digest) for name in names])
        self._database.execute(
            "INSERT INTO entries VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                entry.kind,
                entry.id,
                entry.place,
                entry.digest,
                json.dumps(entry.values),
                entry.content if isinstance(entry.content, bytes) else None,
                str(entry.content) if isinstance(entry.content, Path) else None,
                entry.named_by,
            ),
        )
        self.counts[entry.kind] += 1

    def __len__(self) -> int:
        return self.counts.total()

    def __iter__(self) -> Iterator[Entry]:
        query = "SELECT kind, id, place, digest, columns, content, path, named_by FROM entries ORDER BY n"
        rows = self._database.execute(query)
        return (_entry(*row) for row in rows)


def _entry(*row: Any) -> Entry:
    kind, entry_id, place, digest, columns, content, path, named_by = row
    return Entry(kind, entry_id, place, digest, json.loads(columns), content if path is None else Path(path), named_by)
