"""What an issue touches: the pathways and personas that its calls ran on."""

from dataclasses import replace
from typing import Annotated, ClassVar, Literal, Required, TypedDict

from pydantic import Field

from calltriage.leaves.strict_json import JsonObject
from calltriage.operations import resource_links
from calltriage.operations.base import Effect
from calltriage.operations.fields import IssueRef
from calltriage.operations.results import Page
from calltriage.server.answers.results import BUDGET, EACH, MOST, Bundle, unreadable
from calltriage.server.answers.sections import Asked, Section, Where, no_place, place_of
from calltriage.server.answers.shapes import Shown, as_declared
from calltriage.server.context import ISSUE, Invocation, Workflow


class AffectedRow(TypedDict, total=False):
    """A pathway, a persona or a call that an issue touches."""

    call_id: str
    title: str
    started_at: str
    pathway_id: str
    pathway_name: str
    pathway_version_id: str
    version_number: int
    version_label: str
    persona_id: str
    persona_name: str
    call_count: int


class Affected(TypedDict, total=False):
    """Rows of one kind."""

    items: Required[list[Annotated[AffectedRow, Shown(is_open=True)]]]


class AffectedContext(TypedDict, total=False):
    """Pathways, personas and calls that an issue touches: all three, or the one asked for."""

    issue_id: Required[str]
    pathways: Affected
    personas: Affected
    calls: Affected
    complete: Required[bool]


class GetAffectedContextTool(Workflow, effect=Effect.READ):
    """See which pathways and personas an issue's attached calls ran on, and how many calls each: where to mend the fault.

    For the calls themselves use list_resources.
    """

    result: ClassVar[object] = AffectedContext

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
    known = {name: value for name, value in row.items() if value is not None and name != "call_ids"}
    return as_declared(known, AffectedRow)
