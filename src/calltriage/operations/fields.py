"""Shared field types: the form, the limits and the words of each kind of value, once.

Limits and enums come from the vendors' contracts; where those are silent the limit is ours (see each docstring).
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    JsonValue,
    StringConstraints,
)
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from calltriage.leaves.strict_json import JsonObject

UUID_PATTERN = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z"


@dataclass(frozen=True)
class Names:
    """Marks a field that names a thing, so that a front end can accept other forms of the name and complete it."""

    kind: Literal["issue", "call", "attachment", "flag_type", "category", "pipeline", "detector"]


@dataclass(frozen=True)
class Missing:
    """Marks a field that names a thing, with the words for a thing that is not there: the desk answers 404 with `says`, and
    the client knows by these words which field is meant.

    If a field has several marks, the first is for an id that names nothing.

    Attributes:
        says: the contract's own words (bland-triage, section 2).
        advice: what an agent is told instead.
        code: the contract's code.
    """

    says: str
    advice: str
    code: str = "not_found"


@dataclass(frozen=True)
class Trimmed:
    """Marks text whose outer white space means nothing: front ends drop it, and text of white space alone is empty. The
    contract does not say, so the desk keeps it."""


def marks(info: FieldInfo) -> Iterator[Any]:
    """The marks of a field, also those inside `| None` and lists."""

    def within(annotation: object) -> Iterator[Any]:
        yield from getattr(annotation, "__metadata__", ())
        for argument in get_args(annotation):
            yield from within(argument)

    yield from info.metadata
    yield from within(info.annotation)


def missing(info: FieldInfo) -> tuple[Missing, ...]:
    """The `Missing` marks of a field."""
    return tuple(mark for mark in marks(info) if isinstance(mark, Missing))


def named_kind(info: FieldInfo) -> str | None:
    """The kind of thing that a field names; None if it has no `Names` mark."""
    return next((mark.kind for mark in marks(info) if isinstance(mark, Names)), None)


@dataclass(frozen=True)
class WireOnly:
    """Marks a field that the contract knows but an agent has no use for; no tool offers it."""


@dataclass(frozen=True)
class Clearable:
    """Marks a field of an update that null clears. No other field takes null (bland-triage, section 4)."""


@dataclass(frozen=True)
class Form:
    """The form of a text: its pattern, and the words of a refusal. Schemas show `brief`, if there is one: a shorter
    pattern that takes the same ASCII text, as models read it in every tool."""

    pattern: str
    words: str
    brief: str | None = None

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        rule = core_schema.custom_error_schema(
            core_schema.str_schema(pattern=self.pattern), custom_error_type=FORM, custom_error_message=self.words
        )
        return core_schema.chain_schema([handler(source), rule])

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), "pattern": self.brief or self.pattern}


FORM = "form"
"""`type` of the validation error for a text that does not match its `Form`."""


def _no_control_characters(value: str) -> str:
    """NUL cannot be stored everywhere and other control characters only hide text; tab and line feed are text."""
    if re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", value):
        raise ValueError("must not contain control characters")
    return value


TEXT = AfterValidator(_no_control_characters)
"""What free text may be: any Unicode but control characters (tab, line feed and carriage return are fine). It comes after
the length limits, so that a text that is too long is refused first."""


TICKET_PATTERN = r"^[Tt]-[0-9]{1,12}\Z"


def _reference(value: object) -> object:
    """An issue's reference without what is copied along with it: white space, a leading `#`, a query, a fragment."""
    return re.split("[?#]", value.strip().removeprefix("#"), maxsplit=1)[0] if isinstance(value, str) else value


AN_ISSUE = "must be an issue's UUID, its ticket number such as T-1042, or a dashboard URL that ends in either"


def _naming_an_issue(value: str) -> str:
    """The value, if it ends in a ticket number or a UUID. Raises ValueError. Schemas show the shorter pattern of
    IssueRef, as models read it in every tool."""
    last = value.rstrip("/").rpartition("/")[2]
    if not re.match(TICKET_PATTERN, last) and not re.match(UUID_PATTERN, last):
        raise ValueError(AN_ISSUE)
    return value


A_UUID = "must be a UUID: the id itself, as it was read"


def _uuid(value: str) -> str:
    if not re.match(UUID_PATTERN, value):
        raise ValueError(A_UUID)
    return value


