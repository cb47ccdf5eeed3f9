"""The evidence bundle: everything an issue rests on, within a budget of tokens."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Literal

from pydantic import Field

from calltriage.client.side_by_side import at_once
from calltriage.errors import TryNext, UnreadableAnswer
from calltriage.leaves.gate import estimate_tokens
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.base import Effect, Operation
from calltriage.operations.fields import IssueRef
from calltriage.operations.issues import GetIssue, Issue
from calltriage.operations.results import Page
from calltriage.server.answers.evidence_shown import ISSUE_PARTS, Evidence
from calltriage.server.answers.results import BUDGET, EACH, MOST, Bundle, shown, untrusted
from calltriage.server.answers.sections import PAGE, Asked, Place, Section, Where, page_of, place_of
from calltriage.server.context import ISSUE, Invocation, Workflow
from calltriage.server.tools.evidence_sections import Readings
from calltriage.server.tools.first_words import FirstWords

SectionName = Literal["description", "flags", "resources", "relations", "activity"]
DESCRIPTION: SectionName = "description"
COUNT = 12
"""Tokens of the number of pieces of evidence."""
TITLE = 200
"""Characters of an issue's title at most where only what names the issue is shown."""


class GetEvidenceTool(Workflow, effect=Effect.READ):
    """Read the whole case, everything that an issue rests on, in one call: the issue, each flagged moment with the turns
    around it, attached evidence, links to other issues, files, recent activity.

    Never longer than max_tokens; omitted lists what did not fit and the call that fetches it.
    """

    result: ClassVar[object] = Evidence

    issue_id: IssueRef = Field(description=ISSUE)
    section: SectionName | None = Field(default=None, description="Only this one, from cursor on.")
    cursor: Where | None = Field(default=None, description="As omitted says.")
    max_tokens: int = Field(default=BUDGET, ge=1000, le=MOST, description=f"Default {BUDGET}.")

    async def run(self, work: Invocation) -> JsonObject:
        place = place_of(self.section, self.cursor)
        asked = Asked(self.tool_name(), await work.server.issue_id(self.issue_id), self.section, self.max_tokens)
        listed = {"issue_id": asked.issue_id, "limit": PAGE}
        readings = Readings(work.server.client)

        def goes_round(asked: Callable[..., Operation[Any]], cursor: str | None, page: Page[Any]) -> bool:
            return work.goes_round(asked(**listed), cursor, page.identities, page.next_cursor)

        wanted = [
            replace(one, goes_round=partial(goes_round, one.operation))
            for one in readings.sections(place)
            if self.section in (None, one.name)
        ]
        lists = list(dict.fromkeys(one.operation for one in wanted))
        issue, *pages = await at_once(
            work.server.client.send(GetIssue(issue_id=asked.issue_id)),
            *(self._page(work, one(**listed, cursor=place.cursor)) for one in lists),
        )
        for one in wanted:
            page = pages[lists.index(one.operation)]
            if isinstance(page, UnreadableAnswer):
                one.failed = page.code
            else:
                one.open(page, getattr(issue, one.count) if one.count else 0)
        if self.section == DESCRIPTION:
            wanted = [Section(DESCRIPTION, Issue.origin or "", place, GetIssue)]
            wanted[0].open(Page(items=[{DESCRIPTION: issue.description}]))
        bundle = Bundle(self.max_tokens, gaps=3)
        bundle.keeps(EACH * len(wanted) + estimate_tokens(place.cursor or ""))
        bundle.body["issue"] = _issue(bundle, issue, asked) if self.section is None else _named(bundle, issue)
        bundle.body |= _counted(wanted) if self.section is None and bundle.keeps(COUNT) else {}
        words = FirstWords(wanted if self.section is None else [], issue.flag_count)
        words.reserve(bundle)
        await asked.fill(bundle, wanted, lambda one: one.fill_on(bundle, work.server.client, listed))
        for one in wanted:
            readings.show_whole_turns(one.shown, bundle)
            bundle.omitted += one.all_gaps()
        await words.fill(bundle, readings)
        bundle.lacks("sources", len(readings.failed), codes=sorted(set(readings.failed.values())))
        return bundle.done()

    async def _page(self, work: Invocation, asked: Operation[object]) -> Page[object] | UnreadableAnswer:
        """A page of a list, or the error if it cannot be read: then only its sections are missing. Raises that error if one
        section was asked for."""
        try:
            return await page_of(work.server.client, asked)
        except UnreadableAnswer as error:
            if self.section is not None:
                raise
            return error


def _counted(wanted: list[Section]) -> JsonObject:
    """`evidence_count`, the number of attached pieces of evidence; empty if unknown."""
    count = next(one for one in wanted if one.name == "resources").in_all()
    return {} if count is None else {"evidence_count": count}


def whole_description(issue_id: str) -> TryNext:
    """The call that reads an issue's description from its beginning, with the largest budget."""
    return Asked(GetEvidenceTool.tool_name(), issue_id, DESCRIPTION, MOST).on(DESCRIPTION)


def _issue(bundle: Bundle, issue: Issue, asked: Asked) -> JsonObject:
    """The issue itself, which is always shown. A long description is cut, so that a quarter of the budget is left for the
    sections; if the other fields are too long, too, only what names the issue is shown."""
    body, spare = shown(issue, ISSUE_PARTS), bundle.left // 4
    if bundle.affords(body, spare):
        return body
    text = issue.description
    kept = bundle.most(len(text), lambda n: {**body, DESCRIPTION: text[:n]}, spare)
    cut = {**body, DESCRIPTION: text[:kept]}
    if not bundle.affords(cut, spare):  # the other fields are too long, too
        kept, cut = 0, _named(bundle, issue)
        whole = TryNext(tool=GetIssue.tool_name(), arguments={"issue_id": asked.issue_id})
        bundle.lacks("issue", len(body) - len(cut), try_next=whole)
    bundle.lacks("issue.description", len(text) - kept, try_next=asked.on(DESCRIPTION, Place(inside=kept)))
    return cut


def _named(bundle: Bundle, issue: Issue) -> JsonObject:
    """What names an issue. Its title is cut to what fits into half of the room that is left, TITLE at most."""

    def names(most: int) -> JsonObject:
        known = {"id": issue.id[:64], "triage_id": issue.triage_id[:64], "title": issue.title[:most]}
        return untrusted(Issue.origin or "", **known, status=issue.status[:32], severity=issue.severity[:32])

    named = names(bundle.most(min(TITLE, len(issue.title)), names, bundle.left // 2))
    bundle.affords(named)
    return named
