"""Finding out whether a write was carried out when its answer was lost: one table, one entry per operation.

An operation leaves a trace that can be read: a flag in the list of flags, a comment in the feed. What was added by the
lost request is of the same content, was not known before it was sent, and was made since then by the API's own clock.
One such trace is the request's; none means that it was not carried out; several cannot be told apart.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, Literal, Protocol, TypeVar, cast

from calltriage.errors import NotFound, Outcome, UnreadableAnswer
from calltriage.leaves.instants import instant
from calltriage.operations.activity import AddComment, ListActivity, TimelineEntry
from calltriage.operations.attachments import (
    AttachmentPage,
    CreateAttachment,
    DeleteAttachment,
    GetAttachment,
    ListAttachments,
    ListFollowingAttachments,
)
from calltriage.operations.base import Operation
from calltriage.operations.categories import Category, CreateCategory, ListCategories
from calltriage.operations.flags import AddFlag, Flag, ListFlags, RemoveFlag
from calltriage.operations.issues import CreateIssue, DeleteIssue, GetIssue, Issue, ListIssues, UpdateIssue
from calltriage.operations.norm import AgentSession, CreateAgentSession, PromptNorm, Run, intent_of
from calltriage.operations.relations import LinkIssue, ListRelations, Relation, RemoveRelation
from calltriage.operations.resources import (
    AttachCall,
    AttachResource,
    DetachCall,
    ListResources,
    RemoveResource,
    ResourceLink,
)
from calltriage.operations.results import Page

PAGES = 50
"""Pages of 100 that a look-up reads before it gives up."""
SLACK = timedelta(seconds=5)
"""How far the clocks of an API's machines may lie apart; the `Date` header besides counts whole seconds only."""

R = TypeVar("R")


@dataclass(frozen=True)
class Receipt(Generic[R]):
    """A result and, for a write, whether it was done now or found done (`committed`, `replayed`).

    `api_time` is when the API says that it answered.
    """

    result: R
    outcome: Outcome | None
    api_time: datetime | None = None


class Seen:
    """Ids that the API has shown, in the order in which they came; the oldest are forgotten."""

    def __init__(self, capacity: int = 20_000) -> None:
        self._capacity = capacity
        self._order = OrderedDict[str, int]()
        self._count = 0

    def mark(self) -> int:
        """The present place, to ask `before` with."""
        return self._count

    def before(self, found: str, mark: int) -> bool:
        """Whether an id had been shown before the mark was taken."""
        return self._order.get(found, self._count) < mark

    def note(self, result: Any) -> None:
        """Remember the ids of a result, or of a page's items."""
        for item in cast("Page[Any]", result).items if isinstance(result, Page) else [result]:
            found = getattr(item, "id", None)
            if isinstance(found, str) and found not in self._order:
                self._order[found] = self._count
                self._count += 1
        while len(self._order) > self._capacity:
            self._order.popitem(last=False)


class Ask(Protocol):
    """Sends a read."""

    async def __call__(self, operation: Operation[R], /) -> Receipt[R]: ...


@dataclass
class Sight:
    """What a look-up sees with.

    Attributes:
        ask: sends reads, until the call's deadline.
        known: whether an id had been seen before the write was sent.
        age: seconds since the write was first sent; None when nobody remembers.
    """

    ask: Ask
    known: Callable[[str], bool]
    age: Callable[[], float | None]

    def begun(self, answer: Receipt[Any]) -> datetime | None:
        """The earliest instant, by the API's clock, at which the write can have been carried out; None: not known."""
        age = self.age()
        if answer.api_time is None or age is None:
            return None
        return answer.api_time - timedelta(seconds=age) - SLACK

    def may_have_made(self, answer: Receipt[Any]) -> bool:
        """Whether what an answer shows was made by the write: it is new, as far as that can be told."""
        begun, made = self.begun(answer), instant(getattr(answer.result, "created_at", None))
        new = begun is not None and made is not None and made >= begun
        return new and not self.known(getattr(answer.result, "id", ""))


@dataclass(frozen=True)
class Found(Generic[R]):
    """The write was carried out, or what it asks for was there before (`replayed`)."""

    result: R
    outcome: Outcome = "committed"


Verdict = Found[Any] | Literal["absent", "undecided"]
LookUp = Callable[[Sight, Any], Awaitable[Verdict]]


