"""The rules `agent_loop` and `caller_repeats`: turns that repeat earlier ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from pydantic import Field

from calltriage.matching.numbers import numbers
from calltriage.pipelines.alignment import spoken_in_digits
from calltriage.pipelines.calls import Call, Turn
from calltriage.pipelines.detecting import Options, detector
from calltriage.pipelines.detectors.wording import first_words, turns_of
from calltriage.pipelines.findings import Finding

REMEMBERED = 40
"""A turn is compared with so many turns of its side before it, so that the time grows with the call's length only."""
COMPARED = 400
"""Most characters of a turn that are compared."""


@dataclass(frozen=True)
class Repeat:
    """A turn that repeats an earlier one."""

    turn: Turn
    before: Turn
    times: int
    """How often it was said so far, this time included."""


def repeats(call: Call, speaker: str, words: int, likeness: float, *, parts: bool = False) -> Iterator[Repeat]:
    """Turns of a side that repeat an earlier one: with at least `words` words, a likeness of at least `likeness` (0 to 100),
    and the same numbers. With `parts`, also turns that contain an earlier one, or are contained in one."""
    from rapidfuzz.fuzz import ratio  # noqa: PLC0415  native code
    from rapidfuzz.process import extractOne  # noqa: PLC0415

    said, lines = deque[_Said](maxlen=REMEMBERED), deque[str](maxlen=REMEMBERED)
    for turn in turns_of(call, speaker):
        line = turn.line[:COMPARED]
        if len(line.split()) < words:
            continue
        now = _Said(call, turn, line)
        # Most turns are like none before. One native call for all of these takes a third of the time of one for each.
        is_like = extractOne(line, lines, scorer=ratio, score_cutoff=likeness) is not None
        if is_like or (parts and any(line in before or before in line for before in lines)):
            for before in reversed(said):
                is_part = parts and (line in before.line or before.line in line)
                if not is_part and ratio(line, before.line, score_cutoff=likeness) == 0:
                    continue
                if is_part or now.numbers == before.numbers:
                    now.times = before.times + 1
                    yield Repeat(turn, before.turn, now.times)
                    break
        said.append(now)
        lines.append(line)


@dataclass
class _Said:
    """A turn, and how often it was said until then. `numbers` is read once, when it is needed."""

    call: Call
    turn: Turn
    line: str
    times: int = 1

    @cached_property
    def numbers(self) -> list[str]:
        return numbers(spoken_in_digits(self.turn.text[:COMPARED], self.call.language))


class RepeatOptions(Options):
    """Options of agent_loop and caller_repeats."""

    words: Annotated[int, Field(ge=2)] = 4
    """Least words of a turn."""
    times: Annotated[int, Field(ge=2)] = 2
    """Least number of times that it is said."""


@detector(version=1, kind="agent_loop", options=RepeatOptions)
def agent_loop(call: Call, options: RepeatOptions) -> Iterator[Finding]:
    """The agent says nearly the same again: a turn of `words` (4) words or more is 92 % like one of its 40 turns before.

    Likeness is the `ratio` of rapidfuzz, which compares letters in order, so that "what day" and "what time" differ. Numbers
    must be equal, so that two amounts differ. `times` (2) is the least number of times that it is said in all.
    Times: none are needed.
    """
    for repeat in repeats(call, "agent", options.words, 92):
        if repeat.times >= options.times:
            note = f"The agent says this {repeat.times} times; the time before is turn {repeat.before.index}."
            yield Finding(repeat.turn, first_words(repeat.turn), note)


@detector(version=1, kind="caller_repeats", options=RepeatOptions)
def caller_repeats(call: Call, options: RepeatOptions) -> Iterator[Finding]:
    """The caller says something again: a turn of `words` (4) words or more is 95 % like one of their 40 turns before,
    contains it, or is contained in it.

    Likeness is the `ratio` of rapidfuzz, which compares letters in order. Numbers must be equal, unless one turn contains
    the other. `times` (2) is the least number of times that it is said in all. A repetition in other words is not found.
    Times: none are needed.
    """
    for repeat in repeats(call, "caller", options.words, 95, parts=True):
        if repeat.times >= options.times:
            note = f"The caller says this {repeat.times} times; the time before is turn {repeat.before.index}."
            yield Finding(repeat.turn, first_words(repeat.turn), note)
