"""Tables: CSV with a header that names call, time, speaker and text; a row is a turn."""

from __future__ import annotations

import csv
import json
import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import TypeAlias

from calltriage.desk.importing.documents import Found
from calltriage.desk.importing.formats.format import Line, TextFormat, instant, number, turn
from calltriage.desk.importing.our_lines import EARLIEST_EPOCH, LEAST_MILLISECONDS
from calltriage.desk.importing.sources import LONE, Text
from calltriage.leaves.strict_json import JsonObject

COLUMNS = {
    "call": (
        "call",
        "call_id",
        "callid",
        "call_sid",
        "conversation",
        "conversation_id",
        "session_id",
        "interaction_id",
    ),
    "time": (
        "time",
        "timestamp",
        "created_at",
        "date",
        "datetime",
        "start",
        "start_time",
        "offset",
        "offset_seconds",
        "start_seconds",
    ),
    "end": ("end", "end_time"),
    "speaker": ("speaker", "role", "participant", "party", "user", "who", "sender"),
    "text": ("text", "content", "message", "transcript", "utterance", "words"),
}
"""The names of each column in a header, in any case, with blanks or dashes for underscores."""
NEEDED = ("speaker", "text")
"""Columns without which a table is none of calls."""
TAKEN = {"speaker", "text", "start_ms", "duration_ms"}
"""Fields that a turn has already. Other columns of these names are left out."""
TABLES = """
PRAGMA journal_mode = OFF;
CREATE TABLE calls (n INTEGER PRIMARY KEY, id TEXT UNIQUE, place TEXT);
CREATE TABLE said (n INTEGER PRIMARY KEY, call INTEGER, row TEXT);
BEGIN;
"""
DELIMITERS = ",;\t|"
SEPARATOR = re.compile(r"\ufeff?sep=.\s*", re.IGNORECASE)
"""The line before a header that tells Excel the delimiter."""
DAY_FIRST = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})(?:[ T,]+(\d{1,2}):(\d{2})(?::(\d{2}))?)?")
"""A date with points has the day first. One with slashes is ambiguous and is refused."""
Time: TypeAlias = datetime | float | None
"""What a cell says of a time, as `_time` reads it."""
CLOCK = re.compile(r"(?:(\d+):)?(\d{1,2}):(\d{1,2}(?:[.,]\d+)?)")

LONGEST_NAME = 32
"""Characters of a cell that may be a column's name, not words of a sentence."""


def _named(columns: Iterable[str]) -> str:
    return ", ".join(f"{column} (or {', '.join(COLUMNS[column][1:])})" for column in columns)


MAY_BE = [column for column in COLUMNS if column not in NEEDED]
EXPECTED = f"CSV with a header that names {_named(NEEDED)}; it may name {_named(MAY_BE)}"
"""What a table looks like, with all names that its columns may have."""


def _header(line: str) -> tuple[str, dict[str, int], list[str]] | None:
    """The delimiter, the place of each column, and all names; None for a line that is no such header."""
    for delimiter in DELIMITERS:
        try:
            names = next(csv.reader([line], delimiter=delimiter), list[str]())
        except csv.Error:
            continue
        plain = [re.sub(r"[\s-]+", "_", name.strip().strip("\ufeff").casefold()) for name in names]
        found: dict[str, int] = {}
        for column, words in COLUMNS.items():
            place = next((plain.index(word) for word in words if word in plain), None)
            if place is not None:
                found[column] = place
        if all(column in found for column in NEEDED):
            return delimiter, found, names
    return None


def _matches(head: str) -> bool:
    lines = [line.rstrip("\r") for line in head.split("\n", 2)]
    return _header(lines[1] if SEPARATOR.fullmatch(lines[0]) and lines[1:] else lines[0]) is not None


def is_like_table(head: str) -> bool:
    """Whether a text begins with a row of at least three short cells, as a header in other words does."""
    line = head.split("\n", 1)[0]
    return any(len(cells := line.split(one)) > 2 and max(map(len, cells)) <= LONGEST_NAME for one in DELIMITERS)


def _lines(text: Text) -> Iterator[Found]:
    """The calls in the order of their first rows. Rows wait in a temporary database, as those of a call may lie far
    apart."""
    with closing(sqlite3.connect("", isolation_level=None)) as database:
        database.executescript(TABLES)
        for found in _rows(text):
            if found.fault is not None:
                yield found
                continue
            call_id = found.value.get("call", "")
            database.execute("INSERT OR IGNORE INTO calls VALUES (NULL, ?, ?)", (call_id, found.place))
            keyed = "INSERT INTO said SELECT NULL, n, ? FROM calls WHERE id = ?"
            database.execute(keyed, (json.dumps(found.value), call_id))
        database.execute("CREATE INDEX said_of_call ON said (call, n)")
        for call, call_id, place in database.execute("SELECT n, id, place FROM calls ORDER BY n"):
            said = database.execute("SELECT row FROM said WHERE call = ? ORDER BY n", (call,))
            yield Found(place, _call(call_id, [json.loads(row) for (row,) in said]))


