"""Flagging the moment of a call: by the words that were said, or by the turn's index."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from anyio import to_thread
from pydantic import Field

from calltriage.errors import CallError, Conflict, Rejected, TryNext
from calltriage.leaves.gate import gate
from calltriage.matching.quotes import around, holds, nearest, start_of
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
from calltriage.server.tools.transcripts import GetTranscript

UNSTORABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
"""Characters that the contract's texts may not have, and lone surrogates, which cannot be sent."""
SURE, APART = 0.8, 0.2
"""Likeness from which a turn is taken for the one that was quoted, and how far behind every other turn must be."""
MOST_TURNS = 5
"""Turns that an error shows."""


class AddFlag(Workflow, effect=Effect.ADD):
    """Mark the moment of an attached call where something went wrong.

    Say where with quote (words of one turn; the server finds it and stores the turn's own text) or message_index. If the
    quote matches no turn or several, nothing is written and the nearest turns come back. The call must be attached
    first (attach_resource), or pass attach_if_missing. The same flag again within minutes is a replay.
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

    async def run(self, work: Work) -> dict[str, Any]:
        if self.quote is not None and self.message_index is not None:
            raise Rejected("Pass quote or message_index, not both.", field="quote", outcome="not_committed")
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

    async def _flag_once_attached(self, work: Work, attach: AttachResource, operation: flags.AddFlag) -> dict[str, Any]:
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
        """Index and verbatim text of the turn meant, or two Nones when the flag is for the whole call."""
        if self.quote is None and self.message_index is None:
            return None, None
        turns = (await work.client.send(GetCall(call_id=self.call_id))).transcripts or []
        if self.message_index is not None:
            if self.message_index >= len(turns):
                raise Rejected(
                    f"The transcript has {len(turns)} turns, counted from 0.",
                    field="message_index",
                    outcome="not_committed",
                    try_next=TryNext(tool=GetTranscript.tool_name(), arguments={"call_id": self.call_id}),
                )
            return self.message_index, _verbatim(turns[self.message_index])
        # A search through a long call takes a while; other calls must not wait for it.
        hits = await to_thread.run_sync(lambda: [n for n, turn in enumerate(turns) if holds(turn, self.quote or "")])
        if len(hits) == 1:
            return hits[0], _verbatim(turns[hits[0]])
        error, sure = await to_thread.run_sync(_no_single_turn, turns, hits, self.quote or "")
        if sure is not None:
            given = self.model_dump(mode="json", exclude={"quote"}, exclude_unset=True)
            error.try_next = same_call(AddFlag, {**given, "message_index": sure})
        raise error


def _verbatim(turn: Turn) -> str | None:
    """A turn's words as a flag can store them: as they are, up to the contract's limit; what no API takes as escapes."""
    return UNSTORABLE.sub(lambda found: gate(found[0])[0], turn.text)[:10_000] or None


def _no_single_turn(turns: list[Turn], hits: list[int], quote: str) -> tuple[Rejected, int | None]:
    """The error for a quote that is not one turn's, and the turn that is surely meant, where one is nearly the quote."""
    near = [] if hits else nearest(turns, quote)
    sure = near[0].index if near and near[0].likeness >= SURE else None
    if any(one.likeness >= near[0].likeness - APART for one in near[1:]):
        sure = None
    parts = [(n, start_of(turns[n].text, quote)) for n in hits[:MOST_TURNS]]
    parts += [(one.index, one.start) for one in near[:MOST_TURNS]]  # of which there are some where there are no hits
    found = [{**numbered(n, turns[n]), **around(turns[n].text, start)} for n, start in parts]
    counted = {"returned": len(found), "total": len(hits)} if hits else {}
    error = Rejected(
        f"The quote matches {len(hits)} turns. Pass the message_index of the one you mean."
        if hits
        else "The quote matches no turn. Pass the message_index of the turn you mean, or words that were said.",
        code="quote_ambiguous" if hits else "quote_not_found",
        field="quote",
        outcome="not_committed",
        details={"candidates": untrusted("call parties", **counted, turns=found)},
    )
    return error, sure
