"""What is said again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Annotated

from pydantic import Field

from calltriage.matching.numbers import language_of, numbers
from calltriage.pipelines.alignment import spoken_in_digits
from calltriage.pipelines.calls import Call, Turn
from calltriage.pipelines.detecting import Options, detector
from calltriage.pipelines.detectors.wording import first_words, turns_of
from calltriage.pipelines.findings import Finding

REMEMBERED = 40
"""Turns of a side that a turn is compared with: those before it. So the time grows with the call, not with its square."""
COMPARED = 400
"""Characters of a turn that are compared."""


@dataclass(frozen=True)
class Repeat:
    """A turn that says again what one before it said."""

    turn: Turn
    before: Turn
    times: int
    """How often it was said, this time included."""


def repeats(call: Call, speaker: str, words: int, likeness: float, *, parts: bool = False) -> Iterator[Repeat]:
    """Turns of a side with `words` or more that are alike to `likeness` (0 to 100) with an earlier one and name the same
    numbers. With `parts`, also turns that hold an earlier one whole, and those that an earlier one holds."""
    from rapidfuzz.fuzz import ratio  # noqa: PLC0415  native code

    language = cache(lambda: language_of(turn.text for turn in call.turns))
    said = deque[_Said](maxlen=REMEMBERED)
    for turn in turns_of(call, speaker):
        now = _Said(turn, turn.line[:COMPARED], language)
        if len(now.line.split()) < words:
            continue
        for before in reversed(said):
            is_part = parts and (now.line in before.line or before.line in now.line)
            if not is_part and ratio(now.line, before.line, score_cutoff=likeness) == 0:
                continue
            if is_part or now.numbers == before.numbers:
                now.times = before.times + 1
                yield Repeat(turn, before.turn, now.times)
                break
        said.append(now)


@dataclass
class _Said:
    """A turn, and how often it was said until then. Its numbers are read once, however many turns are alike."""

    turn: Turn
    line: str
    language: Callable[[], str]
    times: int = 1

    @cached_property
    def numbers(self) -> list[str]:
        return numbers(spoken_in_digits(self.turn.text[:COMPARED], self.language()))


class RepeatOptions(Options):
    """Options of agent_loop and caller_repeats."""

    words: Annotated[int, Field(ge=2)] = 4
    """Words that a turn has to have."""
    times: Annotated[int, Field(ge=2)] = 2
    """How often it has to be said."""


@detector(version=1, kind="agent_loop", options=RepeatOptions)
def agent_loop(call: Call, options: RepeatOptions) -> Iterator[Finding]:
    """The agent says nearly the same again: a turn of `words` (4) or more is 92 % alike with one of its 40 turns before.

    Compared are letters in order (the ratio of rapidfuzz), so that "what day" and "what time" differ; numbers have to be
    equal, so that two amounts differ. `times` (2) is how often it has to be said in all.
    Times: none are needed.
    """
    for repeat in repeats(call, "agent", options.words, 92):
        if repeat.times >= options.times:
            note = f"The agent says this {repeat.times} times; the time before is turn {repeat.before.index}."
            yield Finding(repeat.turn, first_words(repeat.turn), note)


@detector(version=1, kind="caller_repeats", options=RepeatOptions)
def caller_repeats(call: Call, options: RepeatOptions) -> Iterator[Finding]:
    """The caller has to say something again: a turn of `words` (4) or more is 95 % alike with one of their 40 turns before,
    holds it whole, or stands in it whole.

    Compared are letters in order (the ratio of rapidfuzz); numbers have to be equal. `times` (2) is how often it has to be
    said in all. What is said again in other words is not found.
    Times: none are needed.
    """
    for repeat in repeats(call, "caller", options.words, 95, parts=True):
        if repeat.times >= options.times:
            note = f"The caller says this {repeat.times} times; the time before is turn {repeat.before.index}."
            yield Finding(repeat.turn, first_words(repeat.turn), note)