Uuid = Annotated[
    str,
    StringConstraints(max_length=36, to_lower=True),
    Form(r"^[0-9a-fA-F-]{36}$", A_UUID),
    AfterValidator(_uuid),
]
"""An id that the triage API gave."""
NO_ISSUE = Missing("Issue not found", "No such issue in this organisation. Find it with list_issues.")
IssueId = Annotated[Uuid, Names("issue"), NO_ISSUE]
"""Internal UUID of an issue, the only form that vendor paths take (bland-triage, section 3)."""

IssueRef = Annotated[
    str,
    StringConstraints(max_length=512),
    Form(r"[0-9a-fA-F]/?$", AN_ISSUE),
    BeforeValidator(_reference),
    AfterValidator(_naming_an_issue),
    Names("issue"),
]
"""How an agent may name an issue: by its UUID, its ticket number, or a dashboard URL that ends in either."""

OPAQUE_ID_PATTERN = r"^[A-Za-z0-9_@+-][A-Za-z0-9_.:@+-]*$"
BRIEF_ID_PATTERN = r"^[\w@+-][\w.:@+-]*$"
AN_ID = Form(OPAQUE_ID_PATTERN, "must be an id as it was read: letters, digits and _ . : @ + - alone", BRIEF_ID_PATTERN)
OpaqueId = Annotated[str, StringConstraints(min_length=1, max_length=128), AN_ID]
"""An id in the vendor's form. It cannot leave its path segment: no `/`, no `%`, no leading dot (our choice; an in-process
server sees the decoded path)."""


def is_opaque_id(value: object) -> bool:
    """Whether a value that an API answered has the form of an id. Only such a value is repeated in advice to an agent:
    other text may be a stranger's words."""
    return isinstance(value, str) and len(value) <= 128 and re.fullmatch(OPAQUE_ID_PATTERN, value) is not None


NO_FLAG = Missing("Flag not found", "No such flag on this issue. The flags of its evidence show their ids.")
FlagId = Annotated[Uuid, NO_FLAG]

NO_RELATION = Missing("Relation not found", "No such link of this issue. The relations of its evidence show their ids.")
RelationId = Annotated[Uuid, NO_RELATION]

NO_SESSION = Missing("Agent session not found", "No such session of this issue. The issue names its latest one.")
SessionId = Annotated[Uuid, NO_SESSION]

NO_LINK = Missing(
    "Resource not found",
    "No such link on this issue. A link's id is its own, not that of the call, conversation or file; the resources of the "
    "issue's evidence show both.",
)
LinkId = Annotated[Uuid, NO_LINK]
"""Id of a piece of evidence on an issue: of the link, not of what it points at."""

NO_RESOURCE = Missing("Resource not found", "No such call, conversation or file in this organisation.")
ResourceId = Annotated[OpaqueId, NO_RESOURCE]
"""Id of a call, a conversation or a file, whichever `resource_type` says."""

NO_CALL = Missing("Call not found", "No such call in this organisation.", code="CALL_NOT_FOUND")
CallId = Annotated[OpaqueId, Names("call"), NO_CALL]

NO_ATTACHED_CALL = Missing("Resource not found", "No such call among this issue's evidence, or in this organisation.")
AttachedCallId = Annotated[OpaqueId, Names("call"), NO_ATTACHED_CALL, NO_CALL]
"""A call that is looked for among an issue's evidence (bland-triage, section 2)."""

NO_RECORDING = Missing(
    "Call recording not found",
    "The call has no recording, or there is no such call in this organisation.",
    code="CALL_RECORDING_NOT_FOUND",
)
RecordedCallId = Annotated[CallId, NO_RECORDING]

NO_CONVERSATION = Missing(
    "Conversation not found", "No such conversation in this organisation.", code="CONVERSATION_NOT_FOUND"
)
ConversationId = Annotated[OpaqueId, NO_CONVERSATION]

NO_ORGANISATION = Missing(
    "Organization not found", "These credentials belong to no organisation of this id.", code="ORG_NOT_FOUND"
)
OrgId = Annotated[OpaqueId, NO_ORGANISATION]

UserId = Annotated[str, StringConstraints(min_length=1, max_length=128), TEXT]

Title = Annotated[str, StringConstraints(min_length=1, max_length=200), TEXT, Trimmed()]
Description = Annotated[str, StringConstraints(max_length=10_000), TEXT]
LONGEST_NAME = 64
Category = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_NAME), TEXT, Trimmed(), Names("category")]
Note = Annotated[str, StringConstraints(min_length=1, max_length=4000), TEXT, Trimmed()]
MessageText = Annotated[str, StringConstraints(max_length=10_000), TEXT]
Comment = Annotated[str, StringConstraints(min_length=1, max_length=4000), TEXT, Trimmed()]
NodeName = Annotated[str, StringConstraints(max_length=256), TEXT]
TurnIndex = Annotated[int, Field(ge=0, le=2**31 - 1)]
"""Place of a turn in a call's transcript, from 0."""


