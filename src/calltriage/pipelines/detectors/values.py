"""Values that can be said in many ways, in one form: times of day, amounts of money, telephone numbers, names."""

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
"""Digits that a telephone number has at least."""
SHOWN_TIME = 12 * 60


def times(line: str) -> set[str]:
    """Times of day of a line in digits, as `9:30`, with `am` or `pm` where that is said. A bare number is none."""
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
    """Amounts of a line in digits."""
    return {_plain(float(found[1]) + int(found[2] or 0) / 100) for found in _MONEY.finditer(line)}


def phones(line: str) -> set[str]:
    """Telephone numbers of a line in digits: runs of seven digits or more."""
    runs = (re.sub(r"\D", "", found[0]) for found in _PHONE.finditer(line))
    return {run for run in runs if len(run) >= LEAST_PHONE}


def plain_numbers(line: str) -> set[str]:
    """Numbers of a line in digits."""
    return {_plain(float(piece)) for piece in line.split() if re.fullmatch(r"\d+(?:\.\d+)?", piece)}


def _plain(number: float) -> str:
    return f"{round(number, 2):.2f}".rstrip("0").rstrip(".")


FOUND: dict[str, Callable[[str], set[str]]] = {
    "time": times, "money": money, "phone": phones, "number": plain_numbers,
}  # fmt: skip
"""How the values of each type are found in a line in digits."""


def stated(kind: str, text: str, language: str) -> set[str]:
    """The values of a type that a text states."""
    return FOUND[kind](in_digits(exact_line(text), language))


def recorded(kind: str, value: object, language: str) -> set[str]:
    """The values of a type that a record holds; an amount may stand there as a bare number."""
    text = str(value)
    found = stated(kind, text, language)
    return found or (plain_numbers(in_digits(exact_line(text), language)) if kind == "money" else set())


def same(kind: str, one: str, other: str) -> bool:
    """Whether two values of a type are the same: a time without its half of the day may be of either, a telephone number
    may have its country's code."""
    if kind == "time":
        return _halves(one) & _halves(other) != set()
    if kind == "phone":
        return one.endswith(other) or other.endswith(one)
    return one == other


def _halves(time: str) -> set[int]:
    """The minutes of the day that a time may name."""
    clock, _, half = time.partition(" ")
    hours, minutes = (int(part) for part in clock.split(":"))
    at = hours % 12 * 60 + minutes
    if not half and hours > 12:
        return {hours % 24 * 60 + minutes}
    return {at} if half == "am" else {at + SHOWN_TIME} if half == "pm" else {at, at + SHOWN_TIME}


def names_after(text: str, phrases: tuple[str, ...], most: int = 3) -> Iterator[list[str]]:
    """The words that follow each of some phrases in a text."""
    line = loose_line(text)
    for phrase in phrases:
        wanted = loose_line(phrase)
        at = line.find(wanted)
        while at >= 0:
            if words := line[at + len(wanted) :].split()[:most]:
                yield words
            at = line.find(wanted, at + 1)
