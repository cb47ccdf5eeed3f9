"""Searches what was said in calls for words, and for numbers in whatever form they were spoken or written.

A call holds a search if it has it word for word, or with the numbers of both in digits, as the call's language reads them:
"three thirty" and "3:30" are one, and "five" is not in "five hundred". An index knows a call by `call_terms` and is asked
for `Words.alternatives`; `said` then decides from the turns whether a call holds the search.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

from calltriage.matching.folding import exact_line, folded
from calltriage.matching.numbers import (
    COMMON,
    SAID,
    UNITS,
    ends_in_numbers,
    in_digits,
    in_prices,
    is_cut,
    language_of,
    wanted_price,
    with_numbers,
)
from calltriage.matching.quotes import SHOWN, Spoken, around
from calltriage.matching.search_terms import open_line, pieces, search_line, terms
from calltriage.matching.speakers import is_of

TURNS = 3
"""Turns that are shown of a call."""
USUAL = "en"
"""The language of calls that have no mark of a language in the index."""
_PUT = frozenset({*UNITS.values(), "percent", "am", "pm", "heures"})
"""Words that in_digits writes for signs."""
_NUMBERS_OR_WORD = re.compile(r"[0-9]\S*(?: [0-9]\S*)*(?: (?:dollars|euros|pounds|percent|\xa4)(?!\S))?|\S+")


@dataclass(frozen=True)
class Words:
    """What a search looks for.

    Attributes:
        texts: search lines, all of which a call has to hold; each with its exact line, in which numbers are read.
        readings: the texts with numbers in digits, by language; only languages that read a number in them.
        prices: the texts with prices as in_prices writes them, by language; only where they differ from `readings`.
    """

    texts: dict[str, str]
    readings: dict[str, tuple[str, ...]]
    prices: dict[str, tuple[str, ...]]

    def alternatives(self) -> list[list[str]]:
        """Lists of index terms. A call that holds the search has all terms of at least one list."""
        found = [_all_terms(self.texts)]
        for readings in (self.readings, self.prices):
            is_shared = len(readings) == len(COMMON) and len(set(readings.values())) == 1
            for language, texts in readings.items():
                found.append(_all_terms(texts) + [_mark(language)] * (language != USUAL and not is_shared))
        return [list(one) for one in dict.fromkeys(map(tuple, found))]

    def lines(self) -> list[list[str]]:
        """Lists of texts. A text holds the search if its `line_with_numbers` has all texts of at least one list."""
        found = [list(self.texts)]
        for readings in (self.readings, self.prices):
            for language, texts in readings.items():
                if list(texts) not in found:
                    found.append([*texts, *[_read_in(language)] * (language != USUAL)])
        return found


@lru_cache(maxsize=64)
def words_of(search: str) -> Words:
    """What a search looks for; no texts where it holds no words."""
    found = dict[str, str]()
    for text, may_go_on in pieces(search):
        line = search_line(text)
        if line.strip():
            found[open_line(line) if may_go_on else line] = exact_line(text)
    readings = {language: _texts_read(search, language, in_digits) for language in COMMON}
    numeric = {language: texts for language, texts in readings.items() if any(map(_has_number, texts))}
    prices = {language: _texts_read(search, language, wanted_price) for language in numeric}
    return Words(found, numeric, {one: texts for one, texts in prices.items() if texts != numeric[one]})


def _texts_read(search: str, language: str, read: Callable[[str, str], str]) -> tuple[str, ...]:
    """The texts of a search with their numbers read in a language. Numbers in a row stay in one text."""
    found, words = list[str](), list[str]()

    def end_of_words() -> None:
        line = read(exact_line(" ".join(words)), language)
        found.extend(f" {piece} " for piece in _NUMBERS_OR_WORD.findall(line))
        words.clear()

    for text, may_go_on in pieces(search):
        if " " not in text and not may_go_on:
            words.append(text)
            continue
        end_of_words()
        line = read(exact_line(text), language)
        found.append(open_line(line) if may_go_on else line)
    end_of_words()
    return tuple(dict.fromkeys(text for text in found if text.strip()))


def _has_number(text: str) -> bool:
    return any(piece[:1].isdigit() for piece in text.split())


def _all_terms(texts: Sequence[str] | dict[str, str]) -> list[str]:
    return list(dict.fromkeys(term for text in texts for term in terms(text)))


def _mark(language: str) -> str:
    """Index term of all calls in a language. No word has this form."""
    return f"language:{language}"


def _read_in(language: str) -> str:
    """Mark before lines whose numbers were read in a language. No word has this form."""
    return f" {SAID}{language} "


def line_with_numbers(text: str) -> str:
    """The search line of a text; then, if that adds anything, lines with its numbers in digits, read in its language."""
    plain, line = folded(text), search_line(text)
    language = language_of([plain])
    if not with_numbers([plain], language):
        return line
    exact, pieces = exact_line(text), {*line.split(), SAID}
    marks = [] if language == USUAL else [_read_in(language)]
    read = dict.fromkeys([in_digits(exact, language), in_prices(exact, language)])
    return "\n".join([line, *marks, *(one for one in read if not pieces.issuperset(one.split()))])


def call_terms(said: Sequence[str]) -> dict[str, None]:
    """The terms under which an index keeps a call: those of its turns, of their numbers in digits, and of its language."""
    texts = [folded(text) for text in said]
    language = language_of(texts)
    found = {} if language == USUAL else {_mark(language): None}
    for text in texts:
        found |= terms(search_line(text))
    for n in with_numbers(texts, language):
        line = exact_line(texts[n])
        found |= terms(in_digits(line, language)) | terms(in_prices(line, language))
    return found


@dataclass(frozen=True)
class Held:
    """Where a call holds a search.

    Attributes:
        turns: how many of the texts a turn holds, by the turn's index.
        texts: the search's texts in the form in which they were found.
        form: turns a text into a line of that form.
    """

    turns: dict[int, int]
    texts: Sequence[str]
    form: Callable[[str], str]


def said(turns: Sequence[Spoken], words: Words, speaker: str | None = None) -> Held | None:
    """Where turns hold a search; None unless each of its texts was said, by `speaker`'s side if one is given."""
    theirs = [n for n, turn in enumerate(turns) if speaker is None or is_of(turn.user, speaker)]
    plain = [folded(turn.text) for turn in turns] if words.readings else []
    language = language_of(plain) if plain else USUAL
    read = words.readings.get(language)
    if read is None:
        return _word_for_word(turns, theirs, words, None)
    # Words that are one number together, "thirty three", are not looked for one by one.
    held = _word_for_word(turns, theirs, words, language) if len(read) == len(words.texts) else None
    held = held or _in_numbers(plain, theirs, read, partial(in_digits, language=language), language)
    prices = words.prices.get(language)
    if held is None and prices is not None:
        held = _in_numbers(plain, theirs, prices, partial(in_prices, language=language), language)
    return held


