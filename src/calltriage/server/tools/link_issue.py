"""Linking an issue to others."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from calltriage.errors import CallError, Rejected
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations import relations
from calltriage.operations.base import Effect
from calltriage.operations.fields import IssueRef, RelationType
from calltriage.server.answers.results import shown, together
from calltriage.server.context import ISSUE, Work, Workflow, preparing

MOST_LINKS = 20


class LinkIssueTool(Workflow, effect=Effect.ADD, answers_repeats=True, wraps=relations.LinkIssue):
    """Link an issue to another, or to several: related_to, blocks, or duplicate_of, read from issue_id to the others.

    duplicate_of closes nothing. An existing link is returned instead of a second one (outcome replayed). Several are
    looked up before the first is linked; each has its own outcome.
    """

    result: ClassVar[Any] = relations.Relation

    issue_id: IssueRef = Field(description=f"Source: {ISSUE}")
    related_issue_id: IssueRef | None = Field(default=None, description="Target issue.")
    related_issue_ids: Annotated[list[IssueRef], Field(min_length=1, max_length=MOST_LINKS)] | None = Field(
        default=None, description="Instead: up to 20 targets."
    )
    relation_type: RelationType

    async def run(self, work: Work) -> JsonObject:
        source = await work.issue_id(self.issue_id)
        if (self.related_issue_id is None) == (self.related_issue_ids is None):
            raise Rejected(
                "Pass either related_issue_id or related_issue_ids. Nothing was done.", field="related_issue_id"
            )
        if self.related_issue_id is not None:
            target = await work.issue_id(self.related_issue_id, "related_issue_id")
            receipt = await work.client.deliver(self._link(source, target, "related_issue_id"))
            return {**shown(receipt.result), "outcome": receipt.outcome}
        with preparing("related_issue_ids"):
            targets = [await work.issue_id(one, "related_issue_ids") for one in self.related_issue_ids or ()]
            links = [self._link(source, target, "related_issue_ids") for target in dict.fromkeys(targets)]
        return _all_of([await _linked(work, link) for link in links])

    def _link(self, source: str, target: str, argument: str) -> relations.LinkIssue:
        """Raises Rejected for a link of an issue to itself, before anything is sent."""
        if source == target:
            raise Rejected(f"{argument}: must name another issue. Nothing was done.", field=argument)
        return self.request(relations.LinkIssue, issue_id=source, related_issue_id=target)


async def _linked(work: Work, link: relations.LinkIssue) -> JsonObject:
    """What became of one link of several: a failure is told, since others may stand already."""
    try:
        receipt = await work.client.deliver(link)
    except CallError as error:
        return {"related_issue_id": link.related_issue_id, **error.as_part()}
    return {**shown(receipt.result), "outcome": receipt.outcome}


def _all_of(links: list[JsonObject]) -> JsonObject:
    """All links, and the outcome that holds for them together."""
    failed = sum("error" in link for link in links)
    told = {"note": f"{failed} of {len(links)} were not linked, or it is unknown; the others are."} if failed else {}
    return {"links": links, "outcome": together(link["outcome"] for link in links), **told}
