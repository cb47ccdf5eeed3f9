"""Our own line of an import file: a call, an SMS conversation or a file. Every other format is translated into it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, tzinfo
from typing import Annotated, Literal, NotRequired

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictFloat,
    StrictInt,
    TypeAdapter,
    ValidationInfo,
)
from typing_extensions import TypedDict

from calltriage.leaves.instants import written
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.fields import TEXT, AttachmentId, AttachmentName, MediaType, Metadata, OpaqueId

EARLIEST_EPOCH = 10**8
"""The least number that counts as seconds since 1970: a day in 1973. A smaller one counts something else."""
LEAST_MILLISECONDS = 10**11


def _named_instant(value: object) -> object:
    """Text in ISO 8601, or the instant of a number since 1970. Raises ValueError for other values, also for a number in
    text: its unit is unknown."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return instant_of_number(value)
    if not isinstance(value, str) or not re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value) or len(value) > 40:
        raise ValueError("must be text in ISO 8601, or a number of seconds or milliseconds since 1970")
    return value


def instant_of_number(number: float) -> datetime:
    """The instant of seconds or milliseconds since 1970. A number from 10^11 on is milliseconds: as seconds it would be
    past the year 5138. Raises ValueError."""
    try:
        if abs(number) < EARLIEST_EPOCH:
            raise ValueError
        return datetime.fromtimestamp(number / 1000 if abs(number) >= LEAST_MILLISECONDS else number, UTC)
    except (ValueError, OverflowError, OSError):
        raise ValueError("must be seconds or milliseconds since 1970") from None


def _within_reach(value: datetime, info: ValidationInfo) -> datetime:
    """The time in UTC. One without a zone is in the zone of the validation's context. Raises ValueError outside 1900 to
    9990, so that later calculations stay inside the calendar."""
    aware = value if value.tzinfo else value.replace(tzinfo=zone_of(info))
    if not 1900 <= aware.year <= 9990:
        raise ValueError("must lie between the years 1900 and 9990")
    return aware.astimezone(UTC)


def zone_of(info: ValidationInfo) -> tzinfo:
    return info.context if isinstance(info.context, tzinfo) else UTC


Instant = Annotated[datetime, BeforeValidator(_named_instant), AfterValidator(_within_reach)]


instants: TypeAdapter[datetime] = TypeAdapter(Instant)


def _shown_instant(value: object, info: ValidationInfo) -> str:
    return written(instants.validate_python(value, context=zone_of(info)))


InstantText = Annotated[str, BeforeValidator(_shown_instant)]
"""An instant as text, in the form of the API."""
Short = Annotated[str, Field(max_length=256)]


def _id_as_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


NamedId = Annotated[OpaqueId, BeforeValidator(_id_as_text)]
"""An id of the source's. A whole number becomes its text."""


class TurnLine(BaseModel):
    """One turn of a call: who said what, and anything else, which is kept."""

    model_config = ConfigDict(extra="allow")

    speaker: Annotated[str, Field(min_length=1, max_length=64)] | StrictInt | StrictFloat | None
    """As the source names it: a role, a name, a channel's number, or null if it does not say."""
    text: str = Field(max_length=100_000)


class EventLine(TypedDict):
    """One event of the call's way through a pathway."""

    sequence: int
    event_type: str
    node_id: str | None
    operation_id: int | None
    payload: JsonObject | None
    created_at: InstantText


class CorrectedLine(TypedDict):
    """One line of the transcript redone from the recording; seconds from its start."""

    start: float
    end: float
    text: str
    speaker: NotRequired[int]
    speaker_label: NotRequired[str]
    confidence: NotRequired[float]


CallFacts = TypedDict(
    "CallFacts",
    {
        "from": Short | None, "to": Short | None, "completed": bool | None, "inbound": bool | None,
        "queue_status": Short | None, "error_message": Short | None, "answered_by": Short | None,
        "batch_id": Short | None, "campaign_id": Short | None, "pathway_id": Short | None,
    },
    total=False,
)  # fmt: skip
"""Facts of a call that lists show and filter by; they are kept with the rest of its metadata."""
call_facts = TypeAdapter(CallFacts)


class CallLine(BaseModel):
    """A call. Whatever is not named here is kept as its metadata."""

    model_config = ConfigDict(extra="allow")

    kind: Literal["call"] = "call"
    call_id: NamedId
    created_at: Instant
    turns: list[TurnLine] = Field(max_length=100_000)
    summary: str | None = None
    pathway_events: list[EventLine] = Field(default=[], max_length=100_000)
    corrected: list[CorrectedLine] | None = Field(default=None, max_length=100_000)


class MessageLine(BaseModel):
    """One message of a conversation, and anything else, which is kept."""

    model_config = ConfigDict(extra="allow")

    sender: Literal["agent", "assistant", "caller", "customer", "user"]
    text: str = Field(max_length=10_000)
    created_at: InstantText | None = None


class ConversationLine(BaseModel):
    """An SMS conversation. Whatever is not named here is kept beside the rest."""

    model_config = ConfigDict(extra="allow")

    kind: Literal["sms_conversation"]
    conversation_id: NamedId
    created_at: InstantText
    messages: list[MessageLine] = Field(max_length=100_000)
    updated_at: InstantText | None = None
    user_number: Short = ""
    agent_number: Short = ""
    is_active: Annotated[bool, Field(strict=True)] = False
    summary: str | None = None
    variables: JsonObject | None = None
    current_node_id: Short | None = None
    curr_pathway_id: Short | None = None
    curr_pathway_version: Short | None = None
    timed_out_at: InstantText | None = None
    effective_channel: Short | None = "sms"
    disposition_tag: Short | None = None
    disposition_logs: list[JsonObject] = Field(default=[], max_length=10_000)
    pathway_tags: list[JsonObject] | None = None


class FileLine(BaseModel):
    """A file: its bytes as base64, or the path of a file below the folder of the import file."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["file"]
    path: Annotated[str, Field(min_length=1, max_length=4096), TEXT] | None = None
    base64: str | None = None
    name: AttachmentName | None = None
    type: MediaType | None = None
    metadata: Metadata | None = None
    file_id: AttachmentId | None = None
    recording_of: NamedId | None = None
    """The call whose audio it is."""
