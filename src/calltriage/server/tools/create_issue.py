"""Filing an issue, unless it is open already."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from calltriage.errors import CallError, TryNext
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations import issues
from calltriage.operations.base import Effect
from calltriage.operations.fields import Category, Description, Title
from calltriage.operations.relations import LinkIssue
from calltriage.operations.resource_links import AttachResource
from calltriage.server.answers.results import SHORT, beginning, shown
from calltriage.server.context import Work, Workflow, preparing
from calltriage.server.tools.evidence import GetEvidenceTool
from calltriage.server.tools.link_issue import LinkIssueTool
from calltriage.server.tools.lookalikes import Draft, Similar, similar_to


class CreateIssueTool(Workflow, effect=Effect.ADD, wraps=issues.CreateIssue):
    """File a new triage issue about calls that went wrong, unless one like it is open already.

    Open issues are searched first; those like it come back in similar, scored and with reasons. If one is very close,
    nothing is filed unless on_duplicate says so. One unknown resource in resource_links and nothing is filed either. A
    repeat finds the first one.
    """

    result: ClassVar[Any] = issues.Issue

    title: Title = Field(description="What goes wrong.")
    category: Category = Field(
        description="Free text; built-in: Transcription, Speech, Dialogue, Routing, Tools, Latency, Telephony, Bug."
    )
    description: Description | None = Field(
        default=None, description="What happened, what was expected, how to see it."
    )
    resource_links: Annotated[list[issues.ResourceRef], Field(max_length=100)] | None = Field(
        default=None, description="Evidence to attach."
    )
    on_duplicate: Literal["report", "create", "link"] = Field(
        default="report",
        description="A very close one is open: report (default), create anyway, or create and link as duplicate_of.",
    )

    async def run(self, work: Work) -> JsonObject:
        if self.resource_links:
            work.allow(AttachResource, "resource_links")
        if self.on_duplicate == "create":
            return await self._file_anyway(work)
        if self.on_duplicate == "link":
            work.allow(LinkIssueTool, "on_duplicate")
        async with work.alone():  # of two equal drafts at once the second one finds the first
            return await self._file_unless_open(work)

    async def _file_anyway(self, work: Work) -> JsonObject:
        """File it whatever is open, even where that cannot be found out."""
        try:
            similar = (await self._similar(work)).body()
        except CallError as error:
            similar = {"unread": error.code}
        return {**await self._file(work), "similar": similar}

    async def _file_unless_open(self, work: Work) -> JsonObject:
        similar = await self._similar(work)
        closest = similar.closest
        if closest is not None and self.on_duplicate == "report":
            return {
                "outcome": "not_committed",
                "note": "Nothing was filed: a very close issue is open (similar). If it is the same fault, add your "
                "evidence to that one. If not, call again with on_duplicate create, or link to file it as a duplicate.",
                "similar": similar.body(),
                "try_next": TryNext(tool=GetEvidenceTool.tool_name(), arguments={"issue_id": closest.id}),
            }
        body: JsonObject = {**await self._file(work), "similar": similar.body()}
        if closest is not None and self.on_duplicate == "link":
            body["link"] = await _linked(work, body["id"], closest.id)
        return body

    async def _file(self, work: Work) -> JsonObject:
        receipt = await work.client.deliver(self.request(issues.CreateIssue))
        return {**beginning(shown(receipt.result), "description", SHORT), "outcome": receipt.outcome}

    async def _similar(self, work: Work) -> Similar:
        links = frozenset((link.resource_type, link.resource_id) for link in self.resource_links or ())
        draft = Draft(self.title, self.description or "", self.category, links)
        with preparing():
            return await similar_to(draft, work)


async def _linked(work: Work, issue_id: str, duplicate_of: str) -> JsonObject:
    """Link the new issue. It is filed whatever comes of this, so a failure is told, not raised."""
    link = {"issue_id": issue_id, "related_issue_id": duplicate_of, "relation_type": "duplicate_of"}
    try:
        receipt = await work.client.deliver(LinkIssue.model_validate(link))
    except CallError as error:
        if not error.is_refusal:
            error.try_next = TryNext(tool=LinkIssueTool.tool_name(), arguments=link)
        return error.as_part()
    return {"outcome": receipt.outcome, "relation_id": receipt.result.id, "related_issue_id": duplicate_of}
