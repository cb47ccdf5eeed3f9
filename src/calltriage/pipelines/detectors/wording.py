"""Phrases that turns are searched for, and the words of a turn that a finding quotes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from calltriage.matching.folding import loose_line
from calltriage.matching.quotes import place
from calltriage.pipelines.calls import AGENT, CALLER, Call, Turn

SHOWN_WORDS = 12
"""Words of a long turn that are quoted."""


def _says_something(phrase: str) -> str:
    if loose_line(phrase) == " ":
        raise ValueError("must hold a word")
    return phrase


Phrase = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_says_something)]
Several = Annotated[tuple[Phrase, ...], Field(min_length=1, max_length=500)]
"""Phrases of which one is enough. Case, accents and signs do not count; words count whole."""


@dataclass(frozen=True)
class _Said:
    text: str
    user: str | None


@dataclass(frozen=True)
class Phrases:
    """Phrases that are looked for as whole words."""

    wanted: tuple[str, ...]

    @cached_property
    def lines(self) -> tuple[str, ...]:
        """The phrases as they are looked for, the longest first."""
        return tuple(sorted({loose_line(phrase) for phrase in self.wanted}, key=lambda line: (-len(line), line)))

    def found(self, turn: Turn) -> str | None:
        """The longest of the phrases in a turn, in the turn's own words; None where there is none."""
        said = turn.line
        return next((own_words(turn, line) for line in self.lines if line in said), None)


@lru_cache(maxsize=200)
def phrases(*wanted: str) -> Phrases:
    """Phrases that are looked for in many calls."""
    return Phrases(wanted)


def own_words(turn: Turn, line: str) -> str:
    """The words of a turn that a line without signs stands for."""
    found = place([_Said(turn.text, None)], 0, line)
    return turn.text[slice(*found)] if found else turn.text.strip()


def first_words(turn: Turn, most: int = SHOWN_WORDS) -> str:
    """The first words of a turn, as they stand in it."""
    text = turn.spoken.strip()
    ends = [found.end() for found in re.finditer(r"\S+", text)]
    shown = text[: ends[most - 1]] if len(ends) > most else text
    return shown if shown and shown in turn.text else turn.text.strip()


def turns_of(call: Call, speaker: str) -> Sequence[Turn]:
    """The turns of a side; of everybody for `any`."""
    return {AGENT: call.agent_turns, CALLER: call.caller_turns}.get(speaker, call.turns)


def last_spoken(turns: Iterable[Turn]) -> Turn | None:
    """The last turn in which words were spoken."""
    return next((turn for turn in reversed(tuple(turns)) if turn.words), None)