def _word_for_word(turns: Sequence[Spoken], theirs: list[int], words: Words, language: str | None) -> Held | None:
    """Where the texts stand word for word. With a language, a text inside a spoken number does not count."""
    runs = [_longest_run(text) for text in words.texts]
    numeric = {text for text, exact in words.texts.items() if language and ends_in_numbers(exact, language)}

    def holds(line: str, text: str, n: int) -> bool:
        is_there = text in line
        if is_there and language and text in numeric:
            return not is_cut(exact_line(turns[n].text), words.texts[text], language)
        return is_there

    lines = {n: search_line(turns[n].text) for n in theirs if _may_hold(turns[n].text, runs)}
    return _held(lines, list(words.texts), search_line, holds)


def _in_numbers(
    plain: Sequence[str], theirs: list[int], texts: Sequence[str], read_line: Callable[[str], str], language: str
) -> Held | None:
    """Where the texts stand in folded turns once their numbers are read."""

    def read(text: str) -> str:
        return read_line(exact_line(text))

    runs = [_longest_run(text) for text in texts if not _has_number(text)]
    beside = [_beside_numbers(text) for text in texts if _has_number(text)]
    numbered = {n for n in with_numbers(plain, language) if any(_may_be_beside(plain[n], words) for words in beside)}
    lines = {n: read(plain[n]) for n in theirs if n in numbered or _may_hold(plain[n], runs)}
    return _held(lines, texts, read, lambda line, text, _: text in line)


def _beside_numbers(text: str) -> list[str]:
    """Words of which each turn that holds a text with numbers has at least one; empty if no such word is known."""
    words = [word for word in text.split() if word.isalpha() and word not in _PUT]
    unit = next((unit for unit in UNITS.items() if f" {unit[1]} " in text), None)
    return [max(words, key=len)] if words else [] if unit is None else [unit[0], unit[1][:-1]]


def _may_be_beside(said: str, words: list[str]) -> bool:
    return not words or "'" in said or _may_hold(said, words)


def _held(
    lines: dict[int, str], texts: Sequence[str], form: Callable[[str], str], holds: Callable[[str, str, int], bool]
) -> Held | None:
    found, missing = dict[int, int](), set(texts)
    for n, line in lines.items():
        if held := [text for text in texts if holds(line, text, n)]:
            found[n] = len(held)
            missing.difference_update(held)
    return None if missing else Held(found, texts, form)


def _longest_run(text: str) -> str:
    """The longest run of plain letters and digits in a text."""
    return max(re.findall("[a-z0-9]+", text), key=len, default="")


def _may_hold(said: str, runs: list[str]) -> bool:
    """Whether a turn may hold one of the texts. Cheaper than folding, which only lowers the case of plain letters."""
    plain = said.lower()
    return "\\" in said or not said.isascii() or any(run in plain for run in runs)


def shown_turns(turns: Sequence[Spoken], held: Held) -> list[dict[str, object]]:
    """The turns that hold most of the texts, in their order; of long ones the part around the first of the words."""
    best = sorted(sorted(held.turns, key=lambda n: (-held.turns[n], n))[:TURNS])
    return [{"message_index": n, "user": turns[n].user, **_part(turns[n].text, held)} for n in best]


def _part(text: str, held: Held) -> dict[str, object]:
    return {"text": text} if len(text) <= SHOWN else around(text, _start(text, held))


def _start(text: str, held: Held) -> int:
    """Index in a long text at about which the first of the search's texts begins."""
    line = held.form(text)
    first = next(one for one in held.texts if one in line)
    low, high = 0, len(text)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if first in held.form(text[middle:]) else (low, middle)
    return low
