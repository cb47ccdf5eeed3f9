"""Phrases that have to be said, must not be said, or have to be said before something."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from calltriage.leaves.instants import instant
from calltriage.pipelines.calls import Call, Timing, Turn
from calltriage.pipelines.detecting import Options, detector
from calltriage.pipelines.detectors.wording import Phrase, Several, first_words, last_spoken, phrases, turns_of
from calltriage.pipelines.durations import Span
from calltriage.pipelines.findings import Finding

EVENTS = {"event:transfer": "transferred_at"}
"""What may come later besides a phrase, and the fact of the call that says when it came."""
Side = Literal["agent", "caller", "any"]


class RequiredOptions(Options):
    """Options of required."""

    phrases: Several
    speaker: Side = "agent"
    within: Span | None = None
    """Time from the call's begin in which it has to be said; without, the whole call."""
    within_turns: Annotated[int, Field(ge=1)] | None = None
    """Turns of this side in which it has to be said."""
    if_turns: Annotated[int, Field(ge=1)] = 2
    """Turns of this side that a call has to have: one that ended at once owes nothing."""

    @property
    def needs(self) -> Timing:
        return Timing.NONE if self.within is None else Timing.ESTIMATED


@detector(version=1, kind="required", options=RequiredOptions)
def required(call: Call, options: RequiredOptions) -> Iterator[Finding]:
    """None of `phrases` is said by `speaker` (agent): in the call, in its first `within` seconds or in its first
    `within_turns` turns of that side.

    Words count whole, case and signs do not. The finding is on the last turn in which it should have been said. A call with
    fewer than `if_turns` (2) turns of that side has none, and neither has one that ended before `within`.
    Times: needed for `within` alone; estimated ones are for review.
    """
    spoken = [turn for turn in turns_of(call, options.speaker) if turn.words]
    if len(spoken) < options.if_turns or not _lasted(call, options):
        return
    due = _due(spoken, options)
    wanted = phrases(*options.phrases)
    if due and not any(wanted.found(turn) for turn in due):
        note = f"The {_who(options.speaker)} never says what has to be said{_until(options)}: {options.phrases[0]}."
        yield Finding(due[-1], first_words(due[-1]), note)


def _due(spoken: Sequence[Turn], options: RequiredOptions) -> Sequence[Turn]:
    """The turns in one of which it has to be said."""
    if options.within is not None:
        spoken = [
            turn for turn in spoken if turn.start_s is not None and turn.start_s <= options.within.total_seconds()
        ]
    return spoken if options.within_turns is None else spoken[: options.within_turns]


def _lasted(call: Call, options: RequiredOptions) -> bool:
    if options.within is None:
        return True
    ends = [turn.end_s for turn in call.turns if turn.end_s is not None]
    return bool(ends) and max(ends) >= options.within.total_seconds()


def _who(speaker: str) -> str:
    return "call" if speaker == "any" else speaker


def _until(options: RequiredOptions) -> str:
    within = "" if options.within is None else f" in the first {options.within.total_seconds():g} s"
    return within + ("" if options.within_turns is None else f" in the first {options.within_turns} turns")


class ForbiddenOptions(Options):
    """Options of forbidden."""

    phrases: Several
    speaker: Side = "agent"
    unless: tuple[Phrase, ...] = ()
    """Phrases that make it right when they stand in the same turn."""


@detector(version=1, kind="forbidden", options=ForbiddenOptions)
def forbidden(call: Call, options: ForbiddenOptions) -> Iterator[Finding]:
    """`speaker` (agent) says one of `phrases`, and none of `unless` in the same turn.

    Words count whole, case and signs do not. A finding for each turn that says one, on its words.
    Times: none are needed.
    """
    wanted, excuses = phrases(*options.phrases), phrases(*options.unless)
    for turn in turns_of(call, options.speaker):
        found = wanted.found(turn)
        if found and not (options.unless and excuses.found(turn)):
            yield Finding(turn, found, f"The {_who(options.speaker)} says what must not be said.")


class BeforeOptions(Options):
    """Options of before."""

    first: Several
    then: Several
    """Phrases, or `event:transfer`."""
    speaker: Side = "agent"
    """Who has to say `first`."""
    then_speaker: Side = "agent"

    @model_validator(mode="after")
    def _known_events(self) -> Self:
        for phrase in self.then:
            if phrase.startswith("event:") and phrase not in EVENTS:
                raise ValueError(f"then knows the events {', '.join(EVENTS)}")
        return self


@detector(version=1, kind="before", options=BeforeOptions)
def before(call: Call, options: BeforeOptions) -> Iterator[Finding]:
    """Something happens (`then`: a phrase, or `event:transfer`) and none of `first` was said before it.

    Verification before a transfer, a disclosure before a payment. In one turn, `first` has to stand in it, too. For a
    transfer, the turns before `transferred_at` count where their times are known, else all turns.
    Times: none are needed; they make `event:transfer` exact.
    """
    first = phrases(*options.first)
    later = phrases(*(phrase for phrase in options.then if phrase not in EVENTS))
    for turn in call.turns:
        if options.speaker in ("any", turn.speaker) and first.found(turn):
            return
        is_of_side = options.then_speaker in ("any", turn.speaker)
        if later.wanted and is_of_side and (found := later.found(turn)):
            yield Finding(turn, found, f"Said before what has to come first: {options.first[0]}.")
            return
        if _is_last_before(call, turn, options):
            yield Finding(turn, first_words(turn), f"Transferred without what has to come first: {options.first[0]}.")
            return


def _is_last_before(call: Call, turn: Turn, options: BeforeOptions) -> bool:
    """Whether a turn is the last one before an event."""
    facts = [fact for event in options.then if (fact := EVENTS.get(event)) is not None]
    for fact in facts:
        at = call.value(fact)
        moment = instant(at) if isinstance(at, str) else None
        if moment is not None and turn is _last_before(call, moment):
            return True
    return False


def _last_before(call: Call, moment: datetime) -> Turn | None:
    if call.began is None or call.timing is Timing.NONE:
        return last_spoken(call.turns)
    seconds = (moment - call.began).total_seconds()
    return last_spoken(turn for turn in call.turns if turn.start_s is not None and turn.start_s <= seconds)
