"""Finds where in a call the words of a quote were said, exactly or nearly."""

from __future__ import annotations

import bisect
import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Protocol

from calltriage.matching.folding import UNSPACED, exact_line, folded, joined_line, loose_line, unaccented
from calltriage.matching.numbers import ends_in_numbers, in_digits, in_prices, is_cut, language_of, wanted_price
from calltriage.matching.opposites import contrary

CHUNK = re.compile(rf"[{UNSPACED}]|[^\s{UNSPACED}]+")
"""What stands between blanks, or a character of a script without them: the parts of a text that words are found in."""
FORMS: tuple[Callable[[str], str], ...] = (exact_line, loose_line, joined_line)
"""The forms in which words are looked for, the strictest first."""
COMPARED = 200
"""Characters of a quote and of a part of a turn that are compared."""
LIKELY = 20
"""Turns that are compared: those that share most words."""
SHOWN, BEFORE = 300, 100
"""Characters that are shown of a turn, and how many of them stand before the words found."""
LEFT, RIGHT = 2, 1
"""Pieces before and after words in which a negation still belongs to them."""
TOGETHER = 4
"""Turns over which a quote may run at most."""
SENTENCE_END = re.compile(
    r"(?<!\bmr)(?<!\bms)(?<!\bmrs)(?<!\bdr)(?<!\bst)[.!?…؟।]+[\"'”’»)]*(?=\s)|[。！？]+[」』”]*|\n",
    re.IGNORECASE,
)


class Spoken(Protocol):
    """Something that was said: a turn of a transcript."""

    @property
    def text(self) -> str: ...
    @property
    def user(self) -> str | None: ...


def quoted(turns: Sequence[Spoken], quote: str) -> list[int]:
    """Indices of the turns that hold a quote: those that hold it word for word if there are any, else those that hold it
    without signs and accents, else those that hold its numbers in another form."""
    return _found(turns, quote, FORMS)


def mentions(turns: Sequence[Spoken], query: str) -> list[int]:
    """Indices of the turns that hold a query. Its signs and accents count if it has any and they are found somewhere."""
    return _found(turns, query, FORMS[exact_line(query) == loose_line(query) :])


def _found(turns: Sequence[Spoken], words: str, forms: Iterable[Callable[[str], str]]) -> list[int]:
    texts = [folded(turn.text) for turn in turns]
    plain = [unaccented(text).replace("'", "") for text in texts]
    for form in forms:
        wanted = form(words)
        if wanted == " ":
            continue
        pieces = sorted({unaccented(piece).replace("'", "") for piece in wanted.split()} - {'"'}, key=len, reverse=True)
        maybe = (n for n, text in enumerate(plain) if all(piece in text for piece in pieces))
        if hits := [n for n in maybe if wanted in form(texts[n])]:
            return _at_number_edges(hits, texts, words)
    return _with_numbers(texts, plain, words)


def _at_number_edges(hits: list[int], texts: list[str], words: str) -> list[int]:
    """Those of the hits in which the words do not begin or end inside a spoken number."""
    wanted, language = exact_line(words), language_of(texts)
    if not ends_in_numbers(wanted, language):
        return hits
    return [n for n in hits if not is_cut(exact_line(texts[n]), wanted, language)]


def _with_numbers(texts: list[str], plain: list[str], words: str) -> list[int]:
    language = language_of(texts)
    wanted = in_digits(exact_line(words), language)
    if not any(piece[:1].isdigit() for piece in wanted.split()):
        return []
    rest = {piece for piece in wanted.split() if not piece[:1].isdigit()} - {"dollars", "euros", "pounds", "percent"}
    maybe = [n for n, text in enumerate(plain) if all(piece in text for piece in rest)]
    if hits := [n for n in maybe if wanted in in_digits(exact_line(texts[n]), language)]:
        return hits
    price = wanted_price(exact_line(words), language)
    return [n for n in maybe if price != wanted and price in in_prices(exact_line(texts[n]), language)]


def place(turns: Sequence[Spoken], index: int, words: str) -> tuple[int, int] | None:
    """Start and end of the characters of a turn's text in which the words stand, rounded to chunks; None if it does not
    hold them."""
    text = turns[index].text
    ends = [chunk.end() for chunk in CHUNK.finditer(text)]
    language = language_of(folded(turn.text) for turn in turns)
    spoken: Callable[[str], str] = lambda part: in_digits(exact_line(part), language)  # noqa: E731
    priced: Callable[[str], str] = lambda part: in_prices(exact_line(part), language)  # noqa: E731
    sought = [(form, form(words)) for form in (*FORMS, spoken)]
    for form, wanted in [*sought, (priced, wanted_price(exact_line(words), language))]:
        if wanted == " " or wanted not in form(text):
            continue
        last = min(bisect.bisect_left(ends, x=True, key=partial(_holds_to, form, wanted, text)), len(ends) - 1)
        starts = [chunk.start() for chunk in CHUNK.finditer(text, 0, ends[last])]
        first = bisect.bisect_left(starts, x=True, key=lambda start: wanted not in form(text[start : ends[last]]))
        return starts[max(0, first - 1)], ends[last]
    return None


def _holds_to(form: Callable[[str], str], wanted: str, text: str, end: int) -> bool:
    return wanted in form(text[:end])


