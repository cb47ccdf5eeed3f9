"""Times between turns: silences, answers that come late, two who speak at once."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from calltriage.leaves.amounts import amount
from calltriage.pipelines.calls import AGENT, CALLER, Call, Timing, Turn
from calltriage.pipelines.detecting import Options, detector
from calltriage.pipelines.detectors.wording import first_words
from calltriage.pipelines.durations import Span
from calltriage.pipelines.findings import Finding

ASKS_TO_WAIT = re.compile(
    r" (?:(?:one|a|just a|just one) (?:second|sec|moment|minute)|hold on|please hold|bear with me|let me (?:\w+ ){0,2}"
    r"(?:check|look|see|pull|find|get)|(?:ill|i will) (?:check|look|see|find)|checking|looking) "
)
"""The agent asks to wait, in a line without signs: the silence that follows is the agent's."""


@dataclass(frozen=True)
class Gap:
    """A stretch in which nobody speaks.

    Attributes:
        seconds: how long it is.
        before: the turn whose end begins it.
        after: the turn that ends it.
    """

    seconds: float
    before: Turn
    after: Turn

    @property
    def is_answer(self) -> bool:
        """Whether it ends with the agent's answer to the caller."""
        return self.before.speaker == CALLER and self.after.speaker == AGENT

    @property
    def is_of_agent(self) -> bool:
        """Whether the agent was to speak: after the caller, or after it asked to wait. After any other turn of the agent
        the caller was to speak."""
        if self.after.speaker != AGENT:
            return False
        return self.before.speaker == CALLER or ASKS_TO_WAIT.search(self.before.line) is not None


def spoken_in_order(call: Call) -> list[tuple[float, float, Turn]]:
    """The turns in which words were spoken, with begin and end, as they began."""
    timed = [
        (turn.start_s, turn.end_s, turn)
        for turn in call.turns
        if turn.start_s is not None and turn.end_s is not None and turn.words
    ]
    return sorted(timed, key=lambda one: (one[0], one[2].index))


def gaps(call: Call) -> Iterator[Gap]:
    """The stretches between the end of all speech and the next speech. A turn that is only a sound is no speech."""
    last: tuple[float, Turn] | None = None
    for start, end, turn in spoken_in_order(call):
        if last is not None and start > last[0]:
            yield Gap(round(start - last[0], 2), last[1], turn)
        if last is None or end > last[0]:
            last = (end, turn)


class SilenceOptions(Options):
    """Options of agent_silence."""

    at_least: Span = timedelta(seconds=8)
    """The shortest silence that counts."""


@detector(version=1, kind="agent_silence", timing=Timing.ESTIMATED, options=SilenceOptions)
def agent_silence(call: Call, options: SilenceOptions) -> Iterator[Finding]:
    """The agent is silent for `at_least` (8 s) or longer where it was to speak.

    A silence runs from the end of all speech to the next speech, which is the agent's. The agent was to speak after a
    turn of the caller, or after it asked to wait. The caller's own pauses do not count, and turns that are only sounds
    are no speech.
    Times: exact (of the source, or of the recording where another detector reads it), or estimated (from each turn's begin
    at three words a second), which is for review alone.
    """
    for gap in gaps(call):
        if gap.is_of_agent and gap.seconds >= options.at_least.total_seconds():
            about = "about " if call.timing is Timing.ESTIMATED else ""
            note = f"The agent was silent for {about}{gap.seconds:.1f} s before this turn."
            yield Finding(gap.after, first_words(gap.after), note)


class LatencyOptions(Options):
    """Options of answer_latency."""

    at_least: Span = timedelta(seconds=5)
    """What the 95th percentile of the answers has to reach."""
    answers: Annotated[int, Field(ge=2)] = 4
    """Answers that a call has to have for its percentile to mean something."""


def answers(call: Call) -> list[Gap]:
    """The stretches between the caller's words and the agent's answers. An answer that comes while the caller still speaks
    is none."""
    return [gap for gap in gaps(call) if gap.is_answer]


def percentile_95(values: list[float]) -> float:
    """The 95th percentile of two values or more, between neighbours in proportion."""
    return statistics.quantiles(values, n=20, method="inclusive")[-1]


@detector(version=1, kind="answer_latency", timing=Timing.ESTIMATED, options=LatencyOptions)
def answer_latency(call: Call, options: LatencyOptions) -> Iterator[Finding]:
    """The agent answers late throughout: the 95th percentile of its answers' delays is `at_least` (5 s) or more.

    A delay runs from the end of all speech, the caller's last, to the agent's next speech. Calls with fewer than `answers`
    (4) answers have no percentile. One finding a call, on the latest answer.
    Times: exact (of the source, or of the recording where another detector reads it), or estimated (from each turn's begin
    at three words a second), which is for review alone.
    """
    found = answers(call)
    if len(found) < options.answers:
        return
    high = percentile_95([gap.seconds for gap in found])
    if high >= options.at_least.total_seconds():
        latest = max(found, key=lambda gap: gap.seconds)
        median = statistics.median(gap.seconds for gap in found)
        note = (
            f"Answers take {high:.1f} s at the 95th percentile and {median:.1f} s at the median "
            f"({amount(len(found), 'answer')}); this one took {latest.seconds:.1f} s."
        )
        yield Finding(latest.after, first_words(latest.after), note)


class TalkOverOptions(Options):
    """Options of talk_over."""

    at_least: Span = timedelta(seconds=0.5)
    """The shortest overlap that counts."""
    words: Annotated[int, Field(ge=1)] = 2
    """Words that each of the two turns has to have: a "yes" in between is no interruption."""
    by: Literal["agent", "caller", "any"] = "any"
    """Who begins to speak while the other one speaks."""


@detector(version=1, kind="talk_over", timing=Timing.EXACT, options=TalkOverOptions)
def talk_over(call: Call, options: TalkOverOptions) -> Iterator[Finding]:
    """Two sides speak at once for `at_least` (0.5 s) or longer, each with `words` (2) or more.

    The finding is on the turn that begins later, which is the one that cuts in. A turn is taken to be spoken from its begin
    to its end: where a source joins what somebody said before and after a pause, an answer into the pause counts, too.
    Times: exact alone; each side has to be heard by itself (stereo), or the source cannot know that both spoke.
    """
    last: dict[str, tuple[float, Turn]] = {}
    for start, end, turn in spoken_in_order(call):
        if turn.words < options.words or turn.speaker not in (AGENT, CALLER):
            continue
        other = last.get(CALLER if turn.speaker == AGENT else AGENT)
        overlap = 0.0 if other is None else min(end, other[0]) - start
        if other is not None and overlap >= options.at_least.total_seconds() and options.by in ("any", turn.speaker):
            note = f"The {turn.speaker} speaks for {overlap:.1f} s while the {other[1].speaker} speaks."
            yield Finding(turn, first_words(turn), note)
        if turn.speaker not in last or end > last[turn.speaker][0]:
            last[turn.speaker] = (end, turn)
