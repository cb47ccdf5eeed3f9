"""SMS conversations (bland-triage, section 6)."""

import json
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from calltriage.leaves.instants import written
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.base import Effect, Operation
from calltriage.operations.fields import TEXT, ConversationId
from calltriage.operations.results import Result


class SmsMessage(Result, origin="conversation parties"):
    """One message; `sender` is USER or AGENT. Vendors add fields, which are kept."""

    model_config = ConfigDict(extra="allow")
    counted_by: ClassVar[str | None] = "message"

    id: str | None = None
    sender: str | None = None
    message: str = ""
    created_at: str | None = None
    from_: str | None = Field(default=None, alias="from")
    to: str | None = None
    status: str | None = None
    """pending, queued, sent, delivered, read, failed, undelivered; others may come."""
    error_code: str | None = None
    """The carrier's."""
    attachments: list[Any] | None = None


class SmsConversation(Result, origin="conversation parties"):
    """A conversation; messages come only when it is read by id, oldest first. Vendors add fields, which are kept."""

    model_config = ConfigDict(extra="allow")

    id: str
    created_at: str | None = None
    updated_at: str | None = None
    user_number: str | None = None
    agent_number: str | None = None
    is_active: bool | None = None
    timed_out_at: str | None = None
    effective_channel: str | None = None
    message_count: int | None = None
    last_message: str | None = None
    last_message_at: str | None = None
    current_node_id: str | None = None
    curr_pathway_id: str | None = None
    curr_pathway_version: str | None = None
    pathway_tags: list[Any] | None = None
    summary: str | None = None
    disposition_tag: str | None = None
    variables: JsonObject | None = None
    citation_variables: JsonObject | None = None
    disposition_logs: list[Any] | None = None
    messages: list[SmsMessage] | None = None


class Pagination(Result):
    """How the vendor counts a list."""

    totalItems: int | None = None  # noqa: N815


class Extra(Result):
    """What stands beside the rows of a page."""

    pagination: Pagination | None = None


class SmsConversationList(Result, origin="conversation parties"):
    """One page, with the vendor's own pagination beside the rows."""

    data: list[SmsConversation]
    extra: Extra | None = None

    @property
    def total(self) -> int | None:
        """Conversations of the whole list, where the vendor counts them."""
        return self.extra.pagination.totalItems if self.extra and self.extra.pagination else None


LIST_ONLY = ("message_count", "last_message", "last_message_at")
"""Fields that a conversation has only in a list."""
READ_ONLY = ("messages", "disposition_logs")
"""Fields that a conversation has only when it is read by its id."""

SmsSort = Literal[
    "created_at", "updated_at", "user_number", "agent_number", "is_active", "message_count",
    "curr_pathway_id", "curr_pathway_version", "timed_out_at",
]  # fmt: skip
SmsField = Literal[
    "created_at", "updated_at", "user_number", "agent_number", "is_active", "message_count", "variables",
    "current_node_id", "curr_pathway_id", "curr_pathway_version", "timed_out_at",
]  # fmt: skip
TEXT_OPERATORS = ("contains", "startsWith", "endsWith")


class SmsFilter(BaseModel):
    """One condition on a field of a conversation."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)

    field: SmsField
    operator: Literal["eq", "contains", "startsWith", "endsWith", "gt", "gte", "lt", "lte"]
    value: Annotated[str, StringConstraints(max_length=1000), TEXT] | bool | float | None
    """Numbers are floats: an integer may have more digits than a database's integers."""

    def comparable(self) -> Any:
        """The value in the form that the field is stored in. An instant is in UTC with milliseconds and `Z`, so that it
        sorts as text."""
        if self.field in INSTANTS and isinstance(self.value, str) and self.operator not in TEXT_OPERATORS:
            return _instant(self.value)
        return self.value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        wanted = {"message_count": (int, float), "is_active": (bool,)}.get(self.field, (str,))
        is_number = self.field == "message_count" and isinstance(self.value, bool)
        if self.value is None and self.operator == "eq":
            return self
        if not isinstance(self.value, wanted) or is_number:
            raise ValueError("value does not fit the field")
        if self.operator in TEXT_OPERATORS and wanted != (str,):
            raise ValueError(f"operator does not fit the field {self.field}")
        if self.operator not in {"eq", *TEXT_OPERATORS} and self.field in {"is_active", "variables"}:
            raise ValueError(f"operator does not fit the field {self.field}")
        self.comparable()
        return self


INSTANTS = ("created_at", "updated_at", "timed_out_at")


def _instant(text: str) -> str:
    try:
        found = datetime.fromisoformat(text)
        return written(found if found.tzinfo else found.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        raise ValueError("value must be an instant in ISO 8601") from None


_filters = TypeAdapter(Annotated[list[SmsFilter], Field(max_length=20)])


def _as_text(value: object) -> object:
    return json.dumps(value) if isinstance(value, list | dict) else value


def _are_filters(text: str) -> str:
    try:
        _filters.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        if first["type"] == "json_invalid":
            raise ValueError("must be a JSON array of {field, operator, value}") from None
        raise ValueError(f"must be a JSON array of {{field, operator, value}}: {first['msg']}") from None
    return text


class ListSmsConversations(
    Operation[SmsConversationList], http="GET /v1/sms/conversations", effect=Effect.READ, envelope=False
):
    """List SMS conversations, newest first, without their messages."""

    page: Annotated[int, Field(ge=1, le=10**6)] | None = Field(default=None, description="From 1.")
    pageSize: Annotated[int, Field(ge=1, le=100)] | None = Field(default=None, description="Rows, default 25.")  # noqa: N815  the vendor's word
    sortBy: SmsSort | None = None  # noqa: N815
    sortDir: Literal["asc", "desc"] | None = None  # noqa: N815
    filters: (
        Annotated[
            str, BeforeValidator(_as_text), StringConstraints(max_length=8000), TEXT, AfterValidator(_are_filters)
        ]
        | None
    ) = Field(
        default=None,
        description='JSON array of {"field","operator","value"}: eq, contains, startsWith, endsWith, gt, gte, lt, lte.',
    )

    def conditions(self) -> list[SmsFilter]:
        """The filters, read."""
        return _filters.validate_json(self.filters or "[]")


class GetSmsConversation(
    Operation[SmsConversation], http="GET /v1/sms/conversations/{conversation_id}", effect=Effect.READ
):
    """Read one SMS conversation with its messages."""

    conversation_id: ConversationId = Field(description="The conversation.")
