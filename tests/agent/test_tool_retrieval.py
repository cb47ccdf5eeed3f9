"""What people say finds the tool they need: hosts that hold many tools search them by name and description, and so do models
that are shown only the best few.

The phrases are what somebody at a desk would type, not the descriptions' words; several for each tool of every toolset. The
search is BM25 over name and description, with stems, as hosts have it.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any, cast

import pytest

from calltriage.offering import ALL
from calltriage.server.call.table import describe
from calltriage.server.toolsets import TOOLSETS, select

PHRASES: dict[str, list[str]] = json.loads(Path(__file__).with_name("phrases.json").read_text(encoding="utf-8"))
"""By the tool that each has to find."""

K1, B = 1.2, 0.75


@cache
def _stemmer() -> Any:
    import Stemmer

    return cast("Any", Stemmer).Stemmer("english")


STOP = frozenset(
    re.findall(
        r"\w+",
        """a about after again all already also an and any are as at be because been before but by can could did do does down
    each for from get give had has have how i if in into is it its let like me my no not now of off on one or other our out
    over s say so some t than that the their them then there these they this those to too up us was we were what when where
    which who why will with would yet you your""",
    )
)
"""Words that search engines leave out."""


def terms(text: str) -> list[str]:
    """The words of a text as a search engine keeps them: folded, stemmed, without those that say nothing."""
    words = re.findall(r"[a-z]+", text.lower().replace("_", " "))
    return [_stemmer().stemWord(word) for word in words if len(word) > 1 and word not in STOP]


def ranked(phrase: str, documents: dict[str, list[str]]) -> list[str]:
    """The documents' names, best first by BM25."""
    average = sum(map(len, documents.values())) / len(documents)
    holding = Counter(term for words in documents.values() for term in set(words))

    def score(words: list[str]) -> float:
        counts = Counter(words)
        total = 0.0
        for term in set(terms(phrase)) & set(counts):
            rarity = math.log(1 + (len(documents) - holding[term] + 0.5) / (holding[term] + 0.5))
            often = counts[term]
            total += rarity * often * (K1 + 1) / (often + K1 * (1 - B + B * len(words) / average))
        return total

    return sorted(documents, key=lambda name: -score(documents[name]))


DOCUMENTS = {tool.name: terms(f"{tool.name} {tool.description}") for tool in (describe(one) for one in select([ALL]))}


def test_every_tool_of_every_toolset_has_phrases_and_there_are_enough() -> None:
    assert {tool.tool_name() for tools in TOOLSETS.values() for tool in tools} == set(PHRASES)
    assert sum(map(len, PHRASES.values())) >= 200
    assert len({phrase for phrases in PHRASES.values() for phrase in phrases}) == sum(map(len, PHRASES.values()))


def test_no_phrase_is_copied_from_a_description() -> None:
    descriptions = " ".join((describe(tool).description or "").lower() for tool in select([ALL]))
    for phrases in PHRASES.values():
        assert not [phrase for phrase in phrases if phrase.lower() in descriptions]


@pytest.mark.parametrize("tool", PHRASES)
def test_what_people_say_finds_the_tool_among_the_first_three(tool: str) -> None:
    missed = {phrase: ranked(phrase, DOCUMENTS)[:3] for phrase in PHRASES[tool]}
    assert {phrase: found for phrase, found in missed.items() if tool not in found} == {}
