"""A turn of a call, and how exact the times of turns are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from calltriage.matching.folding import loose_line

AGENT, CALLER, UNKNOWN = "agent", "caller", "unknown"
_SOUND = re.compile(r"\[[^\]\n]{0,40}\]|<[^>\n]{0,40}>|\([^()\n]{0,40}\)$")
"""A mark of the transcript for a sound or for unclear words: `[noise]`, `<unk>`."""
_WORD = re.compile(r"\w[\w'’-]*")


line_of = lru_cache(maxsize=10_000)(loose_line)
"""`loose_line` of a text: its words without signs, accents and case. Cached, since several detectors need it."""


class Timing(StrEnum):
    """How exact the times of a call's turns are."""

    EXACT = "exact"
    """Begin and end of each spoken turn are measured."""
    ESTIMATED = "estimated"
    """The begin of each spoken turn is known; its end is estimated from the number of its words."""
    NONE = "none"

    def suffices(self, needed: Timing) -> bool:
        """Whether these times are at least as exact as `needed`."""
        return needed is Timing.NONE or self is needed or self is Timing.EXACT


@dataclass(frozen=True)
class Turn:
    """One turn.

    Attributes:
        index: place in the transcript, from 0; a flag's `message_index`.
        speaker: `agent`, `caller`, or the source's word for another speaker.
        text: as the transcript has it.
        start_s, end_s: seconds since the call's begin; see Call.timing. None where they are not known.
    """

    index: int
    speaker: str
    text: str
    start_s: float | None = None
    end_s: float | None = None

    @property
    def spoken(self) -> str:
        """The text without marks for sounds."""
        return _SOUND.sub(" ", self.text).strip() if "[" in self.text or "<" in self.text else self.text

    @property
    def words(self) -> int:
        """Number of spoken words; 0 for a turn that is only a sound."""
        return len(_WORD.findall(self.spoken))

    @property
    def has_words(self) -> bool:
        """Whether it has spoken words. Faster than their number."""
        return _WORD.search(self.spoken) is not None

    @property
    def line(self) -> str:
        """The spoken words without signs, accents and case, with a blank around each. Words are compared in this form."""
        return line_of(self.spoken)
