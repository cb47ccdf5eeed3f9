"""Flagging the moment of a call: by the words that were said, or by the turn's index."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from anyio import to_thread
from pydantic import Field

from calltriage.errors import CallError, Conflict, Rejected, TryNext
from calltriage.leaves.gate import gate
from calltriage.leaves.strict_json import JsonObject
from calltriage.matching.quotes import Near, across, around, nearest, part, place, quoted
from calltriage.operations import flags
from calltriage.operations.base import Effect
from calltriage.operations.calls import GetCall, Turn
from calltriage.operations.fields import (
    CallId,
    FlagType,
    IssueRef,
    MessageText,
    NodeName,
    Note,
    TurnIndex,
)
from calltriage.operations.resources import AttachResource
from calltriage.server.answers.results import shown, untrusted
from calltriage.server.call.hints import same_call
from calltriage.server.context import ISSUE, Work, Workflow, numbered, preparing
from calltriage.server.tools.transcripts import GetTranscriptTool

UNSTORABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
"""Characters that the contract's texts may not have, and lone surrogates, which cannot be sent."""
SURE, APART = 0.8, 0.2
"""Likeness from which a turn is taken for the one that was quoted, and how far behind every other turn must be."""
MOST_TURNS = 5
"""Turns that an error shows."""


