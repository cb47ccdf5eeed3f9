"""What a call left besides its transcript: the transcript redone from the recording, and the way through its pathway."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from calltriage.errors import CallError
from calltriage.operations import calls
from calltriage.operations.base import Effect
from calltriage.operations.fields import CallId
from calltriage.server.results import BUDGET, shortened
from calltriage.server.rows import CURSOR, RowCursor, Rows, brief_row, page_of
from calltriage.server.transcripts import MaxTokens
from calltriage.server.work import Work, Workflow

PART = 10
"""Of the budget, one text or payload may take a tenth."""
LEAST = 20
"""Tokens of the briefest row."""


class GetCorrectedTranscript(Workflow, effect=Effect.READ):
    """Read a call's lines as redone from its recording, with seconds and confidence, for when recognition misheard. Needs a
    recording.

    Flags count turns of get_transcript, not these lines.
    """

    result: ClassVar[Any] = Rows
    columns: ClassVar[tuple[str, ...]] = ("start", "end", "speaker", "speaker_label", "confidence", "text")

    call_id: CallId
    cursor: RowCursor | None = Field(default=None, description=CURSOR)
    max_tokens: MaxTokens = BUDGET

    async def run(self, work: Work) -> dict[str, Any]:
        found = await work.client.send(calls.GetCorrectedTranscript(call_id=self.call_id))
        first = int(self.cursor or 0)
        lines = found.corrected[first : first + self.max_tokens // LEAST]
        rows = [brief_row(line.model_dump(mode="json"), self.columns, self.max_tokens // PART) for line in lines]
        return page_of(rows, first, len(found.corrected), "call parties", self.max_tokens)


class GetPathwayCallEvents(Workflow, effect=Effect.READ):
    """Trace a call's way on its pathway, node by node: transitions, webhooks, tools and their errors, in order.

    An event's node_id is what add_flag takes.
    """

    result: ClassVar[Any] = Rows
    columns: ClassVar[tuple[str, ...]] = ("sequence", "event_type", "node_id", "operation_id", "created_at")

    call_id: CallId
    cursor: RowCursor | None = Field(default=None, description=CURSOR)
    max_tokens: MaxTokens = BUDGET

    async def run(self, work: Work) -> dict[str, Any]:
        events = await work.client.send(calls.GetPathwayCallEvents(call_id=self.call_id))
        events.sort(key=lambda event: event.sequence)
        first = int(self.cursor or 0)
        rows = [self._row(event) for event in events[first : first + self.max_tokens // LEAST]]
        return page_of(rows, first, len(events), "call parties and pathway authors", self.max_tokens)

    def _row(self, event: calls.PathwayEvent) -> dict[str, Any]:
        row = brief_row(event.model_dump(mode="json"), self.columns)
        if event.payload:
            try:
                row["payload"] = shortened(event.payload, self.max_tokens // PART)
            except CallError:  # too many members for any answer
                row["payload_left_out"] = len(event.payload)
        return row
