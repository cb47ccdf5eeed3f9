"""Checks everything in an import, in any format, before anything is loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, tzinfo
from typing import Any

from calltriage.desk.http.signed_urls import MAX_OBJECT
from calltriage.desk.importing.documents import Found, json_values
from calltriage.desk.importing.entries import Entry, Reading, complaint, entry_of
from calltriage.desk.importing.formats import FORMATS, NAMES, OURS, TEXT_FORMATS
from calltriage.desk.importing.formats.chat import is_turn
from calltriage.desk.importing.formats.format import Format, Line, TextFormat
from calltriage.desk.importing.formats.tables import CSV, is_like_table
from calltriage.desk.importing.sources import Source, Text
from calltriage.desk.importing.spool import Spool
from calltriage.errors import ImportFileError
from calltriage.leaves.gate import one_line
from calltriage.leaves.instants import written
from calltriage.leaves.strict_json import is_object

MOST_BAD = 100_000
"""After this many bad lines in a row the rest of a source is not read: it is no file of calls."""
NAMED = 50
"""Bad lines that are named. Further ones are counted."""
HEAD = 64 * 1024
"""Characters by which a format that is not JSON is recognised."""
OUR_OWN = {"call_id", "conversation_id", "created_at", "kind", "turns"}
"""Members by which an object counts as one of our lines with a fault, not as a line of an unknown format."""


@dataclass
class Checked:
    """What can be loaded, and what cannot: the first complaints, and how many bad lines there are in all."""

    entries: Spool
    complaints: list[str] = field(default_factory=list[str])
    bad: int = 0
    notes: list[str] = field(default_factory=list[str])
    """For a person: how files were read."""

    def complain(self, place: str, words: str) -> None:
        self.bad += 1
        if len(self.complaints) < NAMED:
            self.complaints.append(f"{place}: {words}" if place else words)

    def refuse_bad(self, leave_out: str | None = "--skip-bad") -> None:
        """Raise ImportFileError that names the bad lines, if there are any. `leave_out` is what the caller can pass to have
        the others loaded; None for a caller who cannot."""
        if not self.bad:
            return
        them = "them" if self.bad > 1 else "it"
        advice = f"Nothing was loaded; mend {them}{f', or pass {leave_out}' if leave_out else ''}."
        rest = [f"and {self.bad - NAMED} more like these"] if self.bad > NAMED else []
        if self.bad == 1:
            raise ImportFileError(f"{one_line(self.complaints[0])}. {advice}")
        raise ImportFileError("\n".join(map(one_line, [*self.complaints, *rest, advice])))


@contextmanager
def checked(
    sources: Iterable[Source], *, format_name: str | None = None, zone: tzinfo = UTC, limit: int = MAX_OBJECT
) -> Generator[Checked]:
    """Everything that the sources hold, checked. It is there until the context ends.

    `format_name`: the format that all must have. `zone`: the zone of times without one. `limit`: most bytes of a file.
    """
    with Spool() as spool:
        found = Checked(spool)
        for source in sources:
            _check(source, found, format_name, Reading(zone, source.folder, limit))
        yield found


def _check(source: Source, found: Checked, format_name: str | None, how: Reading) -> None:
    try:
        text, assumptions = Text(source), Assumptions(source)
        if text.encoding != "utf-8":
            found.notes.append(source.at(f"read as {text.encoding.upper()}"))
        in_a_row = 0
        for one in _translated(text, format_name, assumptions):
            place = source.at(one.place) if one.place else source.whole
            in_a_row += 1
            try:
                found.entries.add(_entry(one, place, how, source))
                in_a_row = 0
            except (ValueError, RecursionError) as error:
                found.complain(place, complaint(error))
            if in_a_row >= MOST_BAD:
                found.notes.append(source.at(f"not read beyond {one.place}: {MOST_BAD} in a row could not be loaded"))
                break
        found.notes += assumptions.notes()
    except OSError as error:
        found.complain(source.whole, f"cannot be read: {error.strerror or type(error).__name__}")
    except ValueError as error:  # of the whole file, or of the rest of it
        found.complain(source.whole, str(error))


def _entry(one: Translated, place: str, how: Reading, source: Source) -> Entry:
    if one.fault is not None:
        raise ValueError(one.fault)
    entry = entry_of(one.line, place, how, one.assumed)
    is_named_by_file = "call_id" in one.assumed and source.stem is not None
    return replace(entry, named_by=source.title) if is_named_by_file else entry


@dataclass(frozen=True)
class Translated:
    """A line in our format with its place, or the fault there. `assumed`: fields that the source did not give."""

    place: str
    line: Any = None
    fault: str | None = None
    assumed: frozenset[str] = frozenset()


@dataclass
class Assumptions:
    """Fills in what calls lack: an id from the source's name, a time from its last change."""

    source: Source
    named: int = 0
    dated: int = 0

    def filled(self, place: str, line: Line) -> Translated:
        given: Line = {}
        if "call_id" not in line:
            given["call_id"] = self._id(line)
        if "created_at" not in line and self.source.changed is not None:
            given["created_at"] = written(self.source.changed)
            self.dated += 1
        return Translated(place, {**line, **given}, assumed=frozenset(given))

    def _id(self, line: Line) -> str:
        """An id from the file's name, with a number from the second call on; without a name, from the turns."""
        self.named += 1
        if self.source.stem is None:
            return "import-" + hashlib.sha256(json.dumps(line["turns"]).encode()).hexdigest()[:24]
        return self.source.stem if self.named == 1 else f"{self.source.stem}-{self.named}"

    def notes(self) -> list[str]:
        """For a person: what was filled in, and how often."""
        found = list[str]()
        if self.named:
            by = "by what was said" if self.source.stem is None else "by the file's name"
            found.append(self.source.at(f"calls without an id of their own: {self.named}, named {by}"))
        if self.dated:
            by = "the file's" if self.source.is_file else "when they arrived"
            found.append(self.source.at(f"calls without a time of their own: {self.dated}, dated by {by}"))
        return found