def across(turns: Sequence[Spoken], quote: str) -> list[int]:
    """Indices of the 2 to TOGETHER turns over which a quote runs: consecutive ones, or consecutive ones of one speaker.
    Empty if there are none."""
    everyone = list(range(len(turns)))
    speakers = dict.fromkeys(turn.user for turn in turns)
    whole = unaccented(folded("\n".join(turn.text for turn in turns))).replace("'", "")
    for form in (loose_line, joined_line):
        wanted = form(quote)
        if not all(piece in whole for piece in wanted.split()):
            continue
        lines = [form(turn.text) for turn in turns]
        for group in (everyone, *([n for n in everyone if turns[n].user == speaker] for speaker in speakers)):
            if wanted != " " and (run := _running(wanted, [lines[n] for n in group])):
                return group[run[0] : run[1] + 1]
    return []


def _running(wanted: str, lines: list[str]) -> tuple[int, int] | None:
    """First and last of the 2 to TOGETHER lines over which `wanted` runs; None if it does not."""
    begins, length = list[int](), 0
    for line in lines:
        begins.append(length)
        length += len(line) - 1
    whole = "".join(line[:-1] for line in lines) + " "
    at = whole.find(wanted)
    if at < 0:
        return None
    first, last = (bisect.bisect_right(begins, point) - 1 for point in (at, at + len(wanted) - 2))
    return (first, last) if 0 < last - first < TOGETHER else None


@dataclass(frozen=True)
class Near:
    """A turn in which nearly these words were said.

    Attributes:
        index: of the turn.
        likeness: how like the words are, from 0 to 1.
        start, end: where they stand in the turn's text, in characters.
        contrary: whether they say the opposite or other numbers.
    """

    index: int
    likeness: float
    start: int
    end: int
    contrary: bool


def nearest(turns: Sequence[Spoken], quote: str) -> list[Near]:
    """The nearest part of each of the LIKELY turns that share most words with a quote, the nearest first. Empty if the
    quote has no word."""
    if not (words := set(loose_line(quote).split())):
        return []
    texts = [unaccented(folded(turn.text)).replace("'", "") for turn in turns]
    shares = [sum(word in text for word in words) for text in texts]
    sharing = sorted(range(len(turns)), key=lambda n: shares[n], reverse=True)[:LIKELY]
    language = language_of(texts)
    near = [_nearest_part(n, turns[n].text, quote, language) for n in sharing]
    return sorted(near, key=lambda one: (-one.likeness, one.index))


def _nearest_part(index: int, text: str, quote: str, language: str) -> Near:
    """Of the parts of a text that have as many words as a quote, the one that shares most."""
    wanted = loose_line(quote).split()
    units = list(_units(text))
    said = [piece for piece, _, _ in units]
    words, size = set(wanted), len(wanted)
    shared = [word in words for word in said]
    count = most = sum(shared[:size])
    best = 0
    for start in range(1, len(said) - size + 1):
        count += shared[start + size - 1] - shared[start - 1]
        if count > most:
            best, most = start, count
    last = min(best + size, len(said))
    part = " ".join(said[best:last])
    likeness = difflib.SequenceMatcher(None, " ".join(wanted)[:COMPARED], part[:COMPARED], autojunk=False).ratio()
    if not units:
        return Near(index, 0.0, 0, 0, contrary=True)
    start, end = units[best][1], units[last - 1][2]
    near_by = text[units[max(0, best - LEFT)][1] : units[min(last + RIGHT, len(units)) - 1][2]]
    return Near(index, likeness, start, end, contrary(quote, text[start:end], near_by, language))


def _units(text: str) -> Iterator[tuple[str, int, int]]:
    """The pieces of a text, each with the characters between which it stands."""
    for chunk in CHUNK.finditer(text):
        for piece in _pieces(chunk[0]):
            yield piece, chunk.start(), chunk.end()


@lru_cache(maxsize=20_000)
def _pieces(chunk: str) -> tuple[str, ...]:
    return tuple(loose_line(chunk).split())


def around(text: str, start: int, most: int = SHOWN) -> dict[str, object]:
    """Up to `most` characters of a text around one of them: `offset` unless 0, `text`, and `characters_left_out` if any."""
    first = max(0, min(start - BEFORE, len(text) - most))
    shown = text[first : first + most]
    offset = {"offset": first} if first else {}
    cut = {"characters_left_out": {"text": len(text) - len(shown)}} if len(shown) < len(text) else {}
    return {**offset, "text": shown, **cut}


def part(text: str, start: int, end: int) -> str:
    """The sentences in which the characters from start to end stand; of long ones about BEFORE characters before these and
    SHOWN after them."""
    ends = [found.end() for found in SENTENCE_END.finditer(text)]
    first = max((edge for edge in ends if edge <= start), default=0)
    last = min((edge for edge in ends if edge >= end), default=len(text))
    if start - first > BEFORE:
        first = _blank(text, start - BEFORE, start)
    if last - max(end, first) > SHOWN:
        last = _blank(text, end + SHOWN, end)
    return text[first:last].strip()


def _blank(text: str, edge: int, inner: int) -> int:
    """The blank nearest to an edge, between it and the words; the edge where there is none."""
    step = 1 if inner > edge else -1
    return next((at for at in range(edge, inner, step) if text[at].isspace()), edge)
