"""The rule `language`: it recognises languages by their common words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from calltriage.matching.numbers import COMMON
from calltriage.pipelines.calls import AGENT, CALLER, Call, Turn
from calltriage.pipelines.detecting import Options, detector
from calltriage.pipelines.detectors.wording import first_words
from calltriage.pipelines.findings import Finding

LEAST_COMMON = 2
"""Least number of a language's common words in a turn. There must also be more of them than of any other language's."""
RUNNING = 2
"""Consecutive turns of a side that must be in a language: single ones may be names or addresses."""
Code = Literal["en", "de", "fr", "es", "pt", "it", "nl", "da"]
_WORDS = {code: frozenset(words.split()) for code, words in COMMON.items()}


class LanguageOptions(Options):
    """Options of language."""

    expected: Code | None = None
    """The language that the agent has to speak; None: the caller's."""
    words: Annotated[int, Field(ge=3)] = 6
    """Least words of a turn whose language is determined."""


def language_told(turn: Turn, least: int) -> str | None:
    """The language of a turn with at least `least` words; None if it is not clear."""
    said = turn.line.split()
    if len(said) < least:
        return None
    counts = Counter({code: sum(word in words for word in said) for code, words in _WORDS.items()})
    (best, most), (_, next_most) = counts.most_common(2)
    return best if most >= LEAST_COMMON and most > next_most else None


@detector(version=1, kind="language", options=LanguageOptions, review_only=True)
def language(call: Call, options: LanguageOptions) -> Iterator[Finding]:
    """The agent speaks another language than the caller, or than `expected`, in two consecutive turns.

    The caller's language is the one of two consecutive turns of the caller before. A turn's language is determined by its
    common words of English, German, French, Spanish, Portuguese, Italian, Dutch and Danish. The turn must have `words` (6)
    or more, two common words of the language, and fewer of any other. Other languages are not known; a turn in one may be
    taken for a similar one. One finding for a call.
    Times: none are needed.
    """
    runs = dict[str, list[tuple[str, Turn]]]()
    for turn in call.turns:
        told = language_told(turn, options.words)
        if told is None:
            continue
        runs[turn.speaker] = [*runs.get(turn.speaker, []), (told, turn)][-RUNNING:]
        wanted = options.expected or _spoken(runs.get(CALLER, []))
        spoken = _spoken(runs.get(AGENT, []))
        if turn.speaker == AGENT and wanted and spoken and spoken != wanted:
            yield Finding(
                turn, first_words(turn), f"The agent speaks {spoken}, where {wanted} is to be spoken.", key=wanted
            )
            return


def _spoken(run: list[tuple[str, Turn]]) -> str | None:
    """The language of consecutive turns; None if there are too few, or several languages."""
    languages = {told for told, _ in run}
    return languages.pop() if len(run) == RUNNING and len(languages) == 1 else None
