"""Explains why a search for words found nothing, and names words that were said and come near."""

from __future__ import annotations

from dataclasses import dataclass

from calltriage.client.side_by_side import at_once
from calltriage.matching.folding import folded
from calltriage.matching.near_words import near_words, words_in
from calltriage.matching.search_terms import EDGES
from calltriage.operations.calls import SearchCalls
from calltriage.server.context import Invocation

MOST_WORDS = 6
"""Words that are looked for one by one."""
LONGEST = 64
"""Characters of a word that is named."""
HOW = "Whole words are compared, without case and accents, and numbers in digits, too: try other forms of a word."
NEAR = "near_words were said."


@dataclass(frozen=True)
class Nothing:
    """Why a search found nothing.

    Attributes:
        note: which of its words were said in some call, and which in none.
        near_words: what was said that is like the words that were not. Words of callers: data.
    """

    note: str
    near_words: list[str]


async def why_nothing(work: Invocation, search: SearchCalls) -> Nothing:
    """The explanation of a desk's empty answer."""
    words = [word.strip(EDGES) for word in folded(search.query).replace('"', " ").split()]
    words = [word for word in dict.fromkeys(words) if any(map(str.isalnum, word)) and len(word) <= LONGEST][:MOST_WORDS]
    if len(words) < 2:
        near = await _near(work, search, [search.query])
        return Nothing(f"No call within the filters holds it. {_instead(near)}", near)
    each = {"limit": 1, "cursor": None}
    pages = await at_once(
        *(work.server.client.send(search.model_copy(update={"query": word, **each})) for word in words)
    )
    is_said = [bool(page.calls or page.next_cursor) for page in pages]
    some = [word for word, is_so in zip(words, is_said, strict=True) if is_so]
    none = [word for word, is_so in zip(words, is_said, strict=True) if not is_so]
    if not none:
        apart = " Without quotation marks words may stand apart." if '"' in search.query else ""
        return Nothing(f"Each word was said in some call within the filters, but no call holds all of it.{apart}", [])
    said = f" Said in some: {', '.join(some)}." if some else ""
    near = await _near(work, search, none)
    return Nothing(f"Said in no call within the filters: {', '.join(none)}.{said} {_instead(near)}", near)


async def _near(work: Invocation, search: SearchCalls, words: list[str]) -> list[str]:
    asked = {"query": " ".join(words), "near": True, "limit": 1, "cursor": None}
    return (await work.server.client.send(search.model_copy(update=asked))).near_words or []


def _instead(near: list[str]) -> str:
    return f"{HOW} {NEAR}" if near else HOW


def nothing_read(search: str, texts: list[str]) -> Nothing:
    """The explanation where none of these texts holds a search."""
    near = near_words(search, words_in(texts))
    return Nothing(f"None of the calls that were read holds it. {_instead(near)}", near)
