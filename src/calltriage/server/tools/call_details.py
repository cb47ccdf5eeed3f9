"""What a call left besides its transcript: the transcript redone from the recording, the way through its pathway, and the
events of the platform that carried it."""

from typing import Annotated, ClassVar, Required, TypedDict

from pydantic import Field, StringConstraints

from calltriage.errors import Rejected, TryNext
from calltriage.leaves.gate import compact, estimate_tokens, fitting, gate
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations import calls
from calltriage.operations.base import Effect
from calltriage.operations.fields import A_CURSOR, CallId, Form
from calltriage.operations.results import lost_rows
from calltriage.server.answers.counted_lists import CURSOR, RowCursor, brief_row, page_of
from calltriage.server.answers.results import BUDGET, lacking, passes, unreadable, untrusted
from calltriage.server.answers.shapes import Page, Shown
from calltriage.server.context import Invocation, Workflow
from calltriage.server.tools.transcripts import MaxTokens

PART = 10
"""One text or payload may take a tenth of the budget."""
LEAST = 20
"""Tokens of the briefest row."""
GOING_ON = 100
"""Tokens for the call that reads on in a payload, and for the origin of the words."""
ORIGIN = "call parties and pathway authors"

SAID = {"timestamp", "level", "category", "message", "call_id", "unreadable_fields"}
"""Fields of an event that stand first, or that say nothing more."""

EventCursor = Annotated[str, StringConstraints(max_length=512), Form(r"^[0-9]{1,7}(\.[0-9]{1,8})?$", A_CURSOR)]
"""Place of the first event of a page; after a point, the character of its payload's JSON to begin at."""


class CorrectedRow(TypedDict, total=False):
    """A line of a transcript as redone from the recording."""

    start: float
    end: float
    speaker: int | str
    speaker_label: str
    confidence: float
    text: str


class CorrectedRows(Page, total=False):
    """A page of them."""

    items: Required[list[CorrectedRow]]


class PathwayRow(TypedDict, total=False):
    """An event of a call on its pathway, with its payload, or a part of the payload's JSON."""

    sequence: int | None
    event_type: str
    node_id: str
    operation_id: int
    created_at: str
    payload: JsonObject
    payload_text: str
    offset: int


class PathwayRows(Page, total=False):
    """A page of them."""

    items: Required[list[PathwayRow]]


class PlatformRow(TypedDict, total=False):
    """An event of the telephone platform; its further fields stand beside these."""

    timestamp: str
    level: str
    category: str
    message: str


class PlatformRows(Page, total=False):
    """A page of them."""

    items: Required[list[Annotated[PlatformRow, Shown(is_open=True)]]]


