"""How searches compare words. A text holds a search if it has all words of it, in any order. What stands in quotation marks,
and a search with other signs, must stand in the text as written. Every store searches issues and calls so; for calls,
numbers in another form count, too (spoken_search.py)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from calltriage.matching.folding import UNSPACED, exact_line, folded, unaccented

LONGEST_TERM = 200
"""Characters of a term that an index keeps."""
EDGES = '.,;:!?()[]{}*"\u2026'
"""Signs around a word that are no part of it."""
WORD = re.compile(r"[^\W_]+")
_AMOUNT = re.compile(r"(?<!\S)[$€£]?[0-9][0-9.,:/]*(?!\S)")
_UNSPACED = re.compile(f"[{UNSPACED}]")


def search_line(text: str) -> str:
    """The form of a text that searches are compared with: its exact line without accents."""
    return f" {' '.join(unaccented(exact_line(text)).split())} "


def pieces(search: str) -> Iterator[tuple[str, bool]]:
    """The texts that a search looks for, folded; each with whether its last word may be the beginning of a longer one."""
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
    """The line without the blank behind its last word, so that the word may be the beginning of a longer one."""
    last = line.split()[-1:]
    return line[:-1] if last and last[0].isalpha() else line


def without_edges(text: str) -> str:
    """Words as people write them, `(refund)` or `refund?`, without these signs. A text with phrases or other signs is
    returned as it is."""
    if text.count('"') > 1:
        return text
    bare = " ".join(word.strip(EDGES) for word in text.split())
    return bare if bare.strip() and all(map(_is_word, bare.split())) else text


def _is_word(text: str) -> bool:
    return bool(WORD.fullmatch(text) or _AMOUNT.fullmatch(text))


def terms(line: str) -> dict[str, None]:
    """The terms under which an index keeps a line: its words and numbers; of scripts without blanks each character and each
    two neighbours. If the line does not end in a blank, its last word may be incomplete and is no term."""
    pieces = line.split() if line.endswith(" ") else line.split()[:-1]
    found = {piece[:LONGEST_TERM]: None for piece in pieces if any(map(str.isalnum, piece))}
    unspaced = [_UNSPACED.match(piece) is not None for piece in pieces]
    for n in range(1, len(pieces)):
        if unspaced[n - 1] and unspaced[n]:
            found[pieces[n - 1] + pieces[n]] = None
    return found
