"""Finds values that can be said in many ways, and gives each one form: times of day, amounts, telephone numbers, names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from calltriage.matching.folding import exact_line, loose_line
from calltriage.matching.numbers import in_digits

_TIME = re.compile(r"(?<= )(\d{1,4})(?: (\d{2}))?(?: (?:(a|p)\.? ?m|(o'?clock|uhr|h)))?(?= )")
_MONEY = re.compile(
    r"(?<= )(\d+(?:\.\d+)?) (?:dollars?|euros?|pounds?|bucks)(?: (?:and )?(\d{1,2}) (?:cents?|pence))?(?= )"
)
_PHONE = re.compile(r"(?:(?<= )\+?\d+ ?){1,12}")
LEAST_PHONE = 7
"""Least digits of a telephone number."""
NAME_WORDS = 3
"""Most words of a name."""
SHOWN_TIME = 12 * 60
"""Minutes of half a day."""


def times(line: str) -> set[str]:
    """Times of day in a line with digits, as `9:30`, or `9:30 am` if that is said. A number alone is no time."""
    return {time for found in _TIME.finditer(line) if (time := _time(*found.groups())) is not None}


def _time(digits: str, minutes: str | None, half: str | None, clock: str | None) -> str | None:
    if minutes is None and len(digits) > 2:
        digits, minutes = digits[:-2], digits[-2:]
    if len(digits) > 2 or not 0 <= int(digits) <= 24 or int(minutes or 0) > 59:
        return None
    if minutes is None and half is None and clock is None:
        return None
    return f"{int(digits)}:{minutes or '00'}{f' {half}m' if half else ''}"


def money(line: str) -> set[str]:
    """Amounts of money in a line with digits, as `12.5`, without currency."""
    return {_plain(float(found[1]) + int(found[2] or 0) / 100) for found in _MONEY.finditer(line)}


def phones(line: str) -> set[str]:
    """Telephone numbers in a line with digits: LEAST_PHONE digits or more in a row, blanks left out."""
    runs = (re.sub(r"\D", "", found[0]) for found in _PHONE.finditer(line))
    return {run for run in runs if len(run) >= LEAST_PHONE}


def plain_numbers(line: str) -> set[str]:
    """Numbers in a line with digits, as `12.5`."""
    return {_plain(float(piece)) for piece in line.split() if re.fullmatch(r"\d+(?:\.\d+)?", piece)}


def _plain(number: float) -> str:
    return f"{round(number, 2):.2f}".rstrip("0").rstrip(".")


FOUND: dict[str, Callable[[str], set[str]]] = {
    "time": times, "money": money, "phone": phones, "number": plain_numbers,
}  # fmt: skip
"""For each type, what finds its values in a line whose numbers are digits."""


def stated(kind: str, text: str, language: str) -> set[str]:
    """The values of a type in a spoken text."""
    return FOUND[kind](in_digits(exact_line(text), language))


def recorded(kind: str, value: object, language: str) -> set[str]:
    """The values of a type in a record's value. A number alone may be an amount of money there."""
    text = str(value)
    found = stated(kind, text, language)
    return found or (plain_numbers(in_digits(exact_line(text), language)) if kind == "money" else set())


def same(kind: str, one: str, other: str) -> bool:
    """Whether two values of a type may be the same. A time without am or pm equals both. A telephone number equals one with
    further digits before it, such as a country code."""
    if kind == "time":
        return _halves(one) & _halves(other) != set()
    if kind == "phone":
        return one.endswith(other) or other.endswith(one)
    return one == other


def _halves(time: str) -> set[int]:
    """The minutes since midnight that a time may mean."""
    clock, _, half = time.partition(" ")
    hours, minutes = (int(part) for part in clock.split(":"))
    at = hours % 12 * 60 + minutes
    if not half and hours > 12:
        return {hours % 24 * 60 + minutes}
    return {at} if half == "am" else {at + SHOWN_TIME} if half == "pm" else {at, at + SHOWN_TIME}


def names_after(text: str, phrases: tuple[str, ...]) -> Iterator[list[str]]:
    """The words after each occurrence of some phrases in a text, at most NAME_WORDS of them."""
    line = loose_line(text)
    for phrase in phrases:
        wanted = loose_line(phrase)
        at = line.find(wanted)
        while at >= 0:
            if words := line[at + len(wanted) :].split()[:NAME_WORDS]:
                yield words
            at = line.find(wanted, at + 1)
