"""Finding calls, and reading what is known about a call besides its words."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field, StringConstraints

from calltriage.errors import TryNext
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations import calls
from calltriage.operations.base import Effect
from calltriage.operations.calls import Day
from calltriage.operations.fields import CallId, Limit, OpaqueId, Word
from calltriage.operations.results import Result
from calltriage.server.answers.empty import NO_CALLS, said_of_nothing
from calltriage.server.answers.results import BUDGET, MOST, Bundle, untrusted
from calltriage.server.answers.rows import CURSOR, ROWS, RowCursor, Rows, brief_row, page_of
from calltriage.server.context import Work, Workflow
from calltriage.server.tools.transcripts import GetTranscriptTool, MaxTokens, said_of_source

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
        bundle = Bundle(self.max_tokens, gaps=2, call_id=self.call_id, turns=turns, **said_of_source(call))
        words = {"transcripts", "concatenated_transcript", "transcript_source"}
        fields = call.model_dump(mode="json", exclude_none=True, exclude={"call_id", *words})
        facts, unshown = bundle.facts(fields, spare=NAMES)
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
