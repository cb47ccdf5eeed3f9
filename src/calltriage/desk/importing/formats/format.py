"""What a reader of one format is, and what readers share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from calltriage.desk.importing.documents import Found
from calltriage.desk.importing.our_lines import instant_of_number
from calltriage.desk.importing.sources import Text
from calltriage.leaves.instants import written
from calltriage.leaves.strict_json import JsonObject, is_array, is_object

Line: TypeAlias = JsonObject
"""A line in our own format (see `our_lines.py`). A call may lack `call_id` and `created_at`: they are then taken from its
file."""


@dataclass(frozen=True)
class Format:
    """A format whose files hold JSON values.

    Attributes:
        name: what `--format` calls it.
        expected: what a value of it looks like, for the person whose file has none.
        matches: whether a value is of this format and of no other.
        line: our line of a value that matches. Raises ValueError for one that holds no call.
    """

    name: str
    expected: str
    matches: Callable[[Any], bool]
    line: Callable[[Any], Line]
    is_ours: bool = False
    """Our own format. Nothing is filled in for its lines."""


@dataclass(frozen=True)
class TextFormat:
    """A format that is not JSON. `matches` gets the first part of a text. `lines` yields our lines, and raises ValueError
    for a text that cannot be read."""

    name: str
    expected: str
    matches: Callable[[str], bool]
    lines: Callable[[Text], Iterator[Found]]


def objects(value: object) -> list[JsonObject]:
    """The objects in a list; an empty list for any other value."""
    return [item for item in value if is_object(item)] if is_array(value) else []


def part(value: object, *names: str) -> Any:
    """A member of a member; None where there is none."""
    for name in names:
        value = value.get(name) if is_object(value) else None
    return value


def number(value: object) -> float | None:
    """A number, or the number in a text; None for other values, for NaN and from 10^15 on."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except ValueError:
        return None
    return found if abs(found) < 10**15 else None  # NaN is not


def turn(speaker: object, text: object, start: object = None, end: object = None, **more: object) -> JsonObject:
    """A turn of our line. `start` and `end`: seconds from the call's start, if known."""
    began, ended = number(start), number(end)
    times: dict[str, int] = {}
    if began is not None and began >= 0:
        times["start_ms"] = round(began * 1000)
        if ended is not None and ended >= began:
            times["duration_ms"] = round((ended - began) * 1000)
    return {**more, "speaker": speaker, "text": text, **times}


def instant(value: object) -> Any:
    """An instant for our line: a number since 1970 becomes text, text stays as it is."""
    found = number(value) if not isinstance(value, str) else None
    return value if found is None else written(instant_of_number(found))


def minutes(seconds: object) -> float | None:
    found = number(seconds)
    return None if found is None or found < 0 else round(found / 60, 4)


def without_nothing(line: Line) -> Line:
    """A line without the fields that are None."""
    return {name: value for name, value in line.items() if value is not None}
