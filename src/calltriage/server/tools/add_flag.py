"""Flagging the moment of a call, or several moments at once."""

from typing import Annotated, ClassVar

from pydantic import Field

from calltriage.errors import CallError, Conflict, TryNext, UnreadableAnswer
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
from calltriage.server.answers.results import shown, together
from calltriage.server.answers.writes_shown import FLAG_SHOWN, ONE_FLAG, AddedFlag
from calltriage.server.context import ISSUE, Invocation, Workflow, preparing
from calltriage.server.tools.flag_moments import Moment, Sought
from calltriage.server.tools.several_flags import MOST_FLAGS, MomentRef, failed, flagged_each, moments_of

NOT_ATTACHED = "The call is not attached to this issue. Attach it first, or call again with attach_if_missing true."


class AddFlagTool(Workflow, effect=Effect.ADD, wraps=flags.AddFlag):
    """Mark or tag the moment of an attached call where something went wrong.

    Say where with quote (words of one turn; its own sentence is stored), message_index or both. A quote of no turn or
    several writes nothing and shows the nearest. Attach the call first (attach_resource) or with attach_if_missing. The
    same flag again within minutes is a replay.
    """

    result: ClassVar[object] = AddedFlag
    note_in: ClassVar[str] = "explanation"  # a flag has a note of its own

    issue_id: IssueRef = Field(description=ISSUE)
    call_id: CallId
    type: FlagType = Field(description="E.g. missed_handoff; prefer one from list_flag_types.")
    quote: MessageText | None = Field(default=None, min_length=1, description="Words of the turn.")
    message_index: TurnIndex | None = Field(default=None, description="Turn, from 0.")
    message_text: MessageText | None = Field(
        default=None, min_length=1, description="For a moment that no turn has; marked unverified."
    )
    attach_if_missing: bool = False
    also: Annotated[list[MomentRef], Field(min_length=1, max_length=MOST_FLAGS)] | None = Field(
        default=None, description="More moments of this type, of any call."
    )

    async def run(self, work: Invocation) -> JsonObject:
        if self.attach_if_missing:
            work.server.allow(AttachResource, "attach_if_missing")
        issue_id = await work.server.issue_id(self.issue_id)
        more = self.also or []
        sought = [self._sought(), *(one.sought(one.call_id or self.call_id) for one in more)]
        moment, *others = await moments_of(work, sought, "also", first=1)
        body = await self._first(work, self._operation(issue_id, moment), is_alone=not more)
        body |= {"unverified": list(moment.unverified)} if moment.unverified else {}
        if not more:
            return body
        operations = [
            flags.AddFlag(
                issue_id=issue_id,
                call_id=one.call_id or self.call_id,
                type=self.type,
                note=one.note,
                message_index=where.index,
                message_text=where.text,
            )
            for one, where in zip(more, others, strict=True)
        ]
        return _all_of(body, await flagged_each(operations, lambda one: self._flagged(work, one)))

    async def _first(self, work: Invocation, operation: flags.AddFlag, *, is_alone: bool) -> JsonObject:
        """Add the flag of the arguments themselves. If it was added but its answer cannot be read, the others follow all the
        same."""
        try:
            return await self._flagged(work, operation)
        except UnreadableAnswer as error:
            if is_alone or error.outcome not in {"committed", "replayed"}:
                raise
            return {"outcome": error.outcome, "explanation": str(error)}

    def _operation(self, issue_id: str, moment: Moment) -> flags.AddFlag:
        return self.request(flags.AddFlag, issue_id=issue_id, message_index=moment.index, message_text=moment.text)

    async def _flagged(self, work: Invocation, operation: flags.AddFlag) -> JsonObject:
        attach = AttachResource(issue_id=operation.issue_id, resource_type="call", resource_id=operation.call_id)
        try:
            receipt = await work.server.client.deliver(operation)
        except Conflict as error:
            if error.code != "call_not_attached":
                raise
            if not self.attach_if_missing:
                error.try_next = self._attaching(work, attach)
                error.args = error.args if error.try_next is None else (NOT_ATTACHED,)
                raise
            return await self._flag_once_attached(work, attach, operation)
        return {**shown(receipt.result, FLAG_SHOWN), "outcome": receipt.outcome}

    def _attaching(self, work: Invocation, attach: AttachResource) -> TryNext | None:
        """Advice: the same call with attach_if_missing, or the attaching alone if the call holds free text; None if
        attaching is excluded."""
        given = self.model_dump(mode="json", exclude_unset=True, exclude_none=True)
        again = same_call(AddFlagTool, {**given, "attach_if_missing": True})
        alone = TryNext(tool=AttachResource.tool_name(), arguments=attach.model_dump(mode="json"))
        return None if AttachResource.tool_name() in work.server.excluded else again or alone

    async def _flag_once_attached(
        self, work: Invocation, attach: AttachResource, operation: flags.AddFlag
    ) -> JsonObject:
        """Attach the call, then flag it. If flagging fails, its error says what became of the attaching."""
        with preparing("call_id"):
            link = await work.server.client.deliver(attach)
        attached = {"resource_link_id": link.result.id, "outcome": link.outcome}
        try:
            receipt = await work.server.client.deliver(operation)
        except CallError as error:
            error.details["attached"] = attached
            raise
        return {**shown(receipt.result, FLAG_SHOWN), "attached": attached, "outcome": receipt.outcome}

    def _sought(self) -> Sought:
        given = self.model_dump(mode="json", exclude={"quote"}, exclude_unset=True)
        return Sought(
            self.call_id,
            self.quote,
            self.message_index,
            self.message_text,
            lambda place: same_call(AddFlagTool, {**given, **place}),
        )


def _all_of(body: JsonObject, also: list[JsonObject]) -> JsonObject:
    """The answer for a flag and those that were to be added with it, with the outcome that holds for all."""
    missing = len(failed(also))
    told = {"explanation": f"{missing} of {len(also) + 1} flags were not added, or it is unknown."} if missing else {}
    return {
        **body,
        "also": [_brief(one) for one in also],
        "outcome": together(one["outcome"] for one in [body, *also]),
        **told,
    }


def _brief(flag: JsonObject) -> JsonObject:
    """What became of a flag among several."""
    told = ONE_FLAG | {"trust", "origin", "unreadable_fields", "attached", "outcome", "error"}
    return {name: value for name, value in flag.items() if name in told}
