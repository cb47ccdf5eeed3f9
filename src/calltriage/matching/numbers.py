"""Numbers that are spoken, as digits: "five five five zero one" and "555 01" are one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from typing import Any, cast

from calltriage.matching.folding import unaccented, without_punctuation

COMMON = {
    "en": "the and you is to it that of my what have for",
    "de": "und ich nicht das ist die der sie mir ein es wir",
    "fr": "je est pas vous le la les et que un une il",
    "es": "que no el la de es por los una en mi si",
    "pt": "que nao o a de eu uma um para com voce esta",
    "it": "che non il la di e un per sono mi una ho",
    "nl": "ik het de een niet dat van en is je wat op",
    "da": "jeg er det ikke du og en til har pa min",
}
"""Words that tell which language is spoken, of those whose numbers can be read."""
HEARD = 200
"""Lines that are listened to for the language."""
_TIMES = {"double": 2, "triple": 3}
_DIGITS = re.compile(r"[0-9]+")
UNITS = {"$": "dollars", "€": "euros", "£": "pounds"}
GLUED = "am|pm|mg|ml|kg|km|cm|mm|gb|mb|lbs?|oz|min|hrs?"
"""Units that are written at their number."""
SCALES = "hundred|thousand|million|billion|1000?|1000000|1000000000|k|mil|mille|tausend|millionen|duizend|tusind"
"""Words that make another number of the one before them."""
LONG = 6
"""Digits from which numbers that follow each other are one: a phone or an account number, not "3 20 dollar bills"."""


def language_of(lines: Iterable[str]) -> str:
    """The language of COMMON whose common words stand most often in some lines; English where none does."""
    words = Counter(word for line in islice(lines, HEARD) for word in line.split())
    return max(COMMON, key=lambda language: sum(words[word] for word in COMMON[language].split()))


def in_digits(line: str, language: str) -> str:
    """An exact line without signs, its numbers in digits, amounts and units as words: "$5" as "5 dollars"."""
    pieces = _grouped(_each(line, language))
    return f" {' '.join(pieces)} " if pieces else " "


def ends_in_numbers(line: str, language: str) -> bool:
    """Whether a line begins or ends with a number."""
    pieces = _each(line, language)
    return any(piece[:1].isdigit() for piece in (*pieces[:1], *pieces[-1:]))


def is_cut(said: str, wanted: str, language: str) -> bool:
    """Whether a line that stands in another one begins or ends there inside a number: "five" in "five hundred"."""
    pieces = " ".join(_each(wanted, language))
    return re.search(f" {re.escape(pieces)} (?!(?:{SCALES})s? )", f" {' '.join(_each(said, language))} ") is None


def _each(line: str, language: str) -> list[str]:
    """The pieces of a line, its numbers in digits as they are read out."""
    import text_to_num  # noqa: PLC0415  native code, needed for few comparisons

    for sign, word in UNITS.items():
        line = re.sub(rf"{re.escape(sign)} ([0-9]\S*)", rf"\1 {word}", line)
    words = without_punctuation(line.replace(" % ", " percent "))
    read: str = cast("Any", text_to_num).alpha2digit(words.strip(), language, 0.0)
    return _in_full(re.sub(rf"(?<=[0-9])(?=(?:{GLUED})\b)", " ", unaccented(read)).split())


def numbers(line: str) -> list[str]:
    """The numbers of a line in digits, in order of size."""
    return sorted(piece for piece in line.split() if piece[:1].isdigit())


def _in_full(pieces: list[str]) -> list[str]:
    """Numbers without marks of thousands and of minutes, leading zeros apart; "double five" and "oh" as digits."""
    full = list[str]()
    for place, piece in enumerate(pieces):
        after = pieces[place + 1] if place + 1 < len(pieces) else ""
        if piece in _TIMES and re.fullmatch("[0-9]", after):
            full += [after] * (_TIMES[piece] - 1)
        elif piece in {"oh", "o"} and full and _DIGITS.fullmatch(full[-1]) and after[:1].isdigit():
            full.append("0")
        elif piece[:1].isdigit():
            plain = re.sub("(?<=[0-9]),(?=[0-9]{3}(?![0-9]))|:", "", piece).replace(",", ".")
            zeros = len(plain) - len(plain.lstrip("0")) if plain.isdigit() and len(plain) > 1 else 0
            full += ["0"] * zeros + [plain[zeros:]] * (zeros < len(plain))
        else:
            full.append(piece)
    return full


def _grouped(pieces: list[str]) -> list[str]:
    """Numbers that follow each other as one, where they are read digit by digit, are long, or are the halves of a year or a
    time of day."""
    found, run = list[str](), list[str]()
    for piece in [*pieces, ""]:
        if _DIGITS.fullmatch(piece):
            run.append(piece)
            continue
        whole = "".join(run)
        are_halves = [len(one) for one in run] == [2, 2] and "0" not in {run[0][0], run[1][0]}
        is_one = len(whole) == len(run) or are_halves or len(whole) >= LONG
        found += [whole] if run and is_one else run
        found, run = found + [piece] * bool(piece), []
    return found
