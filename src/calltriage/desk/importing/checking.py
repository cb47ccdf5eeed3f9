"""Checking all that is to be imported before anything is loaded, whatever its format."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from typing import Any

from calltriage.desk.http.signed_urls import MAX_OBJECT
from calltriage.desk.importing.documents import Found, json_values
from calltriage.desk.importing.entries import Reading, complaint, entry_of
from calltriage.desk.importing.formats import FORMATS, OURS, TEXT_FORMATS, is_turn
from calltriage.desk.importing.formats.format import Format, Line, TextFormat, is_object
from calltriage.desk.importing.sources import Source, Text
from calltriage.desk.importing.spool import Spool
from calltriage.errors import ImportFileError
from calltriage.leaves.gate import one_line

NAMED = 50
"""Bad lines that are named; the others are counted."""
HEAD = 64 * 1024
"""Characters that a format is told by, if it is no JSON."""
OUR_OWN = {"call_id", "conversation_id", "created_at", "kind", "turns"}
"""Members by which an object is taken for one of our lines with a fault, rather than for one of a format unknown."""


@dataclass
class Checked:
    """What can be loaded, and what cannot: the first complaints, and how many there are in all."""

    entries: Spool
    complaints: list[str] = field(default_factory=list[str])
    bad: int = 0
    notes: list[str] = field(default_factory=list[str])
    """What a person should know of how files were read."""

    def complain(self, place: str, words: str) -> None:
        self.bad += 1
        if len(self.complaints) < NAMED:
            self.complaints.append(f"{place}: {words}" if place else words)

    def refuse_bad(self) -> None:
        """Raise ImportFileError that names the bad lines, if there are any."""
        if not self.bad:
            return
        them = "them" if self.bad > 1 else "it"
        advice = f"Nothing was loaded; mend {them}, or pass --skip-bad."
        rest = [f"and {self.bad - NAMED} more like these"] if self.bad > NAMED else []
        if self.bad == 1:
            raise ImportFileError(f"{one_line(self.complaints[0])}. {advice}")
        raise ImportFileError("\n".join(map(one_line, [*self.complaints, *rest, advice])))


@contextmanager
def checked(
    sources: Iterable[Source], *, format_name: str | None = None, zone: tzinfo = UTC, limit: int = MAX_OBJECT
) -> Generator[Checked]:
    """Everything that the sources hold, checked; it is gone when the context ends.

    `format_name` insists on a format, `zone` is that of times without one, `limit` the size of a file in bytes.
    """
    with Spool() as spool:
        found = Checked(spool)
        for source in sources:
            _check(source, found, format_name, Reading(zone, source.folder, limit))
        yield found


def _check(source: Source, found: Checked, format_name: str | None, how: Reading) -> None:
    try:
        text = Text(source)
        if text.encoding != "utf-8":
            found.notes.append(source.at(f"read as {text.encoding.upper()}"))
        for line in _lines(text, format_name):
            _check_line(source, line, found, how)
    except OSError as error:
        found.complain(source.name, f"cannot be read: {error.strerror or type(error).__name__}")
    except ValueError as error:  # of the whole file, or of the rest of it
        found.complain(source.name, str(error))


def _check_line(source: Source, line: Found, found: Checked, how: Reading) -> None:
    place = source.at(line.place)
    if line.fault is not None:
        found.complain(place, line.fault)
        return
    try:
        found.entries.add(entry_of(line.value, place, how))
    except (ValueError, RecursionError) as error:
        found.complain(place, complaint(error))


def _lines(text: Text, format_name: str | None) -> Iterator[Found]:
    """Our lines of a text, from whatever format it is in."""
    with text.open() as file:
        head = file.read(HEAD).lstrip()
    as_text = _text_format(head, format_name)
    if as_text is not None:
        for place, line in as_text.lines(text):
            yield Found(place, line)
        return
    if head and not _may_be_json(head):
        raise ValueError("is in no format that is known here: expected JSON, WebVTT, SRT, or CSV with a header")
    for one in json_values(text, is_turn):
        yield one if one.fault is not None else _translated(one, format_name)


def _text_format(head: str, format_name: str | None) -> TextFormat | None:
    for one in TEXT_FORMATS:
        if one.name == format_name:
            if not one.matches(head):
                raise ValueError(f"is not in the format {one.name}: expected {one.expected}")
            return one
    if format_name is not None or head[:1] in ("{", "["):
        return None
    return next((one for one in TEXT_FORMATS if one.matches(head)), None)


def _may_be_json(head: str) -> bool:
    return head[0] in '{["-0123456789tfn' or any(line.lstrip()[:1] == "{" for line in head.splitlines())


def _translated(one: Found, format_name: str | None) -> Found:
    try:
        return Found(one.place, _line_of(one.value, format_name))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        known = isinstance(error, ValueError)
        return Found(one.place, fault=str(error) if known else "does not have the form that its format documents")


def _line_of(value: Any, format_name: str | None) -> Line:
    if format_name is not None:
        chosen = next(one for one in FORMATS if one.name == format_name)
        if chosen is not OURS and not chosen.matches(value):
            raise ValueError(f"is not in the format {chosen.name}: expected {chosen.expected}")
        return chosen.line(value)
    return _format_of(value).line(value)


def _format_of(value: Any) -> Format:
    for one in FORMATS:
        if one.matches(value):
            return one
    if not is_object(value) or value.keys() & OUR_OWN:
        return OURS
    raise ValueError(f"is a call in no format that is known here ({', '.join(one.name for one in FORMATS)})")