@dataclass(frozen=True)
class Listed(Generic[R]):
    """A look-up in a paged list whose items are what the operation answers.

    Attributes:
        pages: the list to read.
        same: whether an item is what the operation asked for.
        newest_first: the list is in that order, so that reading may stop at what is too old.
        unique: the API keeps one item of such content, so that its age does not matter.
        result: the operation's answer, made from the item.
    """

    pages: Callable[[Any], Operation[Any]]
    same: Callable[[Any, Any], bool]
    newest_first: bool = False
    unique: bool = False
    result: Callable[[Sight, Any, Any], Awaitable[Any]] | None = None

    async def __call__(self, sight: Sight, operation: Any) -> Verdict:
        candidates, dated = list[Any](), True
        async for page, begun in self._read(sight, operation):
            items: list[Any] = [item for item in page.items if self.same(operation, item)]
            if self.unique and items:
                new = not sight.known(items[0].id) and _not_before(items[0], begun)
                return Found(await self._answer(sight, operation, items[0]), "committed" if new else "replayed")
            dated = begun is not None
            candidates += [item for item in items if not sight.known(item.id) and _not_before(item, begun)]
            if page.next_cursor is None or (
                self.newest_first and page.items and not _not_before(page.items[-1], begun)
            ):
                break
        else:
            return "undecided"
        if not candidates:
            return "absent"
        if len(candidates) > 1 or not dated:
            return "undecided"
        return Found(await self._answer(sight, operation, candidates[0]))

    async def still_there(self, sight: Sight, operation: Any, item_id: str) -> bool:
        """Whether an item that the operation once made has not been taken away since."""
        async for page, _ in self._read(sight, operation):
            if any(item.id == item_id for item in page.items):
                return True
        return False

    async def _answer(self, sight: Sight, operation: Any, item: Any) -> Any:
        return item if self.result is None else await self.result(sight, operation, item)

    async def _read(self, sight: Sight, operation: Any) -> AsyncGenerator[tuple[Page[Any], datetime | None]]:
        asked = self.pages(operation).model_copy(update={"limit": 100})
        for _ in range(PAGES):
            answer: Receipt[Page[Any]] = await sight.ask(asked)
            yield answer.result, sight.begun(answer)
            if answer.result.next_cursor is None:
                return
            asked = asked.model_copy(update={"cursor": answer.result.next_cursor})


def _not_before(item: Any, begun: datetime | None) -> bool:
    """Whether an item may have been made since; what carries no readable date may."""
    made = instant(getattr(item, "created_at", None))
    return begun is None or made is None or made >= begun


def _said(text: str | None) -> str:
    """A text as it is compared: an API may trim or fold white space."""
    return " ".join((text or "").split())


def _word(flag_type: str) -> str:
    """A flag type as it is compared: how it is stored is not documented, so only letters and digits count."""
    return re.sub(r"[\W_]+", "", flag_type.casefold())


def _same_flag(asked: AddFlag, flag: Flag) -> bool:
    return (
        (flag.call_id, flag.message_index) == (asked.call_id, asked.message_index)
        and _word(flag.type) == _word(asked.type)
        and all(
            _said(getattr(flag, name)) == _said(getattr(asked, name))
            for name in ("note", "node_id", "node_name", "message_text")
        )
    )


def _same_relation(asked: LinkIssue, relation: Relation) -> bool:
    wanted = (asked.issue_id, asked.related_issue_id, asked.relation_type)
    return (relation.issue_id, relation.related_issue_id, relation.relation_type) == wanted


def _same_link(asked: AttachResource, link: ResourceLink) -> bool:
    return (link.resource_type, link.resource_id) == (asked.resource_type, asked.resource_id)


def _same_comment(asked: AddComment, entry: TimelineEntry) -> bool:
    return entry.type == "comment" and _said(entry.detail) == _said(asked.detail)


def _same_prompt(asked: PromptNorm, entry: TimelineEntry) -> bool:
    """The word that says the intent is stripped before a prompt is stored (bland-triage, section 9)."""
    return entry.type == "prompt" and _said(entry.detail) in {_said(asked.detail), _said(intent_of(asked.detail)[1])}


def _same_issue(asked: CreateIssue, issue: Issue) -> bool:
    plain = asked.model_dump(exclude_none=True, include={"severity", "category", "status", "owner_id", "assignee_id"})
    return (
        all(getattr(issue, name) == value for name, value in plain.items())
        and _said(issue.title) == _said(asked.title)
        and _said(issue.description) == _said(asked.description)
    )


def _same_category(asked: CreateCategory, category: Category) -> bool:
    return category.name.casefold() == asked.name.casefold()


async def _the_run(_: Sight, asked: PromptNorm, entry: TimelineEntry) -> Run:
    run_id = (entry.metadata or {}).get("run_id")
    if not isinstance(run_id, str):
        raise UnreadableAnswer(
            "The prompt was carried out, but its answer, with the run's id, was lost. Follow the issue's feed.",
            outcome="committed",
        )
    return Run(session_id=asked.session_id, run_id=run_id, intent=intent_of(asked.detail)[0])


