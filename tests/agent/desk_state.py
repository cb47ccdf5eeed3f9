"""All that stands on a desk's issues, as a value that can be compared: what tasks begin with and are graded by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from calltriage.client.client import Client
from calltriage.operations.activity import ListActivity
from calltriage.operations.attachments import GetAttachmentDownloadLink, ListAttachments
from calltriage.operations.base import Operation
from calltriage.operations.flags import ListFlags
from calltriage.operations.issues import Issue, ListIssues
from calltriage.operations.relations import ListRelations
from calltriage.operations.resource_links import ListResources
from calltriage.operations.results import Page, Result

R = TypeVar("R", bound=Result)


@dataclass(frozen=True)
class Mark:
    """A flag, by what it says."""

    call_id: str
    turn: int | None
    type: str
    note: str = ""


@dataclass(frozen=True)
class IssueState:
    """An issue and what hangs on it. Times and counts are left out: links from others move them."""

    title: str
    description: str
    status: str
    severity: str
    category: str
    assignee_id: str | None
    calls: frozenset[str]
    files: frozenset[str]
    """Ids of attachments."""
    flags: tuple[Mark, ...]
    links: frozenset[tuple[str, str]]
    """Types and the other ends' tickets, of links from here."""
    comments: tuple[str, ...]


@dataclass(frozen=True)
class StoredFile:
    id: str
    text: str


@dataclass(frozen=True)
class DeskState:
    """Issues by ticket, files by name."""

    issues: dict[str, IssueState]
    files: dict[str, StoredFile]


async def read_desk(client: Client) -> DeskState:
    issues = await _every(client, ListIssues(limit=100))
    tickets = {issue.id: issue.triage_id for issue in issues}
    states = {issue.triage_id: await _read_issue(client, issue, tickets) for issue in issues}
    files = {one.name: await _read_file(client, one.id) for one in (await client.send(ListAttachments())).items}
    return DeskState(states, files)


async def _read_issue(client: Client, issue: Issue, tickets: dict[str, str]) -> IssueState:
    links = await _every(client, ListResources(issue_id=issue.id)) if issue.resource_count else []
    flags = await _every(client, ListFlags(issue_id=issue.id)) if issue.flag_count else []
    relations = await _every(client, ListRelations(issue_id=issue.id)) if issue.relation_count else []
    has_feed = issue.last_activity_at != issue.created_at
    entries = await _every(client, ListActivity(issue_id=issue.id)) if has_feed else []
    return IssueState(
        title=issue.title,
        description=issue.description,
        status=issue.status,
        severity=issue.severity,
        category=issue.category,
        assignee_id=issue.assignee_id,
        calls=frozenset(link.resource_id for link in links if link.resource_type == "call"),
        files=frozenset(link.resource_id for link in links if link.resource_type == "file"),
        flags=tuple(Mark(flag.call_id, flag.message_index, flag.type, flag.note) for flag in flags),
        links=frozenset(
            (one.relation_type, tickets[one.related_issue_id]) for one in relations if one.issue_id == issue.id
        ),
        comments=tuple(entry.detail or "" for entry in reversed(entries) if entry.type == "comment"),
    )


async def _read_file(client: Client, attachment_id: str) -> StoredFile:
    link = await client.send(GetAttachmentDownloadLink(attachment_id=attachment_id))
    async with client.links.get(link.url) as fetch:
        return StoredFile(attachment_id, b"".join([piece async for piece in fetch.pieces]).decode("utf-8", "replace"))


async def _every(client: Client, first: Operation[Page[R]]) -> list[R]:
    page = await client.send(first)
    found = [*page.items]
    while page.next_cursor is not None:
        page = await client.send(first.model_copy(update={"cursor": page.next_cursor}))
        found += page.items
    return found
