"""SMS conversations (bland-triage, section 6)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from calltriage.operations.base import Effect, Operation, Result
from calltriage.operations.fields import OpaqueId


class SmsMessage(Result, origin="conversation parties"):
    """One message; `sender` is USER or AGENT."""

    model_config = ConfigDict(extra="allow")

    sender: str | None = None
    message: str = ""
    created_at: str | None = None


class SmsConversation(Result, origin="conversation parties"):
    """A conversation; messages come only when it is read by id, oldest first."""

    model_config = ConfigDict(extra="allow")

    id: str
    created_at: str | None = None
    updated_at: str | None = None
    is_active: bool | None = None
    message_count: int | None = None
    last_message: str | None = None
    summary: str | None = None
    messages: list[SmsMessage] | None = None


class SmsConversationList(Result, origin="conversation parties"):
    """One page, with the vendor's own pagination beside the rows."""

    data: list[SmsConversation]
    extra: dict[str, Any] | None = None


class ListSmsConversations(
    Operation[SmsConversationList], http="GET /v1/sms/conversations", effect=Effect.READ, envelope=False
):
    """List SMS conversations, newest first, without their messages."""

    page: Annotated[int, Field(ge=1, le=10**6)] | None = Field(default=None, description="From 1.")
    pageSize: Annotated[int, Field(ge=1, le=100)] | None = Field(default=None, description="Rows, default 25.")  # noqa: N815  the vendor's word
    sortBy: (  # noqa: N815
        Literal[
            "created_at", "updated_at", "user_number", "agent_number", "is_active", "message_count",
            "curr_pathway_id", "curr_pathway_version", "timed_out_at",
        ]
        | None
    ) = None  # fmt: skip
    sortDir: Literal["asc", "desc"] | None = None  # noqa: N815


class GetSmsConversation(
    Operation[SmsConversation], http="GET /v1/sms/conversations/{conversation_id}", effect=Effect.READ
):
    """Read one SMS conversation with its messages."""

    conversation_id: OpaqueId = Field(description="The conversation.")