async def _the_session(sight: Sight, asked: CreateAgentSession, _: TimelineEntry) -> AgentSession:
    issue = (await sight.ask(GetIssue(issue_id=asked.issue_id))).result
    try:
        return AgentSession.model_validate(issue.latest_agent_session)
    except ValueError:
        raise UnreadableAnswer(
            "The session was opened, but its answer, with the session's id, was lost. Read the issue for it.",
            outcome="committed",
        ) from None


async def _the_issue(sight: Sight, asked: AttachCall, _: ResourceLink) -> Issue:
    return (await sight.ask(GetIssue(issue_id=asked.issue_id))).result


async def _updated(sight: Sight, asked: UpdateIssue) -> Verdict:
    """The fields stand as asked, or the issue has not moved since; when it moved to something else nobody can tell."""
    answer = await sight.ask(GetIssue(issue_id=asked.issue_id))
    issue, begun = answer.result, sight.begun(answer)
    wanted = asked.model_dump(exclude={"issue_id"}, exclude_unset=True)
    if all(_said(getattr(issue, name)) == _said(value) for name, value in wanted.items()):
        return Found(issue)
    moved = instant(issue.updated_at)
    return "undecided" if begun is None or moved is None or moved >= begun else "absent"


def _deleted(read: Callable[[Any], Operation[Any]]) -> LookUp:
    """The look-up of a deletion: found done when the thing cannot be read any more."""

    async def look(sight: Sight, asked: Any) -> Verdict:
        try:
            await sight.ask(read(asked))
        except NotFound:
            return Found(None)
        return "absent"

    return look


async def _named(sight: Sight, asked: CreateAttachment) -> Verdict:
    """Names are unique in an account: where there is no file of the name, it was not made. Whose a file of the name is,
    client/attachments.py tells."""
    operation: Operation[AttachmentPage] = ListAttachments(name=asked.name, per_page=250)
    for _ in range(PAGES):
        page = (await sight.ask(operation)).result
        if any(item.name == asked.name for item in page.items):
            break
        if page.following is None:
            return "absent"
        operation = ListFollowingAttachments(query=page.following)
    return "undecided"


def _gone(listed: Listed[Any]) -> LookUp:
    """The look-up of a removal: found done when the list has no such item any more."""

    async def look(sight: Sight, operation: Any) -> Verdict:
        try:
            async for page, _ in listed._read(sight, operation):  # pyright: ignore[reportPrivateUsage]
                if any(listed.same(operation, item) for item in page.items):
                    return "absent"
                if page.next_cursor is None:
                    return Found(None)
        except NotFound:  # its issue is gone, and it with it
            return Found(None)
        return "undecided"

    return look


def _flags(asked: Any) -> ListFlags:
    return ListFlags(issue_id=asked.issue_id)


def _links(asked: Any) -> ListResources:
    return ListResources(issue_id=asked.issue_id)


def _feed(asked: Any) -> ListActivity:
    return ListActivity(issue_id=asked.issue_id)


def _relations(asked: Any) -> ListRelations:
    return ListRelations(issue_id=asked.issue_id)


LOOK_UPS: dict[type[Operation[Any]], LookUp] = {
    CreateIssue: Listed(lambda _: ListIssues(sort="created_at", order="desc"), _same_issue, newest_first=True),
    UpdateIssue: _updated,
    DeleteIssue: _deleted(lambda asked: GetIssue(issue_id=asked.issue_id)),
    AttachResource: Listed(_links, _same_link, unique=True),
    AttachCall: Listed(
        _links, lambda asked, link: (link.resource_type, link.resource_id) == ("call", asked.call_id),
        unique=True, result=_the_issue,
    ),
    RemoveResource: _gone(Listed(_links, lambda asked, link: link.id == asked.resource_link_id)),
    DetachCall: _gone(
        Listed(_links, lambda asked, link: (link.resource_type, link.resource_id) == ("call", asked.call_id))
    ),
    AddFlag: Listed(_flags, _same_flag),
    RemoveFlag: _gone(Listed(_flags, lambda asked, flag: flag.id == asked.flag_id)),
    LinkIssue: Listed(_relations, _same_relation, unique=True),
    RemoveRelation: _gone(Listed(_relations, lambda asked, relation: relation.id == asked.relation_id)),
    AddComment: Listed(_feed, _same_comment, newest_first=True),
    CreateCategory: Listed(lambda _: ListCategories(), _same_category, unique=True),
    CreateAgentSession: Listed(
        _feed, lambda _, entry: entry.type == "session_started", newest_first=True, result=_the_session
    ),
    PromptNorm: Listed(_feed, _same_prompt, newest_first=True, result=_the_run),
    CreateAttachment: _named,
    DeleteAttachment: _deleted(lambda asked: GetAttachment(attachment_id=asked.attachment_id)),
}  # fmt: skip
"""How each write is looked up. Not here: reservations and views, which are asked for again and leave nothing twice."""
