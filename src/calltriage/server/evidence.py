"""The evidence bundle: everything an issue rests on, within a budget of tokens."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import Field, StringConstraints

from calltriage.errors import CallError, Rejected, TryNext
from calltriage.operations import resources
from calltriage.operations.base import Effect, Page, Result
from calltriage.operations.fields import TEXT, IssueRef
from calltriage.operations.issues import GetIssue, Issue
from calltriage.server.results import BUDGET, MOST, Bundle, shortened, shown, untrusted
from calltriage.server.sections import Place, Readings, Section
from calltriage.server.transcripts import GetTranscript
from calltriage.server.work import ISSUE, Work, Workflow, at_once

PAGE = 100
"""Entries of a page, always the same: a place counts within one."""
EACH = 60
"""Tokens kept back for what is left out of a section, and for the call that fetches it."""

Where = Annotated[str, StringConstraints(min_length=1, max_length=530), TEXT]
"""A place in a section: see Place."""
SectionName = Literal["flags", "resources", "relations", "attachments", "activity"]


class Evidence(Result):
    """What an issue rests on: every section, or the one asked for."""

    issue: dict[str, Any]
    flags: dict[str, Any] | None = None
    resources: dict[str, Any] | None = None
    relations: dict[str, Any] | None = None
    attachments: dict[str, Any] | None = None
    activity: dict[str, Any] | None = None
    complete: bool


class GetEvidence(Workflow, effect=Effect.READ):
    """Read the whole case, everything that an issue rests on, in one call: the issue, each flagged moment with the turns
    around it, attached evidence, links to other issues, files, recent activity.

    Never longer than max_tokens; omitted lists what did not fit and the call that fetches it.
    """

    result: ClassVar[Any] = Evidence

    issue_id: IssueRef = Field(description=ISSUE)
    section: SectionName | None = Field(default=None, description="Only this one, from cursor on.")
    cursor: Where | None = Field(default=None, description="As omitted says.")
    max_tokens: int = Field(default=BUDGET, ge=1000, le=MOST, description=f"Default {BUDGET}.")

    async def run(self, work: Work) -> dict[str, Any]:
        if self.cursor is not None and self.section is None:
            raise Rejected("A cursor belongs to a section. Pass both as omitted says, or neither.", field="section")
        try:
            place = Place.named(self.cursor)
        except ValueError:
            raise Rejected("The cursor is none of this tool's. Pass it as omitted says.", field="cursor") from None
        issue_id = await work.issue_id(self.issue_id)
        listed = {"issue_id": issue_id, "limit": PAGE}
        readings = Readings(work.client)
        wanted = [one for one in readings.sections(place) if self.section in (None, one.name)]
        lists = list(dict.fromkeys(one.operation for one in wanted))
        issue, *pages = cast(
            "tuple[Issue, *tuple[Page[Any], ...]]",
            await at_once(
                work.client.send(GetIssue(issue_id=issue_id)),
                *(work.client.send(one(**listed, cursor=place.cursor)) for one in lists),
            ),
        )
        for one in wanted:
            one.open(pages[lists.index(one.operation)], issue)
        bundle = Bundle(self.max_tokens, gaps=3)
        bundle.keeps(EACH * len(wanted))
        if self.section is None:
            bundle.body["issue"] = self._issue(bundle, issue, issue_id)
            for share in (2, 1):  # none takes more than half of what is left while others wait
                for one in wanted:
                    await one.fill(bundle, spare=bundle.left - bundle.left // share)
        else:
            whole, cut = _names(issue, 200), _names(issue, 100)  # what the section belongs to: it was not asked for
            bundle.body["issue"] = whole if bundle.affords(whole, bundle.left // 2) else cut
            if bundle.body["issue"] is cut:
                bundle.affords(cut)
            await wanted[0].fill_on(bundle, work.client, listed, issue)
            self._at_least_one(bundle, wanted[0], issue_id)
        for one in wanted:
            bundle.body[one.name] = one.body()
            if not one.ended:
                left = one.left_out()
                bundle.omitted.append({"section": one.name} | ({} if left is None else {"left_out": left})
                                      | {"try_next": self._on(issue_id, one)})  # fmt: skip
        self._say_which_turns_are_cut(bundle)
        bundle.lacks("sources", len(readings.failed), codes=sorted(set(readings.failed.values())))
        return bundle.done()

    def _on(self, issue_id: str, section: Section, **more: Any) -> TryNext:
        """The call that reads a section on from its place."""
        budget = {} if self.max_tokens == BUDGET else {"max_tokens": self.max_tokens}
        arguments = {"issue_id": issue_id, "section": section.name, "cursor": str(section.place), **budget, **more}
        return TryNext(tool=self.tool_name(), arguments=arguments)

    def _at_least_one(self, bundle: Bundle, section: Section, issue_id: str) -> None:
        """Show in part what is longer than the whole budget, so that whoever reads on gets further each time."""
        entry = section.waiting()
        if section.shown or entry is None:
            return
        more = {"try_next": self._on(issue_id, section, max_tokens=MOST)} if self.max_tokens < MOST else {}
        part = _part(entry, bundle.left - EACH)
        bundle.affords(part)
        section.show(part)
        bundle.lacks(f"parts of one of the {section.name}", 1, **more)

    def _say_which_turns_are_cut(self, bundle: Bundle) -> None:
        flags = bundle.body.get("flags", {"items": []})["items"]
        cut = [(flag["call_id"], turn["message_index"]) for flag in flags for turn in flag.get("turns", ())
               if "characters_left_out" in turn]  # fmt: skip
        if cut:
            call_id, place = cut[0]
            whole = TryNext(tool=GetTranscript.tool_name(), arguments={"call_id": call_id, "from": place, "to": place})
            bundle.lacks("flags.turns", len(set(cut)), try_next=whole)

    def _issue(self, bundle: Bundle, issue: Issue, issue_id: str) -> dict[str, Any]:
        """The issue itself is always there; a long description is cut, to leave a quarter of the budget for what follows."""
        body = shown(issue)
        text, limit, rest = str(body.get("description", "")), self.max_tokens, bundle.left // 4
        while not bundle.affords(body, rest):
            limit = min(limit, len(text)) // 2
            if limit:
                body["description"] = text[:limit]
            else:  # the other fields are too long too: what names the issue always fits
                body = _names(issue, 100)
                bundle.affords(body)
                break
        wider = TryNext(tool=self.tool_name(), arguments={"issue_id": issue_id, "max_tokens": MOST})
        whole = (
            wider if self.max_tokens < MOST else TryNext(tool=GetIssue.tool_name(), arguments={"issue_id": issue_id})
        )
        bundle.lacks("issue", len(shown(issue)) - len(body), try_next=whole)
        bundle.lacks("issue.description", len(text) - len(str(body.get("description", ""))), try_next=whole)
        return body


def _part(entry: dict[str, Any], budget: int) -> dict[str, Any]:
    """As much of an entry as fits: its texts cut; else without what is nested in it; else what names it."""
    for part in (entry, {name: value for name, value in entry.items() if isinstance(value, str)}):
        try:
            return shortened(part, budget)
        except CallError:
            continue
    return {name: str(entry[name])[:64] for name in ("id", "type", "resource_type") if name in entry}


def _names(issue: Issue, most: int) -> dict[str, Any]:
    """What names an issue, and no more of its title than so many characters."""
    names = {"id": issue.id[:64], "triage_id": issue.triage_id[:64], "title": issue.title[:most]}
    return untrusted(Issue.origin or "", **names, status=issue.status[:32], severity=issue.severity[:32])


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
        bundle = Bundle(self.max_tokens, gaps=3, issue_id=issue_id)
        larger = TryNext(tool=self.tool_name(), arguments={"issue_id": issue_id, "max_tokens": MOST})
        again = larger if self.max_tokens < MOST else None
        for name in ("pathways", "personas", "calls"):
            bundle.fill(name, getattr(found, name), again, origin="pathway and persona authors")
        return bundle.done()
