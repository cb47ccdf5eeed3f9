"""Flagging the moment of a call."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from calltriage.errors import CallError, Conflict, TryNext
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations import flags
from calltriage.operations.base import Effect
from calltriage.operations.fields import (
    CallId,
    FlagType,
    IssueRef,
    MessageText,
    TurnIndex,
)
from calltriage.operations.resource_links import AttachResource
from calltriage.server.answers.advice import same_call
from calltriage.server.answers.results import shown
from calltriage.server.context import ISSUE, Work, Workflow, preparing
from calltriage.server.tools.flag_moments import Sought


class AddFlagTool(Workflow, effect=Effect.ADD, wraps=flags.AddFlag):
    """Mark or tag the moment of an attached call where something went wrong.

    Say where with quote (words of one turn; the server finds it and stores the turn's own sentence) or message_index, or
    both. If the quote matches no turn or several, nothing is written and the nearest turns come back. The call must be
    attached first (attach_resource), or pass attach_if_missing. The same flag again within minutes is a replay.
    """

    result: ClassVar[Any] = flags.Flag

    issue_id: IssueRef = Field(description=ISSUE)
    call_id: CallId
    type: FlagType = Field(description="What went wrong, e.g. missed_handoff; prefer one from list_flag_types.")
    quote: MessageText | None = Field(default=None, min_length=1, description="Words said in the flagged turn.")
    message_index: TurnIndex | None = Field(default=None, description="Turn in the transcript, from 0.")
    message_text: MessageText | None = Field(
        default=None, min_length=1, description="Instead of quote, for a moment that no turn has; marked unverified."
    )
    attach_if_missing: bool = Field(default=False, description="Attach the call first if it is not.")

    async def run(self, work: Work) -> JsonObject:
        if self.attach_if_missing:
            work.allow(AttachResource, "attach_if_missing")
        issue_id = await work.issue_id(self.issue_id)
        moment = await self._sought().moment(work)
        operation = self.request(flags.AddFlag, issue_id=issue_id, message_index=moment.index, message_text=moment.text)
        unverified = {"unverified": list(moment.unverified)} if moment.unverified else {}
        return {**await self._flagged(work, operation), **unverified}

    async def _flagged(self, work: Work, operation: flags.AddFlag) -> JsonObject:
        attach = AttachResource(issue_id=operation.issue_id, resource_type="call", resource_id=self.call_id)
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

    def _sought(self) -> Sought:
        given = self.model_dump(mode="json", exclude={"quote"}, exclude_unset=True)
        return Sought(
            self.call_id,
            self.quote,
            self.message_index,
            self.message_text,
            lambda place: same_call(AddFlagTool, {**given, **place}),
        )
