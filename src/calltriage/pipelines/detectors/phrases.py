"""The rules `required`, `forbidden` and `before`: phrases that must be said, must not be said, or must be said first."""

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
"""Events that `then` may name, and the call's field with the time of each."""
Side = Literal["agent", "caller", "any"]


class RequiredOptions(Options):
    """Options of required."""

    phrases: Several
    speaker: Side = "agent"
    within: Span | None = None
    """Time since the call's begin within which it must be said; None: the whole call."""
    within_turns: Annotated[int, Field(ge=1)] | None = None
    """Number of turns of this side within which it must be said; None: all."""
    if_turns: Annotated[int, Field(ge=1)] = 2
    """Least turns of this side: shorter calls are not checked."""

    @property
    def needs(self) -> Timing:
        return Timing.NONE if self.within is None else Timing.ESTIMATED


@detector(version=2, kind="required", options=RequiredOptions)
def required(call: Call, options: RequiredOptions) -> Iterator[Finding]:
    """`speaker` (agent) says none of `phrases` in the call, within its first `within` seconds, or within the side's first
    `within_turns` turns.

    Whole words are compared; case and punctuation do not count. The finding is on the last turn in which the phrase could
    have been said; on the side's first turn, if that begins after `within`. Calls with fewer than `if_turns` (2) turns of
    that side, and calls that ended before `within`, have none.
    Times: needed for `within` only; findings by estimated times are for review only.
    """
    spoken = [turn for turn in turns_of(call, options.speaker) if turn.has_words]
    if len(spoken) < options.if_turns or not _lasted(call, options):
        return
    due = _due(spoken, options)
    wanted = phrases(*options.phrases)
    last = due[-1] if due else next((turn for turn in spoken if turn.start_s is not None), None)
    if last is not None and not any(wanted.found(turn) for turn in due):
        note = f"The {_who(options.speaker)} never says what has to be said{_until(options)}: {options.phrases[0]}."
        yield Finding(last, first_words(last), note)


def _due(spoken: Sequence[Turn], options: RequiredOptions) -> Sequence[Turn]:
    """The turns that may have the phrase; none if the side says nothing within the time."""
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
    """Phrases that excuse a forbidden one in the same turn."""


@detector(version=1, kind="forbidden", options=ForbiddenOptions)
def forbidden(call: Call, options: ForbiddenOptions) -> Iterator[Finding]:
    """`speaker` (agent) says one of `phrases`, and none of `unless` in the same turn.

    Whole words are compared; case and punctuation do not count. One finding for each such turn, which quotes the phrase.
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
    """Something happens (`then`: a phrase, or `event:transfer`), and none of `first` was said before it.

    Examples: verification before a transfer, a disclosure before a payment. A turn with phrases of both is right. For a
    transfer, the turns before `transferred_at` count if their times are known, else all turns.
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
    """Whether a turn is the last one before an event of `then`."""
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