class AddFlagTool(Workflow, effect=Effect.ADD):
    """Mark the moment of an attached call where something went wrong.

    Say where with quote (words of one turn; the server finds it and stores the turn's own sentence) or message_index, or
    both. If the quote matches no turn or several, nothing is written and the nearest turns come back. The call must be
    attached first (attach_resource), or pass attach_if_missing. The same flag again within minutes is a replay.
    """

    result: ClassVar[Any] = flags.Flag

    issue_id: IssueRef = Field(description=ISSUE)
    call_id: CallId
    type: FlagType = Field(description="What went wrong, e.g. missed_handoff; prefer one from list_flag_types.")
    note: Note | None = Field(default=None, description="Why it matters.")
    quote: MessageText | None = Field(default=None, min_length=1, description="Words said in the flagged turn.")
    message_index: TurnIndex | None = Field(default=None, description="Turn in the transcript, from 0.")
    node_id: NodeName | None = Field(default=None, description="Pathway node.")
    node_name: NodeName | None = None
    attach_if_missing: bool = Field(default=False, description="Attach the call first if it is not.")

    async def run(self, work: Work) -> JsonObject:
        if self.attach_if_missing:
            work.allow(AttachResource, "attach_if_missing")
        issue_id = await work.issue_id(self.issue_id)
        index, text = await self._moment(work)
        operation = flags.AddFlag(
            issue_id=issue_id,
            call_id=self.call_id,
            type=self.type,
            note=self.note,
            node_id=self.node_id,
            node_name=self.node_name,
            message_index=index,
            message_text=text,
        )
        attach = AttachResource(issue_id=issue_id, resource_type="call", resource_id=self.call_id)
        try:
            receipt = await work.client.deliver(operation)
        except Conflict as error:
            if error.code != "call_not_attached":
                raise
            if not self.attach_if_missing:
                error.try_next = TryNext(tool=AttachResource.tool_name(), arguments=attach.model_dump(mode="json"))
                raise
            return await self._flag_once_attached(work, attach, operation)
        return {**shown(receipt.result), "outcome": receipt.outcome}

    async def _flag_once_attached(self, work: Work, attach: AttachResource, operation: flags.AddFlag) -> JsonObject:
        """Attach the call, then flag it. What became of the first is told whatever becomes of the second."""
        with preparing("call_id"):
            link = await work.client.deliver(attach)
        attached = {"resource_link_id": link.result.id, "outcome": link.outcome}
        try:
            receipt = await work.client.deliver(operation)
        except CallError as error:
            error.details["attached"] = attached
            raise
        return {**shown(receipt.result), "attached": attached, "outcome": receipt.outcome}

    async def _moment(self, work: Work) -> tuple[int | None, str | None]:
        """Index and verbatim text of the moment meant, or two Nones when the flag is for the whole call."""
        if self.quote is None and self.message_index is None:
            return None, None
        turns = (await work.client.send(GetCall(call_id=self.call_id))).transcripts or []
        if self.message_index is not None and self.message_index >= len(turns):
            raise Rejected(
                f"The transcript has {len(turns)} turns, counted from 0.",
                field="message_index",
                outcome="not_committed",
                try_next=TryNext(tool=GetTranscriptTool.tool_name(), arguments={"call_id": self.call_id}),
            )
        if self.message_index is not None and self.quote is None:
            return self.message_index, _storable(turns[self.message_index].text)
        # A search through a long call takes a while; other calls must not wait for it.
        return await to_thread.run_sync(self._quoted, turns, self.quote or "")

    def _quoted(self, turns: list[Turn], quote: str) -> tuple[int, str | None]:
        """Index of the turn that holds the quote, and the part of it that the quote stands in; of the turn that is named
        besides, the part that is nearly the quote. Raises Rejected where that is not one turn."""
        at = self.message_index
        hits = [n for n in quoted(turns, quote) if at is None or n == at]
        if at is not None and not hits and (sure := _sure(nearest(turns[at : at + 1], quote))) is not None:
            return at, _storable(part(turns[at].text, sure.start, sure.end))
        if len(hits) != 1:
            raise self._no_single_turn(turns, hits, quote)
        text, where = turns[hits[0]].text, place(turns, hits[0], quote)
        return hits[0], _storable(text if where is None else part(text, *where))

    def _no_single_turn(self, turns: list[Turn], hits: list[int], quote: str) -> Rejected:
        """The error for a quote that is not one turn's. Where one turn is nearly the quote, and says neither the opposite
        nor other numbers, it holds the call that flags that one."""
        run = [] if hits else across(turns, quote)
        near = [] if hits or run else nearest(turns, quote)
        parts = [(n, (place(turns, n, quote) or (0, 0))[0]) for n in hits[:MOST_TURNS]]
        parts += [(n, 0) for n in run]
        parts += [(one.index, one.start) for one in near[:MOST_TURNS]]
        found = [{**numbered(n, turns[n]), **around(turns[n].text, start)} for n, start in parts]
        counted = {"returned": len(found), "total": len(hits)} if hits else {}
        error = Rejected(
            _refusal(len(hits), run, self.message_index),
            code="quote_ambiguous" if hits else "quote_not_found",
            field="quote",
            outcome="not_committed",
            details={"candidates": untrusted("call parties", **counted, turns=found)},
        )
        if (sure := _sure(near)) is not None:
            given = self.model_dump(mode="json", exclude={"quote"}, exclude_unset=True)
            error.try_next = same_call(AddFlagTool, {**given, "message_index": sure.index})
        return error


def _refusal(hits: int, run: list[int], named: int | None) -> str:
    """What is wrong with a quote that matches so many turns, or runs over some."""
    if hits:
        return f"The quote matches {hits} turns. Pass the message_index of the one you mean besides."
    if run:
        turns = ", ".join(map(str, run))
        return f"The quote runs over turns {turns}, and a flag marks one. Quote the words of one, or pass its message_index."
    if named is not None:
        return f"The quote does not stand in turn {named}. Leave message_index out, or pass words that were said there."
    return "The quote matches no turn. Pass the message_index of the turn you mean, or words that were said."


def _sure(near: list[Near]) -> Near | None:
    """The turn that is surely meant, if one is nearly the quote and no other one comes near."""
    if not near or near[0].likeness < SURE or near[0].contrary:
        return None
    return None if any(one.likeness >= near[0].likeness - APART for one in near[1:]) else near[0]


def _storable(text: str) -> str | None:
    """Words as a flag can store them: as they are, up to the contract's limit; what no API takes as escapes."""
    return UNSTORABLE.sub(lambda found: gate(found[0])[0], text)[:10_000] or None
