"""Searching for words: all words of a search, in any order; what stands in quotation marks, and a search with other signs,
as it is written. Issues and calls are searched so, on every store; of calls numbers count besides (spoken_search.py)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from calltriage.matching.folding import UNSPACED, exact_line, folded, unaccented

LONGEST_TERM = 200
"""Characters by which an index knows a term."""
EDGES = '.,;:!?()[]{}*"\u2026'
"""Signs around a word that are no part of it."""
WORD = re.compile(r"[^\W_]+")
_AMOUNT = re.compile(r"(?<!\S)[$€£]?[0-9][0-9.,:/]*(?!\S)")
_UNSPACED = re.compile(f"[{UNSPACED}]")


def search_line(text: str) -> str:
    """A text as searches look in it."""
    return f" {' '.join(unaccented(exact_line(text)).split())} "


def pieces(search: str) -> Iterator[tuple[str, bool]]:
    """The texts of a folded search, each of which is looked for as it is written, and whether its last word may go on."""
    for quoted, text in re.findall(r'"([^"]+)"|((?:[^"]|"(?![^"]+"))+)', folded(search)):
        if quoted or not are_words(text):
            yield quoted or text, not quoted
        else:
            yield from ((word, False) for word in text.split())


def are_words(text: str) -> bool:
    """Whether a text is words and amounts, which stand in any order."""
    found = search_line(_AMOUNT.sub("0", text)).split()
    return all(re.match(r"[^\W_]", piece) and "'" not in piece for piece in found)


def open_line(line: str) -> str:
    """A line whose last word may go on."""
    last = line.split()[-1:]
    return line[:-1] if last and last[0].isalpha() else line


def without_edges(text: str) -> str:
    """Words as people write them, `(refund)` or `refund?`, without these signs. A text with phrases or other signs stays."""
    if text.count('"') > 1:
        return text
    bare = " ".join(word.strip(EDGES) for word in text.split())
    return bare if bare.strip() and all(map(_is_word, bare.split())) else text


def _is_word(text: str) -> bool:
    return bool(WORD.fullmatch(text) or _AMOUNT.fullmatch(text))


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
