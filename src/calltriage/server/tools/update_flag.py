"""Correcting a flag. The API has no such request: the new flag is added first, then the old one is removed, so that one of
them always exists."""

from contextlib import suppress
from typing import ClassVar

from pydantic import Field, ValidationError

from calltriage.errors import CallError, Conflict, NotFound, Outcome, Rejected, TryNext, UnreadableAnswer
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.activity import ListActivity
from calltriage.operations.base import Effect
from calltriage.operations.fields import FlagId, FlagType, IssueRef, MessageText, NodeName, Note, TurnIndex
from calltriage.operations.flags import AddFlag, Flag, ListFlags, RemoveFlag
from calltriage.server.answers.advice import same_call
from calltriage.server.answers.results import shown, untrusted
from calltriage.server.answers.writes_shown import FLAG_SHOWN, CorrectedFlag
from calltriage.server.context import ISSUE, Invocation, Workflow, every_page, preparing
from calltriage.server.tools.flag_moments import Sought

PAGES = 50
"""Pages of a hundred flags that are looked through for the one to correct."""
RECENT = 100
"""Latest writes of the caller that are looked through for a correction already made."""
NODE = ("node_id", "node_name")
KEPT = tuple(name for name in AddFlag.model_fields if name in Flag.model_fields)
"""Fields of a flag that a correction keeps unless they are passed."""


class UpdateFlagTool(Workflow, effect=Effect.ADD):
    """Correct a flag that marks the wrong turn: move it to another one, or change its type or note. What is not passed is
    kept.

    It gets a new id: the corrected one is added first, the old one removed after; both ids come back. Say where as in
    add_flag. If a failure leaves both, the same call again finishes it.
    """

    result: ClassVar[object] = CorrectedFlag
    note_in: ClassVar[str] = "explanation"  # a flag has a note of its own

    issue_id: IssueRef = Field(description=ISSUE)
    flag_id: FlagId = Field(description="Wrong one.")
    type: FlagType | None = None
    note: Note | None = None
    quote: MessageText | None = Field(default=None, min_length=1, description="Of that turn.")
    message_index: TurnIndex | None = Field(default=None, description="Right turn.")
    node_id: NodeName | None = Field(default=None, description="Pathway node.")
    node_name: NodeName | None = None

    async def run(self, work: Invocation) -> JsonObject:
        if not self._given() and self.quote is None:
            raise Rejected("Nothing to correct. Pass what should change.", code="empty_update")
        issue_id = await work.server.issue_id(self.issue_id)
        async with work.server.alone():
            with preparing("issue_id"):
                flags = await _flags(work, issue_id)
            old = next((flag for flag in flags if flag.id.lower() == self.flag_id), None)
            if old is None:
                return await self._corrected_before(work, issue_id, flags)
            operation = await self._corrected(work, issue_id, old)
            if operation.is_like(old):
                return {
                    **shown(old, FLAG_SHOWN),
                    "outcome": "replayed",
                    "explanation": "The flag is so already. Nothing was written.",
                }
            return await self._replaced(work, operation, old, flags)

    def _given(self) -> JsonObject:
        """The fields that are to change, besides the moment that a quote names."""
        return self.model_dump(exclude={"issue_id", "flag_id", "quote"}, exclude_none=True)

    async def _corrected(self, work: Invocation, issue_id: str, old: Flag) -> AddFlag:
        """The flag as it should be. Raises Rejected if the call has no such moment, or several; UnreadableAnswer if a kept
        field of the old flag cannot be written again."""
        kept: JsonObject = {name: getattr(old, name) for name in KEPT if getattr(old, name) not in (None, "")}
        changed = self._given()
        lost = {name.partition(".")[0] for name in old.unreadable_fields or ()} & set(KEPT) - set(changed)
        if self.quote is not None or self.message_index is not None:
            with preparing():
                moment = await self._sought(old).moment(work)
            if moment.index != old.message_index:  # the node belonged to the old turn
                kept = {name: value for name, value in kept.items() if name not in NODE}
            changed |= {"message_index": moment.index, "message_text": moment.text}
            lost -= {"message_index", "message_text"}
        try:
            if lost:
                raise ValueError(lost)
            return AddFlag.model_validate({**kept, **changed, "issue_id": issue_id})
        except ValueError as error:
            names = {str(one["loc"][0]) for one in error.errors()} if isinstance(error, ValidationError) else lost
            raise UnreadableAnswer(
                f"The old flag's {', '.join(sorted(names))} cannot be written again as the API shows it. Pass it, or add a "
                "flag anew. Nothing was written.",
                outcome="not_committed",
            ) from None

    def _sought(self, old: Flag) -> Sought:
        given = self.model_dump(mode="json", exclude={"quote"}, exclude_unset=True)

        def again(place: JsonObject) -> TryNext | None:
            return same_call(UpdateFlagTool, {**given, **place})

        return Sought(old.call_id, self.quote, self.message_index, None, again)

    async def _replaced(self, work: Invocation, operation: AddFlag, old: Flag, flags: list[Flag]) -> JsonObject:
        """Add the new flag unless an equal one is there, as after a correction that was cut off; then remove the old one."""
        others = [flag for flag in flags if flag.id != old.id]
        there = _like(operation, others)
        new, outcome = (there, "replayed") if there is not None else await self._added(work, operation, flags)
        if new.id == old.id:  # an API may keep one flag of equal content
            return {**shown(new, FLAG_SHOWN), "outcome": outcome}
        try:
            await work.server.client.deliver(RemoveFlag(issue_id=operation.issue_id, flag_id=self.flag_id))
        except NotFound:  # somebody else removed it meanwhile
            pass
        except CallError as error:
            raise self._left_both(error, new.id, outcome) from error
        when = await _removed_at(work, operation.issue_id, self.flag_id, new)
        removed = {} if when is None else {"removed_at": when}
        return {
            **_answer(new, self.flag_id),
            "replaced": untrusted("flag authors", flag=_words(old), **removed),
            "outcome": "committed",
        }

    async def _added(self, work: Invocation, operation: AddFlag, flags: list[Flag]) -> tuple[Flag, Outcome | None]:
        """The new flag and its outcome. If the answer cannot be read, the flag is looked for among those that were not there
        before."""
        try:
            receipt = await work.server.client.deliver(operation)
        except CallError as error:
            if error.outcome not in {"committed", "unknown"}:
                raise
            known = {flag.id for flag in flags}
            with suppress(CallError):
                now = await _flags(work, operation.issue_id)
                if new := _like(operation, [flag for flag in now if flag.id not in known]):
                    return new, "committed"
            raise self._left_both(error, None, "unknown") from error
        return receipt.result, receipt.outcome

    def _left_both(self, error: CallError, new_id: str | None, added: Outcome | None) -> CallError:
        """The error after which both flags may exist. The old one is never removed before the new one is seen."""
        if new_id is None:
            stands = "The old flag stands, and the corrected one may stand beside it."
        elif error.outcome == "unknown":
            stands = (
                "The corrected flag stands, and the old one may stand beside it: whether it was removed is not known."
            )
        else:
            stands = "The corrected flag stands, and the old one beside it: it could not be removed."
        again = "Call update_flag again with the same arguments: it adds nothing twice and removes the old flag."
        outcome: Outcome = "unknown" if error.outcome == "committed" else error.outcome or "unknown"
        told = type(error)(f"{stands} {again} {error}", code=error.code, status=error.status, outcome=outcome,
                           retry_after_s=error.retry_after_s, request_id=error.request_id)  # fmt: skip
        told.try_next = same_call(UpdateFlagTool, self.model_dump(mode="json", exclude_none=True))
        new = {"outcome": added} if new_id is None else {"flag_id": new_id, "outcome": added}
        told.details = {"added": new, "replaced_flag_id": self.flag_id}
        return told

    async def _corrected_before(self, work: Invocation, issue_id: str, flags: list[Flag]) -> JsonObject:
        """The answer if the flag is gone: the flag that a correction by this caller put in its place. Raises NotFound if
        there is none, Conflict (`flag_replaced`) if that correction was another."""
        made = await _replacement(work, issue_id, self.flag_id)
        new = next((flag for flag in flags if flag.id == made), None)
        if new is None:
            raise NotFound("No such flag on this issue.", field="flag_id")
        if not (await self._corrected(work, issue_id, new)).is_like(new):
            given = self.model_dump(mode="json", exclude_none=True)
            raise Conflict(
                "This flag was corrected before, in another way: another flag stands in its place. Nothing was written. "
                "To correct that one pass its id.",
                code="flag_replaced",
                field="flag_id",
                outcome="not_committed",
                details={"current": shown(new)},
                try_next=same_call(UpdateFlagTool, {**given, "flag_id": new.id}),
            )
        told = "This flag was corrected before. What stands in its place is shown; nothing was written now."
        return {**_answer(new, self.flag_id), "outcome": "replayed", "explanation": told}


