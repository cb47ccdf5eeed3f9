"""Calls and what was said in them (bland-triage, section 6, "What a link points at")."""

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Annotated, ClassVar, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from calltriage.leaves.strict_json import JsonObject
from calltriage.matching.speaker_marks import by_lines
from calltriage.operations.base import Effect, Operation
from calltriage.operations.fields import TEXT, CallId, Cursor, Form, RecordedCallId, Several, WireOnly, Word
from calltriage.operations.results import Result


class Turn(Result, origin="call parties"):
    """One turn of a call's transcript; vendors add fields, which are kept."""

    model_config = ConfigDict(extra="allow")
    counted_by: ClassVar[str | None] = "text"

    user: str | None = None
    """Speaker: user, assistant, robot, agent-action; others may come."""
    text: str = ""
    created_at: str | None = None
    start_ms: float | None = None
    """Milliseconds from the call's start."""
    end_ms: float | None = None
    duration_ms: float | None = None

    def at_s(self, began: datetime | None) -> float | None:
        """Seconds from the call's start to the turn's start: from `start_ms`, else from `created_at` and `began`. None if
        neither is known."""
        if self.start_ms is not None:
            return _seconds(self.start_ms)
        spoken = _instant(self.created_at, None if began is None else began.tzinfo)
        return None if spoken is None or began is None else _seconds((spoken - began) / timedelta(milliseconds=1))

    def for_s(self) -> float | None:
        """Seconds that the turn lasted; None if that is not known."""
        if self.duration_ms is not None:
            return _seconds(self.duration_ms)
        return None if self.start_ms is None or self.end_ms is None else _seconds(self.end_ms - self.start_ms)


LONGEST_CALL_S = 10**7
"""A time of this many seconds or more is an error (our choice)."""


def _seconds(milliseconds: float) -> float | None:
    return round(milliseconds / 1000, 2) if 0 <= milliseconds < LONGEST_CALL_S * 1000 else None


def _instant(text: str | None, zone: tzinfo | None = None) -> datetime | None:
    """The instant in a text. Text without an offset is in `zone`, or in UTC. None if the text is no instant."""
    try:
        found = datetime.fromisoformat(text or "")
        return found if found.tzinfo else found.replace(tzinfo=zone or UTC)
    except ValueError:
        return None


class Call(Result, origin="call parties"):
    """A call as the API answers it; everything but the id may be missing, further fields are kept."""

    model_config = ConfigDict(extra="allow")

    call_id: str = Field(validation_alias=AliasChoices("call_id", "c_id"))
    """Older answers have it under `c_id` alone."""
    created_at: str | None = None
    started_at: str | None = None
    call_length: float | None = None
    """Minutes."""
    status: str | None = None
    summary: str | None = None
    transcripts: list[Turn] | None = None
    """A flag's `message_index` is a place in this list, from 0. If the API sends no turns, `concatenated_transcript` is
    split at its speaker marks; see `transcript_source`."""
    concatenated_transcript: str | None = None
    recording_url: str | None = None
    transcript_source: str | None = None
    """CONCATENATED if the turns were split out of one text."""
    metadata: JsonObject | None = None

    @model_validator(mode="after")
    def _split(self) -> Self:
        if not self.transcripts and self.concatenated_transcript:
            turns = by_lines(self.concatenated_transcript)
            self.transcripts = [Turn(user=speaker, text=text) for speaker, text in turns]
            self.transcript_source = CONCATENATED
        return self

    @property
    def began(self) -> datetime | None:
        """When it started: `started_at`, else `created_at`. None if neither can be read."""
        return _instant(self.started_at) or _instant(self.created_at)

    @property
    def is_split(self) -> bool:
        """Whether its turns were split out of one text, here or when it was imported."""
        return CONCATENATED in (self.transcript_source, (self.metadata or {}).get("transcript_source"))


CONCATENATED = "concatenated_transcript"


class GetCall(Operation[Call], http="GET /v1/calls/{call_id}", effect=Effect.READ, envelope=False):
    """Read one call with its transcript."""

    call_id: CallId = Field(description="The call.")


