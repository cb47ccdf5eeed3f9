"""Why a search for words found no call."""

from __future__ import annotations

from calltriage.client.side_by_side import at_once
from calltriage.matching.folding import folded
from calltriage.matching.search_terms import EDGES
from calltriage.operations.calls import SearchCalls
from calltriage.server.context import Invocation

MOST_WORDS = 6
"""Words that are looked for one by one."""
LONGEST = 64
"""Characters of a word that is named."""
HOW = "Whole words are compared, without case and accents, and numbers in digits, too: try other forms of a word."


async def why_nothing(work: Invocation, search: SearchCalls) -> str:
    """What is said beside an empty answer: which of the words were said in some call, and which in none."""
    words = [word.strip(EDGES) for word in folded(search.query).replace('"', " ").split()]
    words = [word for word in dict.fromkeys(words) if any(map(str.isalnum, word)) and len(word) <= LONGEST][:MOST_WORDS]
    if len(words) < 2:
        return f"No call within the filters holds it. {HOW}"
    each = {"limit": 1, "cursor": None}
    pages = await at_once(
        *(work.server.client.send(search.model_copy(update={"query": word, **each})) for word in words)
    )
    is_said = [bool(page.calls or page.next_cursor) for page in pages]
    some = [word for word, is_so in zip(words, is_said, strict=True) if is_so]
    none = [word for word, is_so in zip(words, is_said, strict=True) if not is_so]
    if not none:
        apart = " Without quotation marks words may stand apart." if '"' in search.query else ""
        return f"Each word was said in some call within the filters, but no call holds all of it.{apart}"
    said = f" Said in some: {', '.join(some)}." if some else ""
    return f"Said in no call within the filters: {', '.join(none)}.{said} {HOW}"
