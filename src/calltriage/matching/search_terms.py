"""Searching for words: all words of a search, in any order; what stands in quotation marks, and a search with other signs,
as it is written. Issues and calls are searched so, on every store."""

from __future__ import annotations

import re
from collections.abc import Sequence

from calltriage.matching.folding import UNSPACED, exact_line, folded, unaccented
from calltriage.matching.quotes import SHOWN, Spoken, around
from calltriage.matching.speakers import is_of

LONGEST_TERM = 200
"""Characters by which an index knows a term."""
TURNS = 3
"""Turns that are shown of a call."""
EDGES = '.,;:!?()[]{}*"\u2026'
"""Signs around a word that are no part of it."""
WORD = re.compile(r"[^\W_]+")
_UNSPACED = re.compile(f"[{UNSPACED}]")


def search_line(text: str) -> str:
    """A text as searches look in it."""
    return f" {' '.join(unaccented(exact_line(text)).split())} "


def wanted(search: str) -> list[str]:
    """What has to stand in a line, each of it: words with a blank on either side. Of a text with signs the last word may go
    on; its numbers may not."""
    found = list[str]()
    for quoted, text in re.findall(r'"([^"]+)"|((?:[^"]|"(?![^"]+"))+)', folded(search)):
        line = search_line(quoted or text)
        pieces = line.split()
        if quoted or not pieces:
            found += [line] if pieces else []
        elif all(re.match(r"[^\W_]", piece) and "'" not in piece for piece in pieces):
            found += map(search_line, text.split())
        else:
            found.append(line[:-1] if pieces[-1].isalpha() else line)
    return list(dict.fromkeys(found))


def without_edges(text: str) -> str:
    """Words as people write them, `(refund)` or `refund?`, without these signs. A text with phrases or other signs stays."""
    if text.count('"') > 1:
        return text
    bare = " ".join(word.strip(EDGES) for word in text.split())
    return bare if bare.strip() and all(map(WORD.fullmatch, bare.split())) else text


def terms(line: str) -> dict[str, None]:
    """What an index of words knows a line by: its words and numbers; of scripts without blanks each character and each two
    neighbours. The last word of a line without a blank at its end may go on, so it is no term."""
    pieces = line.split() if line.endswith(" ") else line.split()[:-1]
    found = {piece[:LONGEST_TERM]: None for piece in pieces if any(map(str.isalnum, piece))}
    unspaced = [_UNSPACED.match(piece) is not None for piece in pieces]
    for n in range(1, len(pieces)):
        if unspaced[n - 1] and unspaced[n]:
            found[pieces[n - 1] + pieces[n]] = None
    return found


def said(turns: Sequence[Spoken], texts: list[str], speaker: str | None = None) -> dict[int, int] | None:
    """The turns that hold a text, by index, and how many of the texts each holds; None unless each text was said, by the
    side that is meant."""
    found, missing, runs = dict[int, int](), set(texts), [_longest_run(text) for text in texts]
    for n, turn in enumerate(turns):
        if not _may_hold(turn.text, runs) or (speaker is not None and not is_of(turn.user, speaker)):
            continue
        line = search_line(turn.text)
        if held := [text for text in texts if text in line]:
            found[n] = len(held)
            missing.difference_update(held)
    return None if missing else found


def _longest_run(text: str) -> str:
    """The longest run of plain letters and digits in a text."""
    return max(re.findall("[a-z0-9]+", text), key=len, default="")


def _may_hold(said: str, runs: list[str]) -> bool:
    """Whether a turn may hold one of the texts. Folding is dear, and of plain letters it changes the case alone."""
    plain = said.lower()
    return "\\" in said or not said.isascii() or any(run in plain for run in runs)


def shown_turns(turns: Sequence[Spoken], found: dict[int, int], texts: list[str]) -> list[dict[str, object]]:
    """The turns that hold most of the texts, in their order; of long ones the part around the first of the words."""
    best = sorted(sorted(found, key=lambda n: (-found[n], n))[:TURNS])
    return [{"message_index": n, "user": turns[n].user, **_part(turns[n].text, texts)} for n in best]


def _part(text: str, texts: list[str]) -> dict[str, object]:
    return {"text": text} if len(text) <= SHOWN else around(text, _start(text, texts))


def _start(text: str, texts: list[str]) -> int:
    """About where the first of the texts begins that a long text holds."""
    held = next(one for one in texts if one in search_line(text))
    low, high = 0, len(text)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if held in search_line(text[middle:]) else (low, middle)
    return low
