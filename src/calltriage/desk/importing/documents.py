"""JSON values from a text: one a line, or documents over any number of lines, read piece by piece."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TextIO

from calltriage.desk.importing.sources import LONE, Text
from calltriage.leaves.strict_json import (
    MAX_DEPTH,
    TOO_DEEP,
    JsonObject,
    RefusedJson,
    is_array,
    is_crowded,
    is_object,
    read_json,
)

MAX_LINE = 32 * 2**20
"""Most characters of a line or of one value: enough for the largest answer with every character escaped."""
MAX_PIECE = 2**20
"""Most characters that the document parser reads at once, inside a long text. Other pieces are short, as the parser holds
all that it makes of one."""
MAX_VALUES = 2**21
"""Most values of a line, or of one value of a document. Some formats have one per word; the longest call stays below
this."""
MAX_DOCUMENT = 32 * 2**20
"""Characters of a broken document that are read to find where it breaks."""
HOPELESS = 1000
"""Levels of nesting beyond which a document is not read on. A value that is too deep, but less deep than this, is
skipped."""
LISTS = ("calls",)
"""Members of an object that list calls, if the object is no call itself."""


@dataclass(frozen=True)
class Found:
    """A value and its place; with `fault`, a place without a value, and why."""

    place: str
    value: Any = None
    fault: str | None = None


def bounded_lines(text: TextIO) -> Iterator[str]:
    """The lines of a text. Of a line that is longer than MAX_LINE, the first MAX_LINE + 1 characters."""
    while line := text.readline(MAX_LINE + 1):
        yield line
        while len(line) > MAX_LINE and not line.endswith("\n"):
            line = text.readline(MAX_LINE + 1)


def json_values(text: Text, is_turn: Callable[[Any], bool]) -> Iterator[Found]:
    """The values of a text. A list, and an object with a list of `calls`, give their items; turns that follow one another
    (`is_turn`) are one value, a list."""
    with text.open() as file:
        first, second = _first_lines(file)
    whole_line = first[:1] not in ("{", "[") or _is_json(first)
    by_line = whole_line or (first[:1] == "{" and second[:1] == "{" and _is_json(second))
    return _joined(_of_lines(text, is_turn) if by_line else _of_documents(text), is_turn)


def _first_lines(text: TextIO) -> tuple[str, str]:
    """The first two lines that are not blank. Of a line that is too long, only the first character, so that nobody parses
    it: the values of 32 MiB take a gigabyte of memory."""
    lines = list[str]()
    while len(lines) < 2 and (line := text.readline(MAX_LINE + 1)):
        is_cut = len(line) > MAX_LINE
        if line := line.strip():
            lines.append(line[:1] if is_cut else line)
        if is_cut:
            break
    return (*lines, "", "")[0], (*lines, "", "")[1]


def _is_json(line: str) -> bool:
    if is_crowded(line, MAX_VALUES):
        return False  # a document that is read piece by piece
    try:
        read_json(line, most=MAX_VALUES)
    except RefusedJson:
        return True
    except ValueError:
        return False
    return True


def _of_lines(text: Text, is_turn: Callable[[Any], bool]) -> Iterator[Found]:
    with text.open() as file:
        for number, line in enumerate(bounded_lines(file), 1):
            place = f"line {number}"
            if len(line) > MAX_LINE:
                yield Found(place, fault=f"is longer than {MAX_LINE // 2**20} MiB")
            elif LONE.search(line):
                yield Found(place, fault=f"is not {text.encoding.upper()}; save the file in that encoding")
            elif line.strip():
                yield from _of_line(line, place, is_turn)


def _of_line(line: str, place: str, is_turn: Callable[[Any], bool]) -> Iterator[Found]:
    try:
        value: Any = read_json(line, most=MAX_VALUES)
    except json.JSONDecodeError as error:
        yield Found(place, fault=f"not valid JSON at character {error.colno}: {_expected(error)}")
    except RefusedJson as error:
        yield Found(place, fault=str(error))
    except ValueError:  # a number of thousands of digits
        yield Found(place, fault="not valid JSON")
    else:
        items = listed(value)
        if items is None or (items and all(is_turn(item) for item in items)):
            yield Found(place, value)
        elif value == []:
            yield Found(place, fault="is a list of nothing")
        else:
            yield from (Found(f"{place}, item {n}", item) for n, item in enumerate(items, 1))


def _expected(error: json.JSONDecodeError) -> str:
    """The parser's message. It holds no words of the text."""
    return error.msg[:1].lower() + error.msg[1:].removesuffix(" at")


def listed(value: object) -> list[Any] | None:
    """The items of a list, or of an object that lists calls and is no call itself; None for any other value."""
    if is_array(value):
        return value
    if not is_object(value):
        return None
    held = next((value[name] for name in LISTS if isinstance(value.get(name), list)), None)
    is_call = any(isinstance(one, list) for name, one in value.items() if name not in LISTS) or "call_id" in value
    return None if is_call else held


