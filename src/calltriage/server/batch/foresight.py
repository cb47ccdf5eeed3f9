"""Foresees what the APIs would hold after some writes. Reads are sent, each once. Writes are not: they change what later
reads answer here, and are refused where the API would refuse them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeVar, get_args

from calltriage.client.answers import MESSAGES
from calltriage.client.client import Client
from calltriage.client.pages import pages
from calltriage.client.receipts import Receipt
from calltriage.errors import Conflict, NotFound, Rejected
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.activity import AddComment, TimelineEntry
from calltriage.operations.attachments import GetAttachment
from calltriage.operations.base import Effect, Operation
from calltriage.operations.calls import GetCall
from calltriage.operations.conversations import GetSmsConversation
from calltriage.operations.fields import Severity, Status, stored_flag_type
from calltriage.operations.flags import AddFlag, Flag, ListFlags, RemoveFlag
from calltriage.operations.issues import CreateIssue, GetIssue, Issue, ListIssues, UpdateIssue
from calltriage.operations.relations import LinkIssue, ListRelations, Relation
from calltriage.operations.resource_links import AttachResource, ListResources, ResourceLink
from calltriage.operations.results import Page
from calltriage.operations.traces import agree

R = TypeVar("R")

PAGES = 50
"""Pages of a hundred rows that are read of one list."""
UNNUMBERED = "the new issue"
EDITABLE = tuple(name for name in UpdateIssue.model_fields if name != "issue_id")
"""Fields of an issue that can be changed."""
WORDS = ("type", "note", "message_index", "message_text")
"""What a flag says."""
PLACE_HOLDER = "00000000-0000-4000-8000-"


def is_place_holder(made_id: str) -> bool:
    """Whether an id stands for something that a plan has yet to make."""
    return made_id.startswith(PLACE_HOLDER)


@dataclass(frozen=True)
class Step:
    """A request that a write would send.

    Attributes:
        does: name of the operation.
        words: what it would do, in our words and ids alone.
        rests_on: state that the write was decided on; if it changes, the write has to be planned again.
    """

    does: str
    words: str
    rests_on: JsonObject = field(default_factory=JsonObject)

    def kept(self) -> JsonObject:
        return {"does": self.does, "rests_on": self.rests_on} if self.rests_on else {"does": self.does}


@dataclass
class Foresight:
    """Answers operations as the APIs would after the writes so far.

    Attributes:
        client: sends the reads.
        answers: answers to the reads that were sent, by request; others may share them.
        steps: requests that the writes would send, since the list was last emptied.
        number: number of the present write; 3 names what it makes `$3`, 0 is none.
    """

    client: Client
    answers: JsonObject = field(default_factory=JsonObject)
    steps: list[Step] = field(default_factory=list[Step])
    number: int = 0
    _issues: dict[str, Issue] = field(default_factory=dict[str, Issue])
    _names: dict[str, str] = field(default_factory=dict[str, str])
    _lists: dict[str, list[Any]] = field(default_factory=dict[str, list[Any]])
    _made: int = 0

    async def carry(self, operation: Operation[object], /) -> Receipt[Any]:
        """The answer that the API would give. A Carrier."""
        if operation.effect is Effect.READ:
            return Receipt(await self._read(operation), None)
        return await self._write(operation)

    async def _write(self, operation: Operation[object]) -> Receipt[Any]:
        match operation:
            case CreateIssue():
                return await self._filed(operation)
            case UpdateIssue():
                return await self._updated(operation)
            case AddFlag():
                return await self._flagged(operation)
            case RemoveFlag():
                return await self._unflagged(operation)
            case AttachResource():
                return await self._attached(operation)
            case LinkIssue():
                return await self._linked(operation)
            case AddComment():
                return await self._commented(operation)
            case _:
                raise Rejected("This cannot be planned. Call its tool by itself.", outcome="not_committed")

    async def _read(self, operation: Operation[object]) -> Any:
        match operation:
            case GetIssue():
                return await self._issue(operation.issue_id)
            case ListResources() | ListFlags() | ListRelations():
                return _page(await self._rows(operation))
            case ListIssues(cursor=None):
                made = [issue for issue_id, issue in self._issues.items() if is_place_holder(issue_id)]
                return _page([*(page := await self._answer(operation)).items, *made], page)
            case _:
                return await self._answer(operation)

    async def _answer(self, operation: Operation[R]) -> R:
        name = f"{operation.method} {operation.url()} {operation.model_dump_json()}"
        if name not in self.answers:
            self.answers[name] = await self.client.send(operation)
        return self.answers[name]

    # What there is

    async def _issue(self, issue_id: str, argument: str = "issue_id") -> Issue:
        """The issue as it would be. Raises NotFound naming the argument."""
        if issue_id not in self._issues:
            try:
                self._issues[issue_id] = await self.client.send(GetIssue(issue_id=issue_id))
            except NotFound as error:
                error.field = argument
                raise
        return self._issues[issue_id]

    async def _name(self, issue_id: str, argument: str = "issue_id") -> str:
        """What an issue is called: its ticket, or the write that makes it."""
        issue = await self._issue(issue_id, argument)
        return self._names.get(issue_id) or issue.triage_id or issue.id

    async def _rows(self, pages: Any) -> list[Any]:
        """All rows of an issue's list as it would be."""
        issue_id: str = pages.issue_id
        name = f"{pages.tool_name()} {issue_id}"
        if name not in self._lists:
            await self._issue(issue_id)
            self._lists[name] = [] if is_place_holder(issue_id) else await self._all(pages)
        return self._lists[name]

    async def _all(self, listing: Operation[Page[R]]) -> list[R]:
        listed = listing.model_copy(update={"limit": 100})
        return [row async for page in pages(self.client.send, listed, PAGES) for row in page.items]

    async def _check_resource(self, kind: str, resource_id: str, argument: str) -> None:
        """Raise NotFound for evidence that is not there, where that can be told before it is attached."""
        reads: dict[str, Operation[object]] = {
            "call": GetCall(call_id=resource_id),
            "sms_conversation": GetSmsConversation(conversation_id=resource_id),
        }
        if self.client.shares_ids:
            reads["file"] = GetAttachment(attachment_id=resource_id)
        try:
            if kind in reads:
                await self._answer(reads[kind])
        except NotFound as error:
            error.field = argument
            raise

    # What would be written

    def _new_id(self) -> str:
        self._made += 1
        return f"{PLACE_HOLDER}{self._made:012x}"

    def _noted(self, operation: Operation[object], words: str, result: R, **rests_on: object) -> Receipt[R]:
        self.steps.append(Step(operation.tool_name(), words, rests_on))
        return Receipt(result, "committed")

    async def _filed(self, operation: CreateIssue) -> Receipt[Issue]:
        links = operation.resource_links or []
        for link in links:
            await self._check_resource(link.resource_type, link.resource_id, "resource_links")
        defaults = {"status": "todo", "source": "manual"}
        fields = defaults | operation.model_dump(exclude={"resource_links"}, exclude_none=True)
        issue = Issue.model_validate({**fields, "id": self._new_id()})
        self._issues[issue.id] = issue
        self._names[issue.id] = f"${self.number}" if self.number else UNNUMBERED
        held = await self._rows(ListResources(issue_id=issue.id))
        held += [_link(issue.id, one.resource_type, one.resource_id, self._new_id()) for one in links]
        evidence = f" with {len(links)} pieces of evidence" if links else ""
        return self._noted(operation, f"file an issue{evidence}", issue)

    async def _updated(self, operation: UpdateIssue) -> Receipt[Issue]:
        issue_id = operation.issue_id
        issue, name = await self._issue(issue_id), await self._name(issue_id)
        changes = {one: getattr(operation, one) for one in EDITABLE if one in operation.model_fields_set}
        before = {one: getattr(issue, one) for one in EDITABLE}
        self._issues[issue_id] = issue.model_copy(update=changes)
        own = is_place_holder(issue_id)
        rests_on: JsonObject = {} if own else {"before": before, "becomes": changes}
        words = f"change {', '.join(_told(one, before[one], changes[one]) for one in changes)} of {name}"
        return self._noted(operation, words, self._issues[issue_id], **rests_on)

    async def _attached(self, operation: AttachResource) -> Receipt[ResourceLink]:
        kind, resource_id = operation.resource_type, operation.resource_id
        held: list[ResourceLink] = await self._rows(ListResources(issue_id=operation.issue_id))
        there = next((one for one in held if agree(operation, one) is not False), None)
        if there is not None:
            return Receipt(there, "replayed")
        await self._check_resource(kind, resource_id, "resource_id")
        held.append(link := _link(operation.issue_id, kind, resource_id, self._new_id()))
        return self._noted(operation, f"attach {kind} {resource_id} to {await self._name(operation.issue_id)}", link)

    async def _flagged(self, operation: AddFlag) -> Receipt[Flag]:
        held: list[ResourceLink] = await self._rows(ListResources(issue_id=operation.issue_id))
        if not any((one.resource_type, one.resource_id) == ("call", operation.call_id) for one in held):
            code = "call_not_attached"
            raise Conflict(MESSAGES[code], code=code, field="call_id", outcome="not_committed")
        flags: list[Flag] = await self._rows(ListFlags(issue_id=operation.issue_id))
        there = next((flag for flag in flags if operation.is_like(flag)), None)
        if there is not None:
            return Receipt(there, "replayed")
        stored = {**operation.model_dump(exclude_none=True), "type": stored_flag_type(operation.type)}
        flags.append(flag := Flag.model_validate({**stored, "id": self._new_id()}))
        turn = "" if flag.message_index is None else f"turn {flag.message_index} of "
        words = f"flag {turn}call {flag.call_id} as {flag.type} on {await self._name(operation.issue_id)}"
        return self._noted(operation, words, flag, **{one: stored.get(one) for one in WORDS})

    async def _unflagged(self, operation: RemoveFlag) -> Receipt[None]:
        flags: list[Flag] = await self._rows(ListFlags(issue_id=operation.issue_id))
        old = next((flag for flag in flags if flag.id.lower() == operation.flag_id), None)
        if old is None:
            raise NotFound("No such flag on this issue.", field="flag_id", outcome="not_committed")
        flags.remove(old)
        kept = {one: getattr(old, one) for one in AddFlag.model_fields if one != "issue_id"}
        return self._noted(operation, "remove the flag that it takes the place of", None, **kept)

    async def _linked(self, operation: LinkIssue) -> Receipt[Relation]:
        source = await self._name(operation.issue_id)
        target = await self._name(operation.related_issue_id, "related_issue_id")
        held: list[Relation] = await self._rows(ListRelations(issue_id=operation.issue_id))
        ends = ("issue_id", "related_issue_id", "relation_type")
        there = next((one for one in held if agree(operation, one, ends)), None)
        if there is not None:
            return Receipt(there, "replayed")
        relation = Relation.model_validate({**operation.model_dump(), "id": self._new_id()})
        held.append(relation)
        (await self._rows(ListRelations(issue_id=operation.related_issue_id))).append(relation)
        return self._noted(operation, f"link {source} {operation.relation_type} {target}", relation)

    async def _commented(self, operation: AddComment) -> Receipt[TimelineEntry]:
        name = await self._name(operation.issue_id)
        entry = TimelineEntry(id=self._new_id(), issue_id=operation.issue_id, type="comment", detail=operation.detail)
        return self._noted(operation, f"comment on {name} ({len(operation.detail)} characters)", entry)


