"""A turn of a call, and how well it is known when turns were spoken."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, lru_cache

from calltriage.matching.folding import loose_line

AGENT, CALLER, UNKNOWN = "agent", "caller", "unknown"
_SOUND = re.compile(r"\[[^\]\n]{0,40}\]|<[^>\n]{0,40}>|\([^()\n]{0,40}\)$")
"""A mark for a sound or for words that were not understood: `[noise]`, `<unk>`."""
_WORD = re.compile(r"\w[\w'’-]*")


line_of = lru_cache(maxsize=10_000)(loose_line)
"""The line of a text without signs and accents. Several detectors ask for that of one turn."""


class Timing(StrEnum):
    """How well it is known when turns began and ended."""

    EXACT = "exact"
    """Begin and end of each spoken turn were measured."""
    ESTIMATED = "estimated"
    """The begin of each spoken turn was noted; its end is estimated from its words."""
    NONE = "none"

    def suffices(self, needed: Timing) -> bool:
        """Whether what needs times as good as `needed` can use these."""
        order = (Timing.NONE, Timing.ESTIMATED, Timing.EXACT)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True)
class Turn:
    """One turn.

    Attributes:
        index: place in the transcript, from 0: what a flag takes as `message_index`.
        speaker: `agent`, `caller`, or what the source calls somebody else.
        text: as it was written down.
        start_s, end_s: seconds from the call's begin; see Call.timing.
    """

    index: int
    speaker: str
    text: str
    start_s: float | None = None
    end_s: float | None = None

    @cached_property
    def spoken(self) -> str:
        """The text without marks for sounds."""
        return _SOUND.sub(" ", self.text).strip() if "[" in self.text or "<" in self.text else self.text

    @cached_property
    def words(self) -> int:
        """How many words were spoken; 0 for a turn that is only a sound."""
        return len(_WORD.findall(self.spoken))

    @property
    def line(self) -> str:
        """What was spoken without signs, accents and case, a blank around each word: as words are compared."""
        return line_of(self.spoken)