def stored_flag_type(typed: str) -> str:
    """The stored form of a flag type: `Missed handoff` → `missed_handoff` (bland-triage, section 7; the rule is ours).

    Empty if the text has no letter or digit. `FlagType` refuses that, and more than 64 characters.
    """
    text = unicodedata.normalize("NFKC", typed)
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", text)
    return re.sub(r"[^A-Za-z0-9]+", "_", text).lower().strip("_")


def _storable_flag_type(typed: str) -> str:
    if not 1 <= len(stored_flag_type(typed)) <= 64:
        raise ValueError("must hold 1 to 64 of a to z and 0 to 9 once written in lower_snake_case")
    return typed


FlagType = Annotated[
    str, StringConstraints(min_length=1, max_length=128), TEXT, AfterValidator(_storable_flag_type), Names("flag_type")
]
"""As typed; the service stores it in lower_snake_case, see `stored_flag_type`."""

Status = Literal["backlog", "todo", "in_progress", "in_review", "done", "closed"]
"""Board column, in board order. Any value may follow any other (bland-triage, section 4)."""
Severity = Literal["critical", "high", "medium", "low"]
Source = Literal["manual", "automated", "client"]
ResourceType = Literal["call", "sms_conversation", "file"]
RelationType = Literal["related_to", "blocks", "duplicate_of"]


def _one_line(value: str) -> str:
    if re.search(r"[\x00-\x1f\x7f]", value):
        raise ValueError("must not contain control characters")
    return value


Limit = Annotated[int, Field(ge=1, le=100)]
DEFAULT_LIMIT = 50
"""Rows of a page whose limit is not given (bland-triage, section 5)."""
Word = Annotated[str, StringConstraints(min_length=1, max_length=128), TEXT]
PipelineName = Annotated[Word, Names("pipeline")]
DetectorName = Annotated[Word, Names("detector")]
T = TypeVar("T")


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def alternatives(joined: str) -> list[str]:
    """The values that a filter's text joins by commas, without empty ones; the text itself if it has no comma."""
    return [part for part in map(str.strip, joined.split(",")) if part] if "," in joined else [joined]


Several = Annotated[list[T], Field(max_length=20), BeforeValidator(_listed)]
"""Values of a filter, any of which may match. A single text counts as a list of one."""
A_CURSOR = "must be next_cursor of the page before, with the same filters; leave it out to begin"
LONGEST_CURSOR = 8192
"""Characters of a cursor. A longer one does not fit into the request line that servers commonly accept."""
Cursor = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_CURSOR), TEXT]

NO_ATTACHMENT = Missing("Attachment do not exist", "No such attachment in this account.")
AttachmentId = Annotated[str, StringConstraints(min_length=1, max_length=64), AN_ID, Names("attachment"), NO_ATTACHMENT]
AttachmentName = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(_one_line)]
"""1–64 code points, no control characters; unique in the account (talkdesk-attachments, section 5)."""
MediaType = Annotated[
    str,
    StringConstraints(min_length=1, max_length=127),
    Form(
        r"^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*$",
        "must be one type/subtype, such as audio/wav, without parameters",
    ),
]
"""Exact type/subtype, no wildcard, no parameters."""


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # an integer too large for a float: not every JSON reader takes it
        return False


def _flat_labels(value: dict[str, JsonValue]) -> JsonObject:
    for key, item in value.items():
        if not 1 <= len(_no_control_characters(key)) <= 127:
            raise ValueError("keys must be 1 to 127 characters")
        if isinstance(item, str):
            if not 1 <= len(_no_control_characters(item)) <= 127:
                raise ValueError("text values must be 1 to 127 characters")
            item.encode()  # a lone surrogate is no text; its error is a ValueError
        elif not isinstance(item, bool | int | float) or not _is_finite(item):
            raise ValueError("values must be text, numbers or booleans")
    return value


MAX_LABELS = 50

Metadata = Annotated[dict[str, JsonValue], Field(max_length=MAX_LABELS), AfterValidator(_flat_labels)]
"""Flat labels: at most 50, keys and text values of 1–127 characters, numbers and booleans kept as they are."""


MAX_BODY = 8 * 2**20
"""Bytes of a JSON answer that are read (our choice); the largest transcript seen is under 1 MiB."""
