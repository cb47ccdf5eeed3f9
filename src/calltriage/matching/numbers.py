"""Writes spoken numbers as digits, so that "five five five zero one" equals "555 01"."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, cast

from calltriage.matching.clock import as_written
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
"""Common words of each language whose numbers can be read; language_of counts them. Words that are frequent in another
language, as "a" and "no" are, do not tell English: a Spanish number in a short turn would not be read, nor masked."""
_COMMON = {language: frozenset(words.split()) for language, words in COMMON.items()}
_COMMON_ANYWHERE = frozenset[str]().union(*_COMMON.values())
HEARD = 200
"""Lines that language_of looks at."""
_TIMES = {"double": 2, "triple": 3}
_WITH_NUMBERS = frozenset({*_TIMES, "oclock"})
"""Words that belong to a number if they stand beside one."""
_DIGITS = re.compile(r"[0-9]+")
UNITS = {"$": "dollars", "€": "euros", "£": "pounds"}
GLUED = "am|pm|mg|ml|kg|km|cm|mm|gb|mb|lbs?|oz|min|hrs?"
"""Units that are written without a blank behind their number."""
COUNTED = re.compile(
    "dollar|euro|pound|percent|cent|bill|note|second|minut|hour|day|week|month|year|stunde|tag|jahr|heure|jour|hora|dia"
)
"""Beginnings of words for counted things. Before one, two numbers are no time of day: "3 20 dollar bills"."""
SCALES = "hundred|thousand|million|billion|1000?|1000000|1000000000|k|mil|mille|tausend|millionen|duizend|tusind"
"""Words that belong to the number before them and change it."""
LONG = 6
"""Numbers in a row with at least so many digits together are one number: a phone or account number."""
MOST_ASKED = 50_000
"""Words of a language that are remembered as no numbers."""
LONGEST_WORD = 100
"""Characters of a word that are read to see whether it is a number."""
_AMOUNT = re.compile(
    rf"(?P<before>[{''.join(UNITS)}]) (?P<number>[0-9]\S*)|(?P<first>[0-9]\S*) (?P<behind>[{''.join(UNITS)}])(?! [0-9])"
)
SAID = "\xa4"
"""Mark behind a price that was said without its currency."""
_PRICE = re.compile(rf"(?<= )([0-9]{{1,2}}\.[0-9]{{2}}) (?:{'|'.join(UNITS.values())})(?= )")
_UNIT = re.compile(rf"[0-9](?=(?:{GLUED})\b)")
_HALF = re.compile(r"(?<=[0-9] )([ap]) m\b")
_HOUR = re.compile("0?[1-9]|1[0-9]|2[0-4]")
_MARKS = re.compile("(?<=[0-9]),(?=[0-9]{3}(?![0-9]))|:")
_POINTS = re.compile(r"[1-9][0-9]{0,2}(?:(?:\.[0-9]{3}){2,}(?:,[0-9]{1,2})?|\.[0-9]{3},[0-9]{1,2})")
"""A number whose points are marks of thousands in every language: "1.234.567", "1.234,50"."""
_POINT = re.compile(r"[1-9][0-9]{0,2}\.[0-9]{3}")
"""A number whose point is one in the languages of POINTED, and a decimal point in English."""
POINTED = frozenset({"de", "es", "pt", "it", "nl", "da"})
_SWISS = re.compile('(?<= )[1-9][0-9]{0,2}(?: " [0-9]{3})+(?= )')
_FRENCH = re.compile('(?<= )(?<![0-9] )[1-9][0-9]{0,2}(?: (?:" )?[0-9]{3})+(?= )(?! [0-9])')
_GAPS = {"de": _SWISS, "it": _SWISS, "fr": _FRENCH}
"""By language, numbers in an exact line whose thousands have apostrophes (Swiss) or blanks (French) between them."""
_LEADING = re.compile("^0(?=[0-9]:)")
"""The zero that clocks may show before an hour: "09:30"."""
_ZEROS = re.compile(" 0+(?=[0-9])")
_OH = re.compile(r"(?:(?<=[0-9] )|(?<=\bdouble )|(?<=\btriple ))(?:oh? )+(?=[0-9])")
"""English zeros within a number. Between numbers of other languages, "o" is the word for "or"."""
_BEGUN = re.compile("[0-9](?<![a-z0-9][0-9])")
"""A digit with no digit and no letter before it. It begins with the digit because `re` finds that faster."""
_SIGNS = re.compile(r"[^\w ]+")


def language_of(lines: Iterable[str]) -> str:
    """The language of COMMON whose common words stand most often in some lines; English where none does."""
    words = Counter(filter(_COMMON_ANYWHERE.__contains__, " ".join(islice(lines, HEARD)).split()))
    return max(COMMON, key=lambda language: sum(words[word] for word in words.keys() & _COMMON[language]))


def in_digits(line: str, language: str) -> str:
    """The line without signs and accents, with numbers in digits and units as words: "$5" as "5 dollars". `line` is an
    exact_line."""
    return _line(_grouped(_written(line, language)))


def in_prices(line: str, language: str) -> str:
    """As in_digits, but two numbers that may be a price become one with SAID behind it: "five fifty" as "5.50 \xa4"."""
    return _line(_grouped(_written(line, language), price=f"{{}}.{{}} {SAID}"))


def wanted_price(line: str, language: str) -> str:
    """What to look for in a line of in_prices: "5.50 \xa4" for "$5.50", which in_digits finds where the currency was said;
    "5.50" for "five fifty"."""
    return _PRICE.sub(rf"\1 {SAID}", _line(_grouped(_written(line, language), price="{}.{}")))


def _line(pieces: list[str]) -> str:
    return f" {' '.join(pieces)} " if pieces else " "


def _written(line: str, language: str) -> list[str]:
    return as_written(" ".join(_each(line, language)), language).split()


def ends_in_numbers(line: str, language: str) -> bool:
    """Whether a line begins or ends with a number."""
    pieces = _each(line, language)
    return any(piece[:1].isdigit() for piece in (*pieces[:1], *pieces[-1:]))


def is_cut(said: str, wanted: str, language: str) -> bool:
    """Whether `wanted` stands in `said` only as a part of a number: "five" in "five hundred". Both are exact lines."""
    wanted, said = (_ZEROS.sub(_apart, f" {' '.join(_each(line, language))} ") for line in (wanted, said))
    return re.search(f"{re.escape(wanted)}(?!(?:{SCALES})s? )", said) is None


def _apart(zeros: re.Match[str]) -> str:
    return f" {' '.join(zeros[0][1:])} "


def _each(line: str, language: str) -> list[str]:
    """The pieces of a line with each spoken number in digits."""
    if language in _GAPS:
        line = _GAPS[language].sub(_without_gaps, line)
    line = _AMOUNT.sub(_with_unit, line)
    read = _read(
        without_punctuation(line.replace(" % ", " percent ").replace(' o " clock ', " oclock ")).strip(), language
    )
    read = _HALF.sub(r"\1m", _UNIT.sub(r"\g<0> ", unaccented(read)))
    if language == "en" and (" oh " in read or " o " in read):
        read = _OH.sub(lambda zeros: "0" * len(zeros[0].split()), read)
    return _in_full(read.split(), language)


def _without_gaps(found: re.Match[str]) -> str:
    return found[0].replace(" ", "").replace('"', "")


def _with_unit(found: re.Match[str]) -> str:
    return f"{found['number'] or found['first']} {UNITS[found['before'] or found['behind']]}"


def _read(words: str, language: str) -> str:
    import text_to_num  # noqa: PLC0415  native code, needed for few comparisons

    return cast("Any", text_to_num).alpha2digit(words, language, 0.0)


def with_numbers(texts: Sequence[str], language: str) -> list[int]:
    """Indices of the folded texts that may hold a number, in digits or spoken. Much cheaper than in_digits."""
    words = set(" ".join(texts).split())
    signed = [word for word in words if not word.isalnum()]
    spoken = _spoken(words.difference(signed).union(_SIGNS.sub(" ", " ".join(signed)).split()), language)
    return [n for n, text in enumerate(texts) if _BEGUN.search(text) or any(word in text for word in spoken)]


_asked: dict[str, tuple[set[str], set[str]]] = {}
"""Words read before, by language: those that are no numbers, and those that are."""


def _spoken(words: set[str], language: str) -> list[str]:
    """The words that are a number by themselves. Each spoken number of several words has at least one of these."""
    others, spoken = _asked.setdefault(language, (set(), set()))
    for word in words - others - spoken:
        if word.isalpha() and _BEGUN.search(_read(word[:LONGEST_WORD], language)):
            spoken.add(word)
        elif len(others) < MOST_ASKED:
            others.add(word)
    return list(words & spoken)


def numbers(line: str) -> list[str]:
    """The numbers of a line of in_digits, sorted as texts."""
    return sorted(piece for piece in line.split() if piece[:1].isdigit())


def _in_full(pieces: list[str], language: str) -> list[str]:
    """The pieces with numbers written out: no marks of thousands or minutes, "double five" as digits, hours without a
    leading zero, whole ones with 00."""
    full = list[str]()
    for place, piece in enumerate(pieces):
        if piece.isalpha() and piece not in _WITH_NUMBERS:
            full.append(piece)
            continue
        after = pieces[place + 1] if place + 1 < len(pieces) else ""
        if piece in _TIMES and re.fullmatch("[0-9]|0[0-9]+", after):
            full += [after[0]] * (_TIMES[piece] - 1)
        elif _HOUR.fullmatch(piece) and after in {"am", "pm", "oclock"}:
            full.append(f"{piece.removeprefix('0')}00")
        elif piece == "oclock" and full and full[-1].endswith("00"):
            continue
        elif piece[:1].isdigit():
            full.append(piece if piece.isdigit() else _unmarked(piece, language))
        else:
            full.append(piece)
    return full


def _unmarked(number: str, language: str) -> str:
    """A number without marks of thousands and minutes, with a decimal point, and an hour without a leading zero."""
    if "." in number and (_POINTS.fullmatch(number) or (language in POINTED and _POINT.fullmatch(number))):
        number = number.replace(".", "")
    return _MARKS.sub("", _LEADING.sub("", number, count=1)).replace(",", ".")


def _grouped(pieces: list[str], price: str = "{}{}") -> list[str]:
    """Joins numbers in a row to one if they are single digits, have LONG digits together, or are the two parts of a year, a
    time of day or a price. `price` is the format that joins two parts."""
    found, run = list[str](), list[str]()
    for piece in [*pieces, ""]:
        if piece[:1].isdigit() and _DIGITS.fullmatch(piece):
            run.append(piece)
            continue
        if run:
            found += _joined(run, piece, price)
            run = list[str]()
        if piece:
            found.append(piece)
    return found


def _joined(run: list[str], after: str, price: str) -> list[str]:
    if len(run) == 1:
        return run
    whole = "".join(run)
    digits = [one for one in run if _is_digit(one)]
    if len(digits) == len(run) or len(whole) >= LONG:
        return [whole]
    run = [part for one in run for part in (one if one in digits else [one])]
    return price.format(*run).split() if _are_parts(run, after) else run


def _is_digit(number: str) -> bool:
    """Whether a number is one digit, or zeros and one digit, as "zero two" is read."""
    return len(number.lstrip("0")) <= 1


def _are_parts(run: list[str], after: str) -> bool:
    """Whether two numbers are the halves of a year, or hour and minutes: "nineteen eighty four", "three thirty"."""
    lengths = [len(one) for one in run]
    if lengths not in ([2, 2], [1, 2]) or "0" in {one[0] for one in run}:
        return False
    return lengths == [2, 2] or COUNTED.match(after) is None
