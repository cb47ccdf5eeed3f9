"""Words that somebody quotes, and where in a call they were said: the same, or nearly."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from calltriage.leaves.gate import INVISIBLE, gate

SIGNS = str.maketrans(
    {**dict.fromkeys("‘’‚‛′ʼ`´", "'"), **dict.fromkeys("“”„‟″«»", '"'), **dict.fromkeys("‐‑‒–—―−", "-")}
)
"""Signs that transcripts have and keyboards have not."""
UNSPACED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uac00-\ud7af"
UNIT = re.compile(rf"[{UNSPACED}]|(?:(?![{UNSPACED}])\w)+")
"""A word, or a character of a script that writes no blanks between words; no punctuation."""
COMPARED = 200
"""Characters of a quote, and of what may be it, that are compared."""
LIKELY = 20
"""Turns that are compared: those that share most words."""
SHOWN, BEFORE = 300, 100
"""Characters of a turn that are shown of it, and how many of them stand before the words."""


class Spoken(Protocol):
    """Something that was said: a turn of a transcript."""

    @property
    def text(self) -> str: ...


def folded(text: str) -> str:
    """A text as quotes are compared: Unicode-normalised; case, white space and kinds of quotes and dashes folded."""
    return " ".join(unicodedata.normalize("NFKC", text.translate(SIGNS)).casefold().split())


def holds(turn: Spoken, words: str) -> bool:
    """Whether words were said in a turn. They count as said, too, when they are the turn's as tools show it."""
    wanted, text = folded(words), turn.text
    if wanted == "":
        return False
    return wanted in folded(text) or (INVISIBLE.search(text) is not None and wanted in folded(gate(text)[0]))


@dataclass(frozen=True)
class Near:
    """A turn in which nearly these words were said: from 0 to 1 how nearly, and at which character they begin."""

    index: int
    likeness: float
    start: int


def nearest(turns: Sequence[Spoken], quote: str) -> list[Near]:
    """The turns that hold nearly a quote's words, the nearest first, of those that share most words."""
    wanted = UNIT.findall(folded(quote))
    if not wanted:
        return []
    words = set(wanted)
    shares = [len(words & set(UNIT.findall(folded(turn.text)))) for turn in turns]
    sharing = sorted(range(len(turns)), key=lambda n: shares[n], reverse=True)[:LIKELY]
    near = [Near(n, *_nearest_part(turns[n].text, wanted)) for n in sharing]
    return sorted(near, key=lambda one: (-one.likeness, one.index))


def start_of(text: str, quote: str) -> int:
    """The character of a text at which a quote's words begin, as nearly as they are there."""
    return _nearest_part(text, UNIT.findall(folded(quote)))[1]


def _nearest_part(text: str, wanted: list[str]) -> tuple[float, int]:
    """Of the parts of a text that have as many words as are wanted, the one that shares most: how like them it is, and where
    it begins."""
    units = list(UNIT.finditer(text))
    said = [folded(unit[0]) for unit in units]
    words, size = set(wanted), len(wanted)
    shared = [word in words for word in said]
    count = most = sum(shared[:size])
    best = 0
    for start in range(1, len(said) - size + 1):
        count += shared[start + size - 1] - shared[start - 1]
        if count > most:
            best, most = start, count
    part = " ".join(said[best : best + size])
    likeness = difflib.SequenceMatcher(None, " ".join(wanted)[:COMPARED], part[:COMPARED], autojunk=False).ratio()
    return likeness, units[best].start() if units else 0


def around(text: str, start: int) -> dict[str, object]:
    """The part of a turn's text around a character, and how much of the text is left out."""
    first = max(0, min(start - BEFORE, len(text) - SHOWN))
    shown = text[first : first + SHOWN]
    offset = {"offset": first} if first else {}
    cut = {"characters_left_out": {"text": len(text) - len(shown)}} if len(shown) < len(text) else {}
    return {**offset, "text": shown, **cut}