def _answer(new: Flag, old_id: str) -> JsonObject:
    return {**shown(new, FLAG_SHOWN), "replaced_flag_id": old_id}


def _words(old: Flag) -> JsonObject:
    """What a correction took away, as it was."""
    return old.model_dump(mode="json", exclude_none=True, include={"type", "note", "message_index", "message_text"})


async def _removed_at(work: Invocation, issue_id: str, old_id: str, new: Flag) -> str | None:
    """When the old flag was removed, if that was the last event of the issue. It is the feed's newest entry, if that names
    the flag, or follows the entry of the new flag and has the same actor. None if the feed does not tell."""
    try:
        entries = (await work.server.client.send(ListActivity(issue_id=issue_id, limit=2))).items
    except CallError:
        return None
    if not entries or entries[0].type != "flag_removed":
        return None
    last, *before = entries
    named = (last.metadata or {}).get("flag_id")
    follows = [
        one.type == "flag_added" and one.created_at == new.created_at and one.actor == last.actor for one in before
    ]
    return last.created_at if named == old_id or (named is None and follows[:1] == [True]) else None


async def _flags(work: Invocation, issue_id: str) -> list[Flag]:
    return (
        await every_page(
            work.server.client, lambda cursor: ListFlags(issue_id=issue_id, limit=100, cursor=cursor), PAGES
        )
    )[0]


def _like(operation: AddFlag, flags: list[Flag]) -> Flag | None:
    """The flag that the operation would add, if it is among these."""
    return next((flag for flag in flags if operation.is_like(flag)), None)


async def _replacement(work: Invocation, issue_id: str, flag_id: str) -> str | None:
    """Id of the flag that this caller last put in place of `flag_id`, from the journal; None if unknown."""
    if work.server.journal is None:
        return None
    async with work.server.journal.calling(UpdateFlagTool.tool_name(), work.who, None) as call:
        writes = await work.server.journal.recent(call, RECENT)
    ours = [one for one in writes if one["tool"] == UpdateFlagTool.tool_name() and one.get("issue_id") == issue_id]
    removed = max((n for n, one in enumerate(ours) if one.get("flag_id") == flag_id), default=len(ours))
    before = next(iter(ours[removed + 1 :]), None)  # newest first: a correction adds, then removes
    return before.get("made") if before is not None and before["operation"] == AddFlag.tool_name() else None