def _rows(text: Text) -> Iterator[Found]:
    """The cells of each row by column, or the fault of a row."""
    with text.open() as file:
        first, above = file.readline(), 1
        if SEPARATOR.fullmatch(first):
            first, above = file.readline(), 2
        found = _header(first.rstrip("\r\n"))
        if found is None:
            raise ValueError(f"line {above}: expected {EXPECTED}")
        delimiter, columns, names = found
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        while True:
            place = f"line {reader.line_num + above + 1}"
            try:
                cells = next(reader, None)
                if cells is None:
                    return
                if any(cells):
                    yield Found(place, _row(cells, columns, names, text.encoding))
            except csv.Error:
                yield Found(place, fault="expected cells, quoted where they hold a delimiter or a line's end")
            except ValueError as error:
                yield Found(place, fault=str(error))


def _row(cells: list[str], columns: dict[str, int], names: list[str], encoding: str) -> JsonObject:
    if len(cells) != len(names):
        raise ValueError(f"expected {len(names)} cells as in the header, found {len(cells)}")
    if any(LONE.search(cell) for cell in cells):
        raise ValueError(f"is not {encoding.upper()}")
    row: JsonObject = {column: cells[place].strip() for column, place in columns.items()}
    for column in ("time", "end"):
        _time(row.get(column, ""))
    others = [
        (name, cell) for n, (name, cell) in enumerate(zip(names, cells, strict=True)) if n not in columns.values()
    ]
    return {**row, "more": {name: cell for name, cell in others if cell and name not in TAKEN}}


def _call(call_id: str, rows: list[JsonObject]) -> Line:
    timed = _in_order([(_time(row.get("time", "")), row) for row in rows])
    first = next((time for time, _ in timed if _is_instant(time)), None)
    base = None if first is None else _seconds(first)
    turns = [
        turn(
            row["speaker"] or None,
            row["text"],
            _offset(time, base),
            _offset(_time(row.get("end", "")), base),
            **row["more"],
        )
        for time, row in timed
    ]
    line: Line = {"turns": turns}
    if first is not None:
        line["created_at"] = first.isoformat() if isinstance(first, datetime) else instant(first)
    return {**line, "call_id": call_id} if call_id else line


def _in_order(timed: list[tuple[Time, JsonObject]]) -> list[tuple[Time, JsonObject]]:
    """The rows of a call by their times, as exports may begin with the newest. They stay as they are if one has no time,
    or if their times cannot be compared."""
    kinds = {(_is_instant(time), isinstance(time, datetime) and time.tzinfo is None) for time, _ in timed}
    if len(kinds) > 1 or any(time is None for time, _ in timed):
        return timed
    return sorted(timed, key=lambda one: _seconds(one[0] or 0.0))  # each has one


def _time(cell: str) -> Time:
    """An instant; seconds or milliseconds since 1970; or seconds since the call began, also as a clock (01:05). Raises
    ValueError."""
    if not cell:
        return None
    count, clock = number(cell), CLOCK.fullmatch(cell)
    if count is not None:
        return count
    if clock is not None:
        return int(clock[1] or 0) * 3600 + int(clock[2]) * 60 + float(clock[3].replace(",", "."))
    day_first = DAY_FIRST.fullmatch(cell)
    try:
        if day_first is not None:
            day, month, year, hour, minute, second = (int(part or 0) for part in day_first.groups())
            return datetime(year, month, day, hour, minute, second)  # noqa: DTZ001  the zone is the import's
        return datetime.fromisoformat(cell)
    except ValueError:
        raise ValueError("time: expected ISO 8601, a number, or minutes and seconds such as 01:05") from None


def _is_instant(time: Time) -> bool:
    return isinstance(time, datetime) or (time is not None and time >= EARLIEST_EPOCH)


def _seconds(time: datetime | float) -> float:
    if isinstance(time, datetime):
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    return time / 1000 if time >= LEAST_MILLISECONDS else time


def _offset(time: Time, base: float | None) -> float | None:
    """Seconds since the call began. `base`: when it began, in seconds since 1970."""
    if time is None or not _is_instant(time):
        return time if isinstance(time, float) else None
    return None if base is None else _seconds(time) - base


CSV = TextFormat("csv", EXPECTED, _matches, _lines)