def _joined(found: Iterator[Found], is_turn: Callable[[Any], bool]) -> Iterator[Found]:
    turns, place, size = list[Any](), "", 0
    for one in found:
        if one.fault is None and is_turn(one.value):
            place = place or one.place
            size += len(str(one.value))
            if size <= MAX_LINE:
                turns.append(one.value)
                continue
            yield Found(place, fault=f"is a call of more than {MAX_LINE // 2**20} MiB")
        elif turns:
            yield Found(place, turns)
            yield one
        else:
            yield one
        turns, place, size = [], "", 0
    if turns:
        yield Found(place, turns)


Events = Iterator[tuple[str, Any]]
SOMETHING = re.compile(r"\S")
STARTS, ENDS = ("start_map", "start_array"), ("end_map", "end_array")


def _of_documents(text: Text) -> Iterator[Found]:
    import ijson  # noqa: PLC0415  only where a document is read

    given = 0
    try:
        with text.open() as file:
            source = _Encoded(file)
            parsed: Events = ijson.basic_parse(source, multiple_values=True, use_float=True)
            events = source.heard(parsed)
            for event, value in events:
                for found in _of_document(event, value, events):
                    given += 1
                    yield Found(f"item {given}", found.value, found.fault)
    except _TooLongError:
        yield Found(f"item {given + 1}", fault=f"holds a text of more than {MAX_LINE // 2**20} MiB")
    except _HopelessError:
        yield Found(f"item {given + 1}", fault=f"{TOO_DEEP}; nothing after it was read")
    except ijson.JSONError:
        yield _fault(text, given + 1)


def _of_document(event: str, value: object, events: Events) -> Iterator[Found]:
    """The value that begins with an event, or what it lists."""
    if event == "start_array":
        yield from _items(events)
    elif event == "start_map":
        yield from _object(events)
    else:
        yield Found("", value)


def _items(events: Events) -> Iterator[Found]:
    for event, value in events:
        if event == "end_array":
            return
        yield _Built(event, value, events).found


def _object(events: Events) -> Iterator[Found]:
    members, fault, lists_calls, size = JsonObject(), None, False, 0
    for event, key in events:
        if event == "end_map":
            break
        event, value = next(events)  # noqa: PLW2901  a member's key is followed by its value
        if event == "start_array" and key in LISTS and _may_list_calls(members):
            lists_calls = True
            yield from _items(events)
        else:
            built = _Built(event, value, events, size)
            fault, size = fault or built.found.fault, built.size
            if fault is None:
                members[key] = built.found.value
    if not lists_calls:
        yield Found("", members, fault)


def _may_list_calls(members: JsonObject) -> bool:
    return "call_id" not in members and not any(isinstance(value, list | dict) for value in members.values())


class _Built:
    """One value, built from parser events. A value that is too large or too deep is read to its end and dropped.

    `size`: its size, and what was given at the start.
    """

    def __init__(self, event: str, value: object, events: Events, size: int = 0) -> None:
        from ijson.common import ObjectBuilder  # noqa: PLC0415

        self.size = size
        self._fault: str | None = None
        builder: Any = ObjectBuilder()
        depth = 0
        while True:
            depth += (event in STARTS) - (event in ENDS)
            self._measure(value, depth)
            if self._fault is None:
                builder.event(event, value)
            if depth == 0:
                break
            event, value = next(events)
        self.found = Found("", None if self._fault else builder.value, self._fault)

    def _measure(self, value: object, depth: int) -> None:
        """Note the fault of the value so far. Raises _HopelessError if it is nested deeper than HOPELESS."""
        self.size += MAX_LINE // MAX_VALUES + (len(value) if isinstance(value, str) else 0)
        if self.size > MAX_LINE:
            self._fault = f"is larger than {MAX_LINE // 2**20} MiB"
        elif depth >= MAX_DEPTH:
            self._fault = self._fault or TOO_DEEP
        if depth > HOPELESS:
            raise _HopelessError


def _fault(text: Text, item: int) -> Found:
    """Where a document stops being JSON. The incremental parser does not say, so the text is parsed again as a whole."""
    with text.open() as file:
        whole = file.read(MAX_DOCUMENT)
    if is_crowded(whole, MAX_VALUES):
        whole = ""
    try:
        place = 0
        while match := SOMETHING.search(whole, place):
            _, place = json.JSONDecoder().raw_decode(whole, match.start())
    except json.JSONDecodeError as error:
        return Found(f"line {error.lineno}", fault=f"not valid JSON at character {error.colno}: {_expected(error)}")
    except (ValueError, RecursionError):
        pass
    return Found(f"item {item}", fault="not valid JSON, or holds a number that is not finite or too large")


class _TooLongError(Exception):
    """A text value is longer than anything that can be loaded."""


class _HopelessError(Exception):
    """A document is nested deeper than HOPELESS."""


class _Encoded:
    """A text as the UTF-8 that a parser reads. Raises _TooLongError if the parser makes no event within MAX_LINE bytes.

    The parser reads an unfinished text value again with each piece, so pieces grow while the value goes on.
    """

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self._unheard = 0

    def read(self, size: int) -> bytes:
        if self._unheard > MAX_LINE:
            raise _TooLongError
        piece = self._text.read(max(size, min(self._unheard, MAX_PIECE))).encode("utf-8", "surrogateescape")
        self._unheard += len(piece)
        return piece

    def heard(self, events: Events) -> Events:
        """The parser's events. Each one resets the count of bytes without an event."""
        for event in events:
            self._unheard = 0
            yield event
