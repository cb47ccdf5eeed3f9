"""Suggests words that were said for words of a search that were not: other forms of them, and misspellings."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, islice

from calltriage.matching.search_terms import search_line, terms

LIKE = 0.86
"""Least Jaro-Winkler similarity of a near word: `refunds`, `refunded` and `refudn` are like `refund`, `found` is not."""
EACH = 3
"""Near words that are named for each word that was not said."""
MOST_WORDS = 6
"""Words of a search for which near ones are looked for."""


def words_in(texts: Iterable[str]) -> set[str]:
    """The words of texts, as searches compare them; no numbers."""
    return {term for text in texts for term in terms(search_line(text)) if term.isalpha()}


def near_words(search: str, said: set[str]) -> list[str]:
    """For each word of a search that is not in `said`, the words of `said` that come nearest."""
    from rapidfuzz.distance import JaroWinkler  # noqa: PLC0415  only a search that finds nothing needs it
    from rapidfuzz.process import extract  # noqa: PLC0415

    missing = islice((word for word in sorted(words_in([search])) if word not in said), MOST_WORDS)
    known = sorted(said)
    similarity = JaroWinkler.normalized_similarity
    found = (extract(word, known, scorer=similarity, score_cutoff=LIKE, limit=EACH) for word in missing)
    return list(dict.fromkeys(word for word, *_ in chain.from_iterable(found)))
