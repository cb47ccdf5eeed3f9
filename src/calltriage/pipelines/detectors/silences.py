"""Silences: moments at which somebody waits for the agent."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from calltriage.matching.folding import loose_line
from calltriage.pipelines.calls import AGENT, CALLER, Call, Timing, Turn
from calltriage.pipelines.detecting import Options, detector
from calltriage.pipelines.durations import Seconds
from calltriage.pipelines.findings import Finding

ASKS_TO_WAIT = re.compile(
    r" (?:(?:one|a|just a|just one) (?:second|sec|moment|minute)|hold on|please hold|bear with me|let me (?:\w+ ){0,2}"
    r"(?:check|look|see|pull|find|get)|(?:ill|i will) (?:check|look|see|find)|checking|looking) "
)
"""The agent asks to wait, in a line without signs: the silence that follows is the agent's."""
SHOWN_WORDS = 12


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
        return self.before.speaker == CALLER or ASKS_TO_WAIT.search(loose_line(self.before.text)) is not None


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


def first_words(turn: Turn, most: int = SHOWN_WORDS) -> str:
    """The first words of a turn, as they stand in it."""
    text = turn.spoken.strip()
    ends = [found.end() for found in re.finditer(r"\S+", text)]
    shown = text[: ends[most - 1]] if len(ends) > most else text
    return shown if shown and shown in turn.text else turn.text.strip()


class SilenceOptions(Options):
    """Options of agent_silence."""

    at_least: Seconds = 8.0
    """The shortest silence that counts."""


@detector(version=1, kind="agent_silence", timing=Timing.ESTIMATED, options=SilenceOptions)
def agent_silence(call: Call, options: SilenceOptions) -> Iterator[Finding]:
    """The agent is silent for `at_least` (8 s) or longer where it was to speak.

    A silence runs from the end of all speech to the next speech, which is the agent's. The agent was to speak after a
    turn of the caller, or after it asked to wait. The caller's own pauses do not count, and turns that are only sounds
    are no speech.
    Times: exact, or estimated (from each turn's begin at three words a second), which is for review alone.
    """
    for gap in gaps(call):
        if gap.is_of_agent and gap.seconds >= options.at_least:
            about = "about " if call.timing is Timing.ESTIMATED else ""
            note = f"The agent was silent for {about}{gap.seconds:.1f} s before this turn."
            yield Finding(gap.after, first_words(gap.after), note)
