"""Finding calls and SMS conversations, and reading what is known about a call besides its words."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, StringConstraints

from calltriage.errors import Rejected, TryNext
from calltriage.leaves.strict_json import JsonObject, is_object
from calltriage.operations import calls, conversations
from calltriage.operations.base import Effect
from calltriage.operations.calls import Day
from calltriage.operations.fields import A_CURSOR, CallId, Limit, OpaqueId, Word
from calltriage.operations.results import Result
from calltriage.server.answers.empty import NO_CALLS, said_of_nothing
from calltriage.server.answers.results import BUDGET, MOST, Bundle, untrusted
from calltriage.server.answers.rows import CURSOR, ROWS, RowCursor, Rows, brief_row, page_of
from calltriage.server.context import Work, Workflow
from calltriage.server.tools.transcripts import GetTranscriptTool, MaxTokens

NAMES = 60
"""Tokens kept back for the names of fields that are too long to show."""


class ListCallsTool(Workflow, effect=Effect.READ):
    """Find calls by day, number, minutes, inbound or not, or batch, newest first, without their words.

    To read one use get_transcript; get_call has the rest of what is known about it. For SMS use list_sms_conversations.
    """

    result: ClassVar[Any] = Rows
    columns: ClassVar[tuple[str, ...]] = (
        "call_id", "created_at", "call_length", "status", "completed", "inbound", "answered_by", "from", "to", "batch_id",
        "pathway_id", "queue_status", "error_message", "summary",
    )  # fmt: skip

    start_date: Day | None = Field(default=None, description="From this day (YYYY-MM-DD) or instant on.")
    end_date: Day | None = Field(default=None, description="Up to this day or instant.")
    from_number: Annotated[Word, StringConstraints(max_length=32)] | None = None
    to_number: Annotated[Word, StringConstraints(max_length=32)] | None = None
    inbound: bool | None = None
    completed: bool | None = None
    answered_by: Annotated[Word, StringConstraints(max_length=32)] | None = Field(
        default=None, description="E.g. human."
    )
    batch_id: OpaqueId | None = None
    duration_gt: Annotated[float, Field(ge=0, le=10**6)] | None = Field(default=None, description="Minutes.")
    duration_lt: Annotated[float, Field(ge=0, le=10**6)] | None = Field(default=None, description="Minutes.")
    ascending: bool | None = Field(default=None, description="Oldest first.")
    limit: Limit = Field(default=ROWS, description=f"Rows, default {ROWS}.")
    cursor: RowCursor | None = Field(default=None, description=CURSOR)

    async def run(self, work: Work) -> JsonObject:
        first = int(self.cursor or 0)
        filters = self.model_dump(exclude={"limit", "cursor"}, exclude_none=True)
        listed = await work.client.send(calls.ListCalls.model_validate({"from": first, "limit": self.limit, **filters}))
        rows = [brief_row(call.model_dump(mode="json"), self.columns) for call in listed.calls[: self.limit]]
        lost = listed.unreadable_rows("calls")
        seen = len(rows) + len(lost)
        total = first + seen if listed.total_count is None and seen < self.limit else listed.total_count
        page = page_of(rows, first, total, "call parties", lost=lost)
        nothing = {} if seen or first else said_of_nothing(self.tool_name(), filters, NO_CALLS)
        return page | nothing


class ListSmsConversationsTool(Workflow, effect=Effect.READ):
    """Find SMS conversations, newest first, without their messages.

    To read one use get_sms_conversation. For phone calls use list_calls.
    """

    result: ClassVar[Any] = Rows
    columns: ClassVar[tuple[str, ...]] = (
        "id", "created_at", "updated_at", "user_number", "agent_number", "is_active", "message_count", "summary",
        "last_message",
    )  # fmt: skip

    sort: Literal["created_at", "updated_at", "message_count"] | None = None
    order: Literal["asc", "desc"] | None = None
    limit: Limit = Field(default=ROWS, description=f"Rows, default {ROWS}.")
    cursor: RowCursor | None = Field(default=None, description=CURSOR)

    async def run(self, work: Work) -> JsonObject:
        """The vendor counts pages; a page of ours may have ended within one of its."""
        first = int(self.cursor or 0)
        if first // self.limit >= 10**6:
            raise Rejected(f"cursor: {A_CURSOR}. Nothing was done.", field="cursor")
        listed = await work.client.send(
            conversations.ListSmsConversations(
                page=first // self.limit + 1, pageSize=self.limit, sortBy=self.sort, sortDir=self.order
            )
        )
        skipped, broken = first % self.limit, listed.unreadable_rows("data")
        lost = [place - skipped for place in broken if place >= skipped]
        found = listed.data[skipped - (len(broken) - len(lost)) : self.limit]
        rows = [brief_row(one.model_dump(mode="json"), self.columns) for one in found]
        pagination = (listed.extra or {}).get("pagination")
        total = pagination.get("totalItems") if is_object(pagination) else None
        if not isinstance(total, int):
            total = first + len(rows) + len(lost) if len(listed.data) + len(broken) < self.limit else None
        return page_of(rows, first, total, "conversation parties", lost=lost)


class CallFacts(Result):
    """What is known about a call."""

    call_id: str
    turns: int
    call: JsonObject
    complete: bool


class GetCallTool(Workflow, effect=Effect.READ):
    """Read what is known about a call besides its words: when, how long, who, status, summary, variables, analysis.

    For what was said use get_transcript.
    """

    result: ClassVar[Any] = CallFacts

    call_id: CallId
    max_tokens: MaxTokens = BUDGET

    async def run(self, work: Work) -> JsonObject:
        call = await work.client.send(calls.GetCall(call_id=self.call_id))
        turns = len(call.transcripts or [])
        bundle = Bundle(self.max_tokens, gaps=2, call_id=self.call_id, turns=turns)
        fields = call.model_dump(
            mode="json", exclude_none=True, exclude={"call_id", "transcripts", "concatenated_transcript"}
        )
        # Short fields first: a long one must not crowd out the facts.
        facts, unshown = JsonObject(), list[str]()
        for name, value in sorted(fields.items(), key=lambda field: len(str(field[1]))):
            if bundle.affords({name[:64]: value}, spare=NAMES):
                facts[name[:64]] = value
            else:
                unshown.append(name[:64])
        # Names are the vendor's words too: they stand in the holder.
        names = [name for name in unshown if bundle.affords(name)]
        larger = {"call_id": self.call_id, "max_tokens": MOST}
        more = {"try_next": TryNext(tool=self.tool_name(), arguments=larger)} if self.max_tokens < MOST else {}
        bundle.lacks("fields", len(unshown), **more)
        bundle.body["call"] = untrusted("call parties", facts=facts, **({"left_out": names} if names else {}))
        body = bundle.done()
        if turns:
            body["try_next"] = TryNext(tool=GetTranscriptTool.tool_name(), arguments={"call_id": self.call_id})
        return body