class CallList(Result, origin="call parties"):
    """Rows of calls without transcripts."""

    total_count: int | None = None
    """Matches overall; may be missing."""
    count: int | None = None
    calls: list[Call]


A_DAY = "must be a day of the calendar (YYYY-MM-DD)"
A_ZONE = "must be an IANA time zone, such as Europe/Berlin"
A_DAY_OR_INSTANT = f"{A_DAY} or an instant in ISO 8601, such as 2026-05-06T21:09:57Z"


def _day(value: str) -> str:
    try:
        datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(A_DAY if len(value) <= 10 else A_DAY_OR_INSTANT) from None
    return value


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ValueError, OSError, ZoneInfoNotFoundError):
        if available_timezones():  # a machine without the database leaves it to the API
            raise ValueError(A_ZONE) from None
    return value


Day = Annotated[
    str,
    StringConstraints(max_length=40),
    Form(r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9:.]+(Z|[+-][0-9:]+)?)?$", A_DAY_OR_INSTANT),
    AfterValidator(_day),
]
"""A day (YYYY-MM-DD) or an instant."""
OneDay = Annotated[
    str, StringConstraints(max_length=10), Form(r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", A_DAY), AfterValidator(_day)
]
Zone = Annotated[
    str,
    StringConstraints(max_length=64),
    Form(r"^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$", A_ZONE),
    AfterValidator(_zone),
]
"""An IANA time zone."""


ShortWord = Annotated[Word, StringConstraints(max_length=32)]


class CallFilters(BaseModel):
    """Which calls are meant, whether they are listed or searched. Several values of a filter: any of them."""

    start_date: Day | None = Field(default=None, description="From this day or instant on.")
    end_date: Day | None = Field(default=None, description="Up to this day or instant.")
    from_number: Several[ShortWord] | None = None
    to_number: Several[ShortWord] | None = None
    completed: bool | None = None
    inbound: bool | None = None
    answered_by: Several[ShortWord] | None = None
    batch_id: Several[Word] | None = None
    duration_gt: Annotated[float, Field(ge=0, le=10**6)] | None = Field(default=None, description="Minutes.")
    duration_lt: Annotated[float, Field(ge=0, le=10**6)] | None = Field(default=None, description="Minutes.")


class ListCalls(CallFilters, Operation[CallList], http="GET /v1/calls", effect=Effect.READ, envelope=False):
    """List calls, newest first, without their transcripts."""

    from_: Annotated[int, Field(ge=0, le=10**9)] | None = Field(
        default=None, alias="from", description="First row, from 0."
    )
    to: Annotated[int, Field(ge=0, le=10**9)] | None = Field(default=None, description="Row to stop before.")
    limit: Annotated[int, Field(ge=1, le=1000)] | None = Field(default=None, description="Rows, at most 1000.")
    ascending: bool | None = Field(default=None, description="Oldest first.")
    sort_by: Literal["created_at", "updated_at"] | None = None
    created_at: Annotated[OneDay | None, WireOnly()] = Field(default=None, description="This day alone.")
    timezone: Annotated[Zone | None, WireOnly()] = Field(default=None, description="Zone of days; default UTC.")
    update_start_date: Annotated[OneDay | None, WireOnly()] = Field(default=None, description="Changed since this day.")
    update_end_date: Annotated[OneDay | None, WireOnly()] = Field(default=None, description="Changed up to this day.")
    campaign_id: Several[Word] | None = None


class SaidTurn(Result, origin="call parties"):
    """A turn in which searched words were said."""

    message_index: int | None = None
    user: str | None = None
    text: str = ""
    offset: int | None = None
    """Characters of the turn before the part that is shown."""


class FoundCall(Call, origin="call parties"):
    """A call that holds the words of a search."""

    issues: list[str] | None = None
    """Tickets of the issues that it is attached to."""
    matches: int | None = None
    """Turns that hold at least one of the words."""
    turns: list[SaidTurn] | None = None
    """Some of those turns; the ones with most of the words come first."""


class FoundCalls(Result, origin="call parties"):
    """Calls in which words were said, newest first."""

    calls: list[FoundCall]
    examined: int | None = None
    """Calls that were looked at for this page."""
    near_words: list[str] | None = None
    """Words of the newest calls that are like the searched ones. Only if `near` asks for them and no call was found."""
    next_cursor: str | None = None


class SearchCalls(
    CallFilters, Operation[FoundCalls], http="GET /v1/calltriage/calls", effect=Effect.READ, envelope=False
):
    """Find calls by words that were said in them, newest first. The desk's own: no vendor has it."""

    query: Annotated[str, StringConstraints(min_length=1, max_length=200), TEXT] = Field(
        description="Words, in any order."
    )
    speaker: Annotated[Word, StringConstraints(max_length=64)] | None = Field(
        default=None, description="Only what this side said."
    )
    number: ShortWord | None = Field(default=None, description="Of either side.")
    timezone: Zone | None = Field(default=None, description="Zone of days; default UTC.")
    near: bool | None = Field(default=None, description="If nothing is found, name words like those of the query.")
    limit: Annotated[int, Field(ge=1, le=100)] | None = Field(default=None, description="Rows, default 20.")
    cursor: Cursor | None = Field(default=None, description="next_cursor of the page before; keep the filters.")

    def filters(self) -> ListCalls:
        """The list of calls that is searched."""
        ours = {"query", "speaker", "number", "near", "limit", "cursor"}
        return ListCalls.model_validate(self.model_dump(exclude=ours, exclude_none=True))


class CorrectedLine(Result, origin="call parties"):
    """One line of a transcript redone from the recording; vendors add fields, which are kept."""

    model_config = ConfigDict(extra="allow")

    start: float | None = None
    """Seconds from the call's beginning."""
    end: float | None = None
    speaker: int | str | None = None
    speaker_label: str | None = None
    confidence: float | None = None
    """From 0 to 1."""
    text: str = ""


class CorrectedTranscript(Result, origin="call parties"):
    """The transcript redone from the recording."""

    status: str | None = None
    message: str | None = None
    corrected: list[CorrectedLine]


class GetCorrectedTranscript(
    Operation[CorrectedTranscript], http="GET /v1/calls/{call_id}/correct", effect=Effect.READ, envelope=False
):
    """Read the transcript redone from the recording; it needs one."""

    call_id: RecordedCallId = Field(description="The call.")


class PathwayEvent(Result, origin="call parties"):
    """One event of a pathway call; order by `sequence`, gaps are normal."""

    conversation_id: str = ""
    sequence: int | None = None
    event_type: str = ""
    node_id: str | None = None
    """Node active then: what a flag takes as node_id."""
    operation_id: int | None = None
    payload: JsonObject | None = None
    created_at: str = ""


class GetPathwayCallEvents(
    Operation[list[PathwayEvent]], http="GET /v1/pathway_calls/{call_id}", effect=Effect.READ, envelope=False
):
    """Read the node-by-node timeline of a pathway call."""

    call_id: CallId = Field(description="The call.")
    v: Literal["2"] = "2"


class GetCallRecording(Operation[None], http="GET /v1/recordings/{call_id}", effect=Effect.READ, envelope=False):
    """Read a call's audio: bytes, which the catalogue's results do not hold (client/recordings.py)."""

    call_id: RecordedCallId = Field(description="The call.")


class CallEvent(Result, origin="the telephone platform"):
    """One event of the platform that carried a call; vendors add fields, which are kept."""

    model_config = ConfigDict(extra="allow")

    timestamp: str | None = None
    level: str | None = None
    """queue or call."""
    category: str | None = None
    """info, performance or error."""
    message: str = ""


class CallEventStream(Result, origin="the telephone platform"):
    """The events of a call. The contract has a bare list; newer pages of the vendor's have an object around it."""

    bare: ClassVar[str | None] = "event_stream_data"

    event_stream_data: list[CallEvent]


class GetCallEventStream(
    Operation[CallEventStream], http="GET /v1/event_stream/{call_id}", effect=Effect.READ, envelope=False
):
    """Read what happened to a call on the telephone platform."""

    call_id: CallId = Field(description="The call.")
