"""The evidence bundle: everything an issue rests on, within a budget of tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar, cast

from pydantic import Field, ValidationError

from calltriage.client.client import Client
from calltriage.errors import CallError, NotFound, TryNext
from calltriage.operations import resources
from calltriage.operations.activity import ListActivity
from calltriage.operations.attachments import Attachment, GetAttachment
from calltriage.operations.base import Effect, Operation, Page, Result
from calltriage.operations.calls import Call, GetCall
from calltriage.operations.fields import IssueRef
from calltriage.operations.flags import Flag, ListFlags
from calltriage.operations.issues import GetIssue, Issue
from calltriage.operations.relations import ListRelations
from calltriage.operations.resources import ListResources
from calltriage.server.results import BUDGET, MOST, Bundle, row, shown, untrusted
from calltriage.server.transcripts import GetTranscript
from calltriage.server.work import ISSUE, Work, Workflow, at_once, numbered

R = TypeVar("R")

LONGEST_TURN = 1_000
"""Characters of a turn that evidence shows."""
NEIGHBOURS = 1
"""Turns shown before and after a flagged one."""


class Evidence(Result):
    """What an issue rests on."""

    issue: dict[str, Any]
    flags: dict[str, Any]
    resources: dict[str, Any]
    relations: dict[str, Any]
    attachments: dict[str, Any]
    activity: dict[str, Any]
    complete: bool


class GetEvidence(Workflow, effect=Effect.READ):
    """Read the whole case, everything that an issue rests on, in one call: the issue, each flagged moment with the turns
    around it, attached evidence, links to other issues, files, recent activity.

    Never longer than max_tokens; omitted lists what did not fit and the call that fetches it.
    """

    result: ClassVar[Any] = Evidence

    issue_id: IssueRef = Field(description=ISSUE)
    max_tokens: int = Field(default=BUDGET, ge=1000, le=MOST, description=f"Default {BUDGET}.")

    async def run(self, work: Work) -> dict[str, Any]:
        issue_id = await work.issue_id(self.issue_id)
        # No more is read than the budget can show: no entry, turn or file is told in fewer tokens than this.
        most = self.max_tokens // 100
        issue, flagged, links, relations, activity = cast(
            "tuple[Any, Page[Flag], Page[Any], Page[Any], Page[Any]]",
            await at_once(
                work.client.send(GetIssue(issue_id=issue_id)),
                work.client.send(ListFlags(issue_id=issue_id, limit=100)),
                work.client.send(ListResources(issue_id=issue_id, limit=100)),
                work.client.send(ListRelations(issue_id=issue_id, limit=100)),
                work.client.send(ListActivity(issue_id=issue_id, limit=min(100, most))),
            ),
        )
        at_turns = [flag for flag in flagged.items if flag.message_index is not None]
        call_ids = list(dict.fromkeys(flag.call_id for flag in at_turns))
        file_ids = [link.resource_id for link in links.items if link.resource_type == "file"]
        found = await at_once(
            *(_if_there(work.client, lambda call_id=call_id: GetCall(call_id=call_id)) for call_id in call_ids[:most]),
            *(_if_there(work.client, lambda file=file: GetAttachment(attachment_id=file)) for file in file_ids[:most]),
        )
        transcripts = {call.call_id: call for call in found if isinstance(call, Call)}
        files = [row(one) for one in found if isinstance(one, Attachment)]
        bundle = Bundle(self.max_tokens, gaps=9)
        unread = [one for one in found if isinstance(one, CallError)]
        bundle.lacks("sources", len(unread), codes=sorted({one.code for one in unread}))
        unseen = [flag for flag in at_turns if flag.call_id in call_ids[most:]]
        bundle.lacks("flags.turns", len(unseen), try_next=unseen and _window(unseen[0]))
        bundle.body["issue"] = self._issue(bundle, issue)
        # The same call with the same budget would say the same.
        larger = {"issue_id": issue_id, "max_tokens": min(MOST, max(self.max_tokens * 2, 2 * BUDGET))}
        again = TryNext(tool=self.tool_name(), arguments=larger) if self.max_tokens < MOST else None

        def fill(name: str, items: list[Any], page: Page[Any], origin: str) -> None:
            rest = TryNext(tool=f"list_{name}", arguments={"issue_id": issue_id})
            bundle.fill(name, items, again, rest=rest, more=page.next_cursor is not None, origin=origin)

        fill("flags", [_flagged(flag, transcripts) for flag in flagged.items], flagged, "flag authors and call parties")
        fill("resources", [_short(link) for link in links.items], links, "the evidence itself")
        fill("relations", [_short(relation) for relation in relations.items], relations, "issue authors")
        listed = TryNext(tool=ListResources.tool_name(), arguments={"issue_id": issue_id})
        bundle.fill("attachments", files, again, rest=listed, more=len(file_ids) > most, origin="the uploader")
        fill("activity", [_entry(entry) for entry in activity.items], activity, "issue authors")
        return bundle.done()

    def _issue(self, bundle: Bundle, issue: Any) -> dict[str, Any]:
        """The issue itself is always there; a long description is cut to a third of the budget."""
        body = shown(issue)
        text, limit = str(body.get("description", "")), self.max_tokens
        while not bundle.affords(body):
            limit = min(limit, len(text)) // 2
            if limit:
                body["description"] = text[:limit]
            else:  # the other fields are too long too: what names the issue always fits
                names = {"id": issue.id[:64], "triage_id": issue.triage_id[:64], "title": issue.title[:100]}
                body = untrusted(Issue.origin or "", **names, status=issue.status[:32], severity=issue.severity[:32])
                bundle.affords(body)
                break
        whole = TryNext(tool=GetIssue.tool_name(), arguments={"issue_id": issue.id})
        bundle.lacks("issue.description", len(text) - len(str(body.get("description", ""))), try_next=whole)
        return body


async def _if_there(client: Client, asked: Callable[[], Operation[R]]) -> R | CallError:
    """The thing, or why it cannot be read: it may be gone, forbidden, or known to the other vendor under an id that we
    would not send. Evidence outlives its source, so that no neighbour may spoil the bundle."""
    try:
        return await client.send(asked())
    except CallError as error:
        return error
    except ValidationError:
        return NotFound("The id has a form that is not sent.")


def _short(result: Result) -> dict[str, Any]:
    """A row of a bundle, without what its issue says already."""
    dropped = {"issue_id"} if "resource_id" in type(result).model_fields else set[str]()
    return {
        key: value for key, value in row(result).items() if key not in dropped | {"attached_by_id", "created_by_id"}
    }


def _entry(entry: Result) -> dict[str, Any]:
    body = row(entry)
    return {key: body[key] for key in ("type", "detail", "from_status", "to_status", "created_at") if key in body}


def _flagged(flag: Flag, calls: dict[str, Call]) -> dict[str, Any]:
    """A flag with the turn it points at and its neighbours."""
    body = {key: value for key, value in row(flag).items() if key not in {"issue_id", "author_id", "message_text"}}
    call = calls.get(flag.call_id)
    turns = (call.transcripts or []) if call else []
    if flag.message_index is not None and flag.message_index < len(turns):
        first, last = max(0, flag.message_index - NEIGHBOURS), flag.message_index + NEIGHBOURS + 1
        body["turns"] = [_in_brief(numbered(n, turns[n])) for n in range(first, min(last, len(turns)))]
    elif flag.message_text:
        body["message_text"] = flag.message_text
    return body


def _window(flag: Flag) -> TryNext:
    """The call that reads around a flagged turn."""
    arguments = {"call_id": flag.call_id, "around": flag.message_index}
    return TryNext(tool=GetTranscript.tool_name(), arguments=arguments)


def _in_brief(turn: dict[str, Any]) -> dict[str, Any]:
    """A turn as evidence shows it; of a very long one the beginning, and how many characters get_transcript has more."""
    more = len(turn["text"]) - LONGEST_TURN
    return turn if more <= 0 else {**turn, "text": turn["text"][:LONGEST_TURN], "characters_left_out": more}


class AffectedContext(Result):
    """Pathways, personas and calls that an issue touches."""

    issue_id: str
    pathways: dict[str, Any]
    personas: dict[str, Any]
    calls: dict[str, Any]
    complete: bool


class GetAffectedContext(Workflow, effect=Effect.READ):
    """See which pathways and personas an issue's attached calls ran on, and how many calls each: where to mend the fault.

    For the calls themselves use list_resources.
    """

    result: ClassVar[Any] = AffectedContext

    issue_id: IssueRef = Field(description=ISSUE)
    max_tokens: int = Field(default=BUDGET, ge=1000, le=MOST, description=f"Default {BUDGET}.")

    async def run(self, work: Work) -> dict[str, Any]:
        issue_id = await work.issue_id(self.issue_id)
        found = await work.client.send(resources.GetAffectedContext(issue_id=issue_id))
        bundle = Bundle(self.max_tokens, gaps=3, issue_id=found.issue_id)
        larger = TryNext(tool=self.tool_name(), arguments={"issue_id": issue_id, "max_tokens": MOST})
        again = larger if self.max_tokens < MOST else None
        for name in ("pathways", "personas", "calls"):
            bundle.fill(name, getattr(found, name), again, origin="pathway and persona authors")
        return bundle.done()
