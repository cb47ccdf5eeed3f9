"""Words that were said and are like words that were not: other forms of them, and what was misspelt."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, islice

from calltriage.matching.search_terms import search_line, terms

LIKE = 0.86
"""How like a word has to be, by Jaro and Winkler: `refunds`, `refunded` and `refudn` are like `refund`, `found` is not."""
EACH = 3
"""Words that are named for one that was not said."""
MOST_WORDS = 6
"""Words that others are looked for."""


def words_in(texts: Iterable[str]) -> set[str]:
    """The words of texts, as searches compare them; no numbers."""
    return {term for text in texts for term in terms(search_line(text)) if term.isalpha()}


def near_words(search: str, said: set[str]) -> list[str]:
    """The words among those said that come nearest to the words of a search that are not among them."""
    from rapidfuzz.distance import JaroWinkler  # noqa: PLC0415  only a search that finds nothing needs it
    from rapidfuzz.process import extract  # noqa: PLC0415

    missing = islice((word for word in sorted(words_in([search])) if word not in said), MOST_WORDS)
    known = sorted(said)
    similarity = JaroWinkler.normalized_similarity
    found = (extract(word, known, scorer=similarity, score_cutoff=LIKE, limit=EACH) for word in missing)
    return list(dict.fromkeys(word for word, *_ in chain.from_iterable(found)))
