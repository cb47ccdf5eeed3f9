"""The rules `agent_silence`, `answer_latency` and `talk_over`: they use the times of turns."""

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
from calltriage.pipelines.findings import Finding, Measure

ASKS_TO_WAIT = re.compile(
    r" (?:(?:one|a|just a|just one) (?:second|sec|moment|minute)|hold on|please hold|bear with me|let me (?:\w+ ){0,2}"
    r"(?:check|look|see|pull|find|get)|(?:ill|i will) (?:check|look|see|find)|checking|looking) "
)
"""Matches a line (see `Turn.line`) in which the agent asks to wait. The silence after it is the agent's."""


@dataclass(frozen=True)
class Gap:
    """A time in which nobody speaks.

    Attributes:
        seconds: its length.
        before: the turn at whose end it begins.
        after: the turn at whose begin it ends.
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
        """Whether it was the agent's turn to speak: after the caller, or after the agent asked to wait."""
        if self.after.speaker != AGENT:
            return False
        return self.before.speaker == CALLER or ASKS_TO_WAIT.search(self.before.line) is not None


def spoken_in_order(call: Call) -> list[tuple[float, float, Turn]]:
    """Begin, end and turn of each turn with spoken words, ordered by begin."""
    timed = [
        (turn.start_s, turn.end_s, turn)
        for turn in call.turns
        if turn.start_s is not None and turn.end_s is not None and turn.has_words
    ]
    return sorted(timed, key=lambda one: (one[0], one[2].index))


def gaps(call: Call) -> Iterator[Gap]:
    """The times without speech between spoken turns. A turn that is only a sound is no speech."""
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
    """The agent is silent for `at_least` (8 s) or longer when it is its turn to speak.

    A silence runs from the end of all speech to the agent's next speech. It is the agent's turn after a turn of the caller,
    and after the agent asked to wait. Pauses of the caller do not count. Turns that are only sounds are no speech.
    Times: exact (of the source, or of the corrected transcript if another detector reads it); or estimated (from each turn's
    begin at three words a second), for review only.
    """
    for gap in gaps(call):
        if gap.is_of_agent and gap.seconds >= options.at_least.total_seconds():
            about = "about " if call.timing is Timing.ESTIMATED else ""
            note = f"The agent was silent for {about}{gap.seconds:.1f} s before this turn."
            yield Finding(gap.after, first_words(gap.after), note)


class LatencyOptions(Options):
    """Options of answer_latency."""

    at_least: Span = timedelta(seconds=5)
    """Least 95th percentile of the answers' delays."""
    answers: Annotated[int, Field(ge=2)] = 4
    """Least number of answers: with fewer, a percentile means little."""


def answers(call: Call) -> list[Gap]:
    """The gaps between the caller's words and the agent's answers. An answer during the caller's speech has no gap."""
    return [gap for gap in gaps(call) if gap.is_answer]


def percentile_95(values: list[float]) -> float:
    """The 95th percentile of at least two values, with linear interpolation."""
    return statistics.quantiles(values, n=20, method="inclusive")[-1]


@detector(version=1, kind="answer_latency", timing=Timing.ESTIMATED, options=LatencyOptions)
def answer_latency(call: Call, options: LatencyOptions) -> Iterator[Finding | Measure]:
    """The agent answers late: the 95th percentile of its answers' delays is `at_least` (5 s) or more.

    A delay runs from the end of all speech, where the caller spoke last, to the agent's next speech. Calls with fewer than
    `answers` (4) answers have no finding and no measure. One finding for a call, on the answer with the longest delay.
    Measures: `median` and `percentile_95` of the delays, in seconds.
    Times: exact (of the source, or of the corrected transcript if another detector reads it); or estimated (from each turn's
    begin at three words a second), for review only.
    """
    found = answers(call)
    if len(found) < options.answers:
        return
    delays = [gap.seconds for gap in found]
    median, high = statistics.median(delays), percentile_95(delays)
    yield Measure("median", round(median, 3), "s")
    yield Measure("percentile_95", round(high, 3), "s")
    if high >= options.at_least.total_seconds():
        latest = max(found, key=lambda gap: gap.seconds)
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
    """Least words of each of the two turns: a short "yes" is no interruption."""
    by: Literal["agent", "caller", "any"] = "any"
    """Who interrupts."""


@detector(version=1, kind="talk_over", timing=Timing.EXACT, options=TalkOverOptions)
def talk_over(call: Call, options: TalkOverOptions) -> Iterator[Finding]:
    """Both sides speak at the same time for `at_least` (0.5 s) or longer, each in a turn of `words` (2) words or more.

    The finding is on the turn that begins later, which interrupts. A turn counts as speech from its begin to its end. If a
    source joins words before and after a pause into one turn, an answer in the pause counts, too.
    Times: exact only. The source must record each side by itself (stereo), or it cannot know that both spoke.
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
