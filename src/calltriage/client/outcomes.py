"""How each write whose answer was lost is looked for: one table, one entry per operation.

An operation leaves a trace that can be read: a flag in the list of flags, a comment in the feed (`Listed`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Any

from calltriage.client.receipts import Receipt
from calltriage.client.traces import PAGES, Found, Likeness, Listed, LookUp, Sight, Verdict
from calltriage.errors import NotFound, UnreadableAnswer
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
from calltriage.operations.results import Result


def _said(value: Any) -> Any:
    """A value as it is compared: an API may trim or fold white space, and store a character in another form of Unicode."""
    return " ".join(unicodedata.normalize("NFC", value).split()) if isinstance(value, str) else value


def _caseless(value: str) -> str:
    return _said(value).casefold()


def _word(flag_type: str) -> str:
    """A flag type as it is compared: how it is stored is not documented, so only letters and digits count."""
    return re.sub(r"[\W_]+", "", flag_type.casefold())


def _agree(asked: Operation[Any], row: Result, *names: str, form: Callable[[Any], Any] = _said) -> Likeness:
    """Whether fields of a row are what was asked for; an empty text and null are as if nothing was said."""

    def agrees(name: str) -> Likeness:
        wanted, found = getattr(asked, name), getattr(row, name)
        if any(field.partition(".")[0] == name for field in row.unreadable_fields or ()):
            return None
        if wanted in (None, ""):
            return found in (None, "")
        if name not in row.model_fields_set:
            return None
        return bool(form(wanted) == form(found))

    return _all(*map(agrees, names))


def _all(*found: Likeness) -> Likeness:
    return False if False in found else None if None in found else True


def _same_flag(asked: AddFlag, flag: Flag) -> Likeness:
    texts = ("call_id", "message_index", "note", "node_id", "node_name", "message_text")
    return _all(_agree(asked, flag, *texts), _agree(asked, flag, "type", form=_word))


def _same_relation(asked: LinkIssue, relation: Relation) -> Likeness:
    return _agree(asked, relation, "issue_id", "related_issue_id", "relation_type")


def _same_link(asked: AttachResource, link: ResourceLink) -> Likeness:
    return _agree(asked, link, "resource_type", "resource_id")


def _is_link_of(asked: AttachCall | DetachCall, link: ResourceLink) -> Likeness:
    return _same_link(AttachResource(issue_id=asked.issue_id, resource_type="call", resource_id=asked.call_id), link)


def _is(kind: str, entry: TimelineEntry) -> Likeness:
    return entry.type == kind if "type" in entry.model_fields_set else None


def _same_comment(asked: AddComment, entry: TimelineEntry) -> Likeness:
    return _all(_is("comment", entry), _agree(asked, entry, "detail"))


def _same_prompt(asked: PromptNorm, entry: TimelineEntry) -> Likeness:
    """The word that says the intent is stripped before a prompt is stored (bland-triage, section 9)."""
    bare = asked.model_copy(update={"detail": intent_of(asked.detail)[1]})
    return _all(_is("prompt", entry), _agree(asked, entry, "detail") or _agree(bare, entry, "detail"))


def _same_issue(asked: CreateIssue, issue: Issue) -> Likeness:
    """An issue that was changed since it was made is told by its texts alone, and not for sure."""
    texts = _agree(asked, issue, "title", "description")
    may_be_given = ("severity", "category", "status", "source", "owner_id", "assignee_id")
    given = [name for name in may_be_given if getattr(asked, name) is not None]  # the API fills in the others
    rest = _agree(asked, issue, *given, form=_caseless)
    is_changed = not issue.updated_at or issue.updated_at != issue.created_at
    return _all(texts, None if rest is False and is_changed else rest)


def _same_category(asked: CreateCategory, category: Category) -> Likeness:
    return _agree(asked, category, "name", form=_caseless)


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
    answer: Receipt[Issue] = await sight.ask(GetIssue(issue_id=asked.issue_id))
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
    is_doubtful = False
    for _ in range(PAGES):
        page = (await sight.ask(operation)).result
        is_doubtful = is_doubtful or bool(page.unreadable_fields or page.embedded.unreadable_fields)
        if any(item.name == asked.name or "name" not in item.model_fields_set for item in page.items):
            break
        if page.following is None:
            return "undecided" if is_doubtful else "absent"
        operation = ListFollowingAttachments(query=page.following)
    return "undecided"


def _gone(listed: Listed[Any]) -> LookUp:
    """The look-up of a removal: found done when the list has no such item any more."""

    async def look(sight: Sight, operation: Any) -> Verdict:
        try:
            held = await listed.holds(sight.ask, operation)
        except NotFound:  # its issue is gone, and it with it
            return Found(None)
        return Found(None) if held == "no" else "absent" if held == "yes" else "undecided"

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
    CreateIssue: Listed(lambda _: ListIssues(sort="created_at", order="desc"), _same_issue, newest_first=True,
                        rows_before=25),  # issues are long
    UpdateIssue: _updated,
    DeleteIssue: _deleted(lambda asked: GetIssue(issue_id=asked.issue_id)),
    AttachResource: Listed(_links, _same_link, unique=True),
    AttachCall: Listed(_links, _is_link_of, unique=True, result=_the_issue),
    RemoveResource: _gone(Listed(_links, lambda asked, link: link.id == asked.resource_link_id)),
    DetachCall: _gone(Listed(_links, _is_link_of)),
    AddFlag: Listed(_flags, _same_flag),
    RemoveFlag: _gone(Listed(_flags, lambda asked, flag: flag.id == asked.flag_id)),
    LinkIssue: Listed(_relations, _same_relation, unique=True),
    RemoveRelation: _gone(Listed(_relations, lambda asked, relation: relation.id == asked.relation_id)),
    AddComment: Listed(_feed, _same_comment, newest_first=True),
    CreateCategory: Listed(lambda _: ListCategories(), _same_category, unique=True),
    CreateAgentSession: Listed(
        _feed, lambda _, entry: _is("session_started", entry), newest_first=True, result=_the_session
    ),
    PromptNorm: Listed(_feed, _same_prompt, newest_first=True, result=_the_run),
    CreateAttachment: _named,
    DeleteAttachment: _deleted(lambda asked: GetAttachment(attachment_id=asked.attachment_id)),
}  # fmt: skip
"""How each write is looked up. Not here: reservations and views, which are asked for again and leave nothing twice."""