def _translated(text: Text, format_name: str | None, assumptions: Assumptions) -> Iterator[Translated]:
    """The lines of a text, translated into our format. Raises ValueError for a text in no known format."""
    with text.open() as file:
        head = file.read(HEAD).lstrip()
    as_text = _text_format(head, format_name)
    if as_text is not None:
        for one in as_text.lines(text):
            told = one.fault is None
            yield assumptions.filled(one.place, one.value) if told else Translated(one.place, fault=one.fault)
        return
    if head and not _may_be_json(head):
        table = CSV.expected if is_like_table(head) else "CSV with a header that names speaker and text"
        raise ValueError(f"is in no format that is known here: expected JSON, WebVTT, SRT, or {table}")
    for one in json_values(text, is_turn):
        yield _of_value(one, format_name, assumptions)


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


def _of_value(one: Found, format_name: str | None, assumptions: Assumptions) -> Translated:
    if one.fault is not None:
        return Translated(one.place, fault=one.fault)
    try:
        chosen = _format_of(one.value, format_name)
        line = chosen.line(one.value)
        return Translated(one.place, line) if chosen.is_ours else assumptions.filled(one.place, line)
    except ValueError as error:
        return Translated(one.place, fault=str(error))
    except (TypeError, KeyError, AttributeError):  # a member of another type than the format documents
        return Translated(one.place, fault="does not have the form that its format documents")


def _format_of(value: object, format_name: str | None) -> Format:
    for one in FORMATS:
        if one.name == format_name or (format_name is None and one.matches(value)):
            if one.is_ours or one.matches(value):
                return one
            raise ValueError(f"is not in the format {one.name}: expected {one.expected}")
    if not is_object(value) or value.keys() & OUR_OWN:
        return OURS
    raise ValueError(f"is a call in no format that is known here ({', '.join(NAMES)})")