class GetCorrectedTranscriptTool(Workflow, effect=Effect.READ):
    """Read a call's lines as redone from its recording, with seconds and confidence, for when recognition misheard. Needs a
    recording.

    Flags count turns of get_transcript, not these lines.
    """

    result: ClassVar[object] = CorrectedRows
    columns: ClassVar[tuple[str, ...]] = ("start", "end", "speaker", "speaker_label", "confidence", "text")

    call_id: CallId
    cursor: RowCursor | None = Field(default=None, description=CURSOR)
    max_tokens: MaxTokens = BUDGET

    async def run(self, work: Invocation) -> JsonObject:
        found = await work.server.client.send(calls.GetCorrectedTranscript(call_id=self.call_id))
        first = int(self.cursor or 0)
        lines = found.corrected[first : first + self.max_tokens // LEAST]
        rows = [brief_row(line.model_dump(mode="json"), self.columns, self.max_tokens // PART) for line in lines]
        page = page_of(rows, first, len(found.corrected), "call parties", self.max_tokens)
        return page | lacking(found.unreadable_rows("corrected")) | unreadable(found)


class GetPathwayCallEventsTool(Workflow, effect=Effect.READ):
    """Trace a call's way on its pathway, node by node: transitions, webhooks, tools and their errors, in order.

    An event's node_id is what add_flag takes.
    """

    result: ClassVar[object] = PathwayRows
    columns: ClassVar[tuple[str, ...]] = ("sequence", "event_type", "node_id", "operation_id", "created_at")

    call_id: CallId
    cursor: EventCursor | None = Field(default=None, description=CURSOR)
    max_tokens: MaxTokens = BUDGET

    async def run(self, work: Invocation) -> JsonObject:
        events = await work.server.client.send(calls.GetPathwayCallEvents(call_id=self.call_id))
        lost = lost_rows(events)
        if all(event.sequence is not None for event in events):
            events.sort(key=lambda event: event.sequence or 0)
        place, inside, offset = (self.cursor or "0").partition(".")
        first = int(place)
        if inside and first < len(events):
            return self._part(events, first, int(offset))
        rows = [self._row(event) for event in events[first : first + self.max_tokens // LEAST]]
        going_on = GOING_ON + estimate_tokens(self.call_id)
        page = page_of(rows, first, len(events), ORIGIN, self.max_tokens - going_on) | lacking(lost)
        cut = [n for n, row in enumerate(page["items"]) if "payload_text" in row]
        if cut:
            how = {"call_id": self.call_id, "cursor": f"{first + cut[0]}.0"}
            more = TryNext(tool=self.tool_name(), arguments=how)
            page |= {"complete": False, "omitted": [{"section": "payloads", "left_out": len(cut), "try_next": more}]}
        return page

    def _row(self, event: calls.PathwayEvent) -> JsonObject:
        """An event with its payload, or the beginning of the payload's JSON where it is longer than its share."""
        row, share = brief_row(event.model_dump(mode="json"), self.columns), self.max_tokens // PART
        if event.payload and passes(event.payload, share):
            row["payload"] = event.payload
        elif event.payload:
            text = compact(event.payload)
            row["payload_text"] = text[: fitting(text, share)]
            left_out = row.setdefault("characters_left_out", {})
            left_out["payload"] = len(text) - len(row["payload_text"])
        return row

    def _part(self, events: list[calls.PathwayEvent], place: int, offset: int) -> JsonObject:
        """One event, with its payload's JSON from a character on; the cursor goes on in it, or after it."""
        text = compact(events[place].payload or {})
        if offset >= len(text):
            raise Rejected(f"The payload has {len(text)} characters of JSON. Begin before its end.", field="cursor")
        row = brief_row(events[place].model_dump(mode="json"), self.columns, self.max_tokens // PART)
        room = self.max_tokens - GOING_ON - estimate_tokens(compact(gate(row)[0]))
        if room < self.max_tokens // 2:  # its names are too long to be shown each time
            row, room = {"sequence": events[place].sequence}, self.max_tokens - GOING_ON - LEAST
        end = offset + max(1, fitting(text[offset:], room))
        row |= {"offset": offset, "payload_text": text[offset:end]}
        after = f"{place}.{end}" if end < len(text) else str(place + 1) if place + 1 < len(events) else None
        known = {"returned": 1, "complete": after is None, "total": len(events)}
        return untrusted(ORIGIN, items=[row], **known) | ({"next_cursor": after} if after else {})


class GetCallEventStreamTool(Workflow, effect=Effect.READ):
    """Read events of the telephone platform: queued, connected, slow, failed, hung up."""

    result: ClassVar[object] = PlatformRows
    columns: ClassVar[tuple[str, ...]] = ("timestamp", "level", "category", "message")

    call_id: CallId
    cursor: RowCursor | None = Field(default=None, description=CURSOR)
    max_tokens: MaxTokens = BUDGET

    async def run(self, work: Invocation) -> JsonObject:
        found = await work.server.client.send(calls.GetCallEventStream(call_id=self.call_id))
        first, events = int(self.cursor or 0), found.event_stream_data
        some = [event.model_dump(mode="json") for event in events[first : first + self.max_tokens // LEAST]]
        # Further fields of the platform's come after the documented ones.
        rows = [brief_row(one, (*self.columns, *sorted(one.keys() - SAID)), self.max_tokens // PART) for one in some]
        page = page_of(rows, first, len(events), "the telephone platform", self.max_tokens)
        return page | lacking(found.unreadable_rows("event_stream_data"))