def _link(issue_id: str, kind: str, resource_id: str, link_id: str) -> ResourceLink:
    return ResourceLink(id=link_id, issue_id=issue_id, resource_type=kind, resource_id=resource_id)


def _page(rows: list[Any], page: Page[Any] | None = None) -> Page[Any]:
    if page is not None:
        return page.model_copy(update={"items": rows})
    return Page[Any].model_construct(items=list(rows), next_cursor=None)


LISTED = {"status": get_args(Status), "severity": get_args(Severity)}
"""Fields whose values are words of the contract."""


def _told(name: str, before: str | None, after: str | None) -> str:
    """A change in words: values are shown where they are the contract's."""
    return f"{name} ({before} to {after})" if {before, after} <= set(LISTED.get(name, ())) else name


def differs(planned: list[JsonObject], now: list[Step]) -> bool:
    """Whether the state that a write rests on has changed since it was planned. A request that is no longer needed is
    no change."""
    then = {one["does"]: one.get("rests_on", {}) for one in planned}
    return any(_moved(then.get(step.does, {}), step.rests_on) for step in now)


def _moved(then: JsonObject, now: JsonObject) -> bool:
    """Whether facts have changed. A field that already has its new value counts as unchanged."""
    becomes: JsonObject = then.get("becomes", {})
    then, now = then.get("before", then), now.get("before", now)
    same = {name: {_plain(value), _plain(becomes.get(name, value))} for name, value in then.items()}
    return any(_plain(value) not in same[name] for name, value in now.items() if name in same)


def _plain(value: object) -> object:
    """A value as it is compared: an API may trim and fold what it stores."""
    return " ".join(value.split()).casefold() if isinstance(value, str) else value
