"""A call as detectors see it: its turns, how exact their times are, and the vendor's other fields."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property, lru_cache

from calltriage.leaves.instants import instant
from calltriage.leaves.strict_json import JsonObject
from calltriage.matching.folding import folded
from calltriage.matching.numbers import language_of
from calltriage.matching.speakers import is_of
from calltriage.operations.calls import Call as VendorCall
from calltriage.operations.calls import CorrectedTranscript
from calltriage.operations.calls import Turn as VendorTurn
from calltriage.pipelines.alignment import aligned
from calltriage.pipelines.turns import AGENT, CALLER, UNKNOWN, Timing, Turn

WORDS_A_SECOND = 3
"""Assumed speed of speech, to estimate the end of a turn whose end is not known."""
FEW_WORDS = 2
"""A turn with so few words may be a misheard sound. It need not have a match in the corrected transcript."""
UNSEEN = {"recording_url", "updated_at", "transcripts", "concatenated_transcript", "metadata", "call_id"}
"""Fields that `Call.record` leaves out: those that change although the call does not (a signed link is new each time), and
those that Call has as members of its own."""


@dataclass(frozen=True)
class Call:
    """A settled call.

    Attributes:
        call_id: the vendor's.
        began, ended: instants; None where they are not known.
        metadata: what the customer attached to the call.
        record: the vendor's other fields, without UNSEEN.
        turns: the live transcript.
        timing: how exact the turns' times are.
        corrected: the transcript made from the recording; None if it was not asked for or there is none.
    """

    call_id: str
    began: datetime | None = None
    ended: datetime | None = None
    metadata: JsonObject = field(default_factory=dict[str, object])
    record: JsonObject = field(default_factory=dict[str, object])
    turns: tuple[Turn, ...] = ()
    timing: Timing = Timing.NONE
    corrected: tuple[Turn, ...] | None = None

    @cached_property
    def agent_turns(self) -> tuple[Turn, ...]:
        return tuple(turn for turn in self.turns if turn.speaker == AGENT)

    @cached_property
    def caller_turns(self) -> tuple[Turn, ...]:
        return tuple(turn for turn in self.turns if turn.speaker == CALLER)

    @cached_property
    def language(self) -> str:
        """The language of its numbers; see `numbers.language_of`."""
        return language_of(turn.text for turn in self.turns)

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 (hexadecimal) of all that detectors see."""
        seen = {
            "call": self.call_id,
            "began": str(self.began),
            "ended": str(self.ended),
            "metadata": self.metadata,
            "record": self.record,
            "turns": _plain(self.turns),
            "corrected": None if self.corrected is None else _plain(self.corrected),
        }
        text = json.dumps(seen, sort_keys=True, separators=(",", ":"), default=str)
        return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()

    def value(self, name: str) -> object:
        """A field of the metadata, else of the record, by its name or a path such as `a.b`; `metadata.a` names one of the
        metadata, too. None if there is none."""
        own = name.removeprefix("metadata.")
        for facts, named in ((self.metadata, name), (self.record, name), (self.metadata, own)):
            found: object = facts.get(named) if named in facts else _inside(facts, named.split("."))
            if found is not None:
                return found
        return None


def _plain(turns: Sequence[Turn]) -> list[list[object]]:
    return [[turn.speaker, turn.text, turn.start_s, turn.end_s] for turn in turns]


def _inside(value: object, path: list[str]) -> object:
    for name in path:
        if not isinstance(value, dict):
            return None
        value = value.get(name)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  JSON
    return value  # pyright: ignore[reportUnknownVariableType]


def view_of(call: VendorCall, corrected: CorrectedTranscript | None = None) -> Call:
    """The detectors' view of a call and, if it was read, of its corrected transcript.

    Turns without exact times get the times of the matching lines of the corrected transcript, if those have times.
    """
    began = call.began
    turns = tuple(_turn(index, turn, began) for index, turn in enumerate(call.transcripts or []))
    turns, timing = _timed(turns)
    redone = None if corrected is None else corrected_turns(corrected)
    if redone and timing is not Timing.EXACT and (heard := _times_of(turns, redone)) is not None:
        turns, timing = heard, Timing.EXACT
    record = call.model_dump(mode="json", exclude=UNSEEN)
    return Call(
        call_id=call.call_id,
        began=began,
        ended=_ended(call, began),
        metadata=call.metadata or {},
        record={**record, "recorded": bool(call.recording_url)},
        turns=turns,
        timing=timing,
        corrected=redone,
    )


