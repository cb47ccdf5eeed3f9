"""A call as detectors see it: who said what and when, how good the times are, and what the vendor noted beside it."""

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
"""How fast a turn whose end nobody noted is taken to be spoken."""
FEW_WORDS = 2
"""Words of a turn that may be a sound that was taken for words: the recording need not have them."""
UNSEEN = {"recording_url", "updated_at", "transcripts", "concatenated_transcript", "metadata", "call_id"}
"""Fields of a call that detectors do not get in its record: those that change from one reading to the next though the call
does not (a signed link is new each time), and those that the view has under names of its own."""


@dataclass(frozen=True)
class Call:
    """A settled call.

    Attributes:
        call_id: the vendor's.
        began, ended: instants, where they are known.
        metadata: what its maker attached to it.
        record: the vendor's fields beside; see UNSEEN for what is not among them.
        turns: the live transcript.
        timing: how good the turns' times are.
        corrected: the transcript redone from the recording, None where it was not asked for or there is none.
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
    def content_hash(self) -> str:
        """What detectors see, as one SHA-256: it changes when they may find something else."""
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
        """A fact by its name, or by a path of names with dots between: of the metadata, else of the vendor's record."""
        for facts in (self.metadata, self.record):
            found: object = facts.get(name) if name in facts else _inside(facts, name.split("."))
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
    """A call that was read, and, if it was read, too, what its recording says. Where the recording's lines have times, and
    the turns have none that are exact, the turns get those of the lines that hold their words."""
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
    """The lines of a transcript redone from the recording, as turns."""
    lines = corrected.corrected
    return tuple(
        Turn(index, side_of(line.speaker_label or line.speaker), line.text, line.start, line.end)
        for index, line in enumerate(lines)
    )


def side_of(speaker: object) -> str:
    """How a speaker is called here: by their side where the source's word is known, else by the source's word."""
    return _side(speaker) if isinstance(speaker, str) else _side_of(speaker)


def _side_of(speaker: object) -> str:
    if is_of(speaker, AGENT):
        return AGENT
    if is_of(speaker, CALLER):
        return CALLER
    return folded(str(speaker))[:64] if speaker not in (None, "") else UNKNOWN


_side = lru_cache(maxsize=500)(_side_of)
"""The same for a word: the turns of calls have few of them."""


def _turn(index: int, turn: VendorTurn, began: datetime | None) -> Turn:
    start, lasted = turn.at_s(began), turn.for_s()
    end = None if start is None or lasted is None else round(start + lasted, 3)
    return Turn(index, side_of(turn.user), turn.text, start, end)


def _timed(turns: tuple[Turn, ...]) -> tuple[tuple[Turn, ...], Timing]:
    """The turns with the ends that can be told, and how good their times are."""
    spoken = [turn for turn in turns if turn.words]
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
    """A turn whose end is estimated; nobody is taken to speak on when the next turn begins."""
    if turn.start_s is None:
        return replace(turn, end_s=None)
    end = turn.start_s + turn.words / WORDS_A_SECOND
    return replace(turn, end_s=round(end if next_start is None else min(end, next_start), 3))


def _times_of(turns: tuple[Turn, ...], redone: tuple[Turn, ...]) -> tuple[Turn, ...] | None:
    """The turns with the times of the lines that hold their words; None where that cannot be told of each of them."""
    if any(line.words and (line.start_s is None or line.end_s is None) for line in redone):
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
