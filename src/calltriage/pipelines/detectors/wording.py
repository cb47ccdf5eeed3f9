"""Searches turns for phrases, and chooses the words of a turn that a finding quotes."""

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
"""Most words of a turn that are quoted by default."""


def _says_something(phrase: str) -> str:
    if loose_line(phrase) == " ":
        raise ValueError("must hold a word")
    return phrase


Phrase = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_says_something)]
Several = Annotated[tuple[Phrase, ...], Field(min_length=1, max_length=500)]
"""Alternative phrases. Whole words are compared; case, accents and punctuation do not count."""


@dataclass(frozen=True)
class _Said:
    text: str
    user: str | None


@dataclass(frozen=True)
class Phrases:
    """Alternative phrases, searched for as whole words."""

    wanted: tuple[str, ...]

    @cached_property
    def lines(self) -> tuple[str, ...]:
        """The phrases as lines (see `Turn.line`), longest first."""
        return tuple(sorted({loose_line(phrase) for phrase in self.wanted}, key=lambda line: (-len(line), line)))

    def found(self, turn: Turn) -> str | None:
        """The longest phrase that a turn has, in the turn's own words; None if it has none."""
        said = turn.line
        return next((own_words(turn, line) for line in self.lines if line in said), None)


@lru_cache(maxsize=200)
def phrases(*wanted: str) -> Phrases:
    """`Phrases`, cached, since a rule uses the same ones for each call."""
    return Phrases(wanted)


def own_words(turn: Turn, line: str) -> str:
    """The original words of a turn for a line that it contains; the whole turn if they are not found."""
    found = place([_Said(turn.text, None)], 0, line)
    return turn.text[slice(*found)] if found else turn.text.strip()


def first_words(turn: Turn, most: int = SHOWN_WORDS) -> str:
    """The first words of a turn, literally."""
    text = turn.spoken.strip()
    ends = [found.end() for found in re.finditer(r"\S+", text)]
    shown = text[: ends[most - 1]] if len(ends) > most else text
    return shown if shown and shown in turn.text else turn.text.strip()


def turns_of(call: Call, speaker: str) -> Sequence[Turn]:
    """The turns of `agent` or `caller`; all turns for any other word."""
    return {AGENT: call.agent_turns, CALLER: call.caller_turns}.get(speaker, call.turns)


def last_spoken(turns: Iterable[Turn]) -> Turn | None:
    """The last turn in which words were spoken."""
    return next((turn for turn in reversed(tuple(turns)) if turn.has_words), None)