def corrected_turns(corrected: CorrectedTranscript) -> tuple[Turn, ...]:
    """The lines of a corrected transcript as turns."""
    lines = corrected.corrected
    return tuple(
        Turn(index, side_of(line.speaker_label or line.speaker), line.text, line.start, line.end)
        for index, line in enumerate(lines)
    )


def side_of(speaker: object) -> str:
    """A speaker's side, AGENT or CALLER, if the source's word for it is known; else that word, folded; else UNKNOWN."""
    return _side(speaker) if isinstance(speaker, str) else _side_of(speaker)


def _side_of(speaker: object) -> str:
    if is_of(speaker, AGENT):
        return AGENT
    if is_of(speaker, CALLER):
        return CALLER
    return folded(str(speaker))[:64] if speaker not in (None, "") else UNKNOWN


_side = lru_cache(maxsize=500)(_side_of)
"""`_side_of` for texts, cached: calls have few different ones."""


def _turn(index: int, turn: VendorTurn, began: datetime | None) -> Turn:
    start, lasted = turn.at_s(began), turn.for_s()
    end = None if start is None or lasted is None else round(start + lasted, 3)
    return Turn(index, side_of(turn.user), turn.text, start, end)


def _timed(turns: tuple[Turn, ...]) -> tuple[tuple[Turn, ...], Timing]:
    """The turns with known or estimated ends, and how exact their times are."""
    spoken = [turn for turn in turns if turn.has_words]
    starts = [turn.start_s for turn in spoken if turn.start_s is not None]
    if not spoken or len(starts) < len(spoken) or (len(starts) > 1 and len(set(starts)) == 1):
        return tuple(replace(turn, start_s=None, end_s=None) for turn in turns), Timing.NONE
    if all(turn.end_s is not None for turn in spoken):
        return turns, Timing.EXACT
    if starts != sorted(starts):
        return tuple(replace(turn, start_s=None, end_s=None) for turn in turns), Timing.NONE
    later = dict(zip((turn.index for turn in spoken), starts[1:], strict=False))
    return tuple(_with_end(turn, later.get(turn.index)) for turn in turns), Timing.ESTIMATED


def _with_end(turn: Turn, next_start: float | None) -> Turn:
    """A turn with an estimated end, at the latest when the next turn begins."""
    if turn.start_s is None:
        return replace(turn, end_s=None)
    end = turn.start_s + turn.words / WORDS_A_SECOND
    return replace(turn, end_s=round(end if next_start is None else min(end, next_start), 3))


def _times_of(turns: tuple[Turn, ...], redone: tuple[Turn, ...]) -> tuple[Turn, ...] | None:
    """The turns with the times of their matching lines; None if a turn with more than FEW_WORDS has no match."""
    if any(line.has_words and (line.start_s is None or line.end_s is None) for line in redone):
        return None
    language = language_of(line.text for line in redone)
    times = dict[int, tuple[float, float]]()
    words_alone = [_at(turn, None, None) for turn in turns]  # the turns' own times are what is in doubt
    for own, lines in aligned(words_alone, redone, language) or ():
        spans = [(line.start_s, line.end_s) for line in lines if line.start_s is not None and line.end_s is not None]
        if len(own) == 1 and spans:
            times[own[0].index] = min(start for start, _ in spans), max(end for _, end in spans)
    if not times or any(turn.words > FEW_WORDS and turn.index not in times for turn in turns):
        return None
    return tuple(_at(turn, *times.get(turn.index, (None, None))) for turn in turns)


def _at(turn: Turn, start: float | None, end: float | None) -> Turn:
    return replace(turn, start_s=start, end_s=end)


def _ended(call: VendorCall, began: datetime | None) -> datetime | None:
    said = (call.model_extra or {}).get("end_at")
    if isinstance(said, str) and (ended := instant(said)):
        return ended
    if began is None or call.call_length is None or not 0 <= call.call_length < 10**6:
        return None
    return began + timedelta(minutes=call.call_length)
