"""What an issue touches: the pathways and personas that its calls ran on."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field

from calltriage.leaves.strict_json import JsonObject
from calltriage.operations import resource_links
from calltriage.operations.base import Effect
from calltriage.operations.fields import IssueRef
from calltriage.operations.results import Page, Result, ResultType
from calltriage.server.answers.results import BUDGET, MOST, Bundle, unreadable
from calltriage.server.answers.sections import EACH, Asked, Section, Where, no_place, place_of
from calltriage.server.context import ISSUE, Invocation, Workflow


class AffectedContext(Result):
    """Pathways, personas and calls that an issue touches: all three, or the one asked for."""

    issue_id: str
    pathways: JsonObject | None = None
    personas: JsonObject | None = None
    calls: JsonObject | None = None
    complete: bool


class GetAffectedContextTool(Workflow, effect=Effect.READ):
    """See which pathways and personas an issue's attached calls ran on, and how many calls each: where to mend the fault.

    For the calls themselves use list_resources.
    """

    result: ClassVar[ResultType] = AffectedContext

    issue_id: IssueRef = Field(description=ISSUE)
    section: Literal["pathways", "personas", "calls"] | None = Field(default=None, description="Only this one.")
    cursor: Where | None = Field(default=None, description="As omitted says.")
    max_tokens: int = Field(default=BUDGET, ge=1000, le=MOST, description=f"Default {BUDGET}.")

    async def run(self, work: Invocation) -> JsonObject:
        place = place_of(self.section, self.cursor)
        if place.cursor is not None:  # the API has no pages of these
            raise no_place()
        asked = Asked(self.tool_name(), await work.server.issue_id(self.issue_id), self.section, self.max_tokens)
        operation = resource_links.GetAffectedContext
        found = await work.server.client.send(operation(issue_id=asked.issue_id))
        lists = {"pathways": found.pathways, "personas": found.personas, "calls": found.calls}
        wanted = list[Section]()
        for name, rows in lists.items():
            if self.section in (None, name):
                wanted.append(one := Section(name, "pathway and persona authors", replace(place), operation))
                one.open(Page(items=[_brief(row) for row in rows]))
        bundle = Bundle(self.max_tokens, gaps=1, issue_id=asked.issue_id, **unreadable(found))
        bundle.keeps(EACH * len(wanted))
        await asked.fill(bundle, wanted, lambda one: one.fill(bundle))
        return bundle.done()


def _brief(row: JsonObject) -> JsonObject:
    """A row without what is not known, and without its calls' ids, of which there may be thousands: a call's own row names
    the pathway and the persona that it ran on."""
    return {name: value for name, value in row.items() if value is not None and name != "call_ids"}
