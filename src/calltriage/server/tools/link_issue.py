"""Linking an issue to others."""

from typing import Annotated, ClassVar

from pydantic import Field

from calltriage.errors import CallError, NotFound, Rejected
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations import relations
from calltriage.operations.base import Effect
from calltriage.operations.fields import IssueRef, RelationType
from calltriage.server.answers.results import shown, together
from calltriage.server.answers.writes_shown import LINK_SHOWN, ONE_LINK, MadeLink
from calltriage.server.context import ISSUE, Invocation, Workflow, preparing

MOST_LINKS = 20


class LinkIssueTool(Workflow, effect=Effect.ADD, answers_repeats=True, wraps=relations.LinkIssue):
    """Link an issue to another, or to several: related_to, blocks, or duplicate_of, read from issue_id to the others.

    duplicate_of closes nothing. An existing link is returned instead of a second one (outcome replayed). Several are
    looked up before the first is linked; each has its own outcome.
    """

    result: ClassVar[object] = MadeLink

    issue_id: IssueRef = Field(description=f"Source: {ISSUE}")
    related_issue_id: IssueRef | None = Field(default=None, description="Target issue.")
    related_issue_ids: Annotated[list[IssueRef], Field(min_length=1, max_length=MOST_LINKS)] | None = Field(
        default=None, description="Instead: up to 20 targets."
    )
    relation_type: RelationType

    async def run(self, work: Invocation) -> JsonObject:
        source = await work.server.issue_id(self.issue_id)
        if (self.related_issue_id is None) == (self.related_issue_ids is None):
            raise Rejected(
                "Pass either related_issue_id or related_issue_ids. Nothing was done.", field="related_issue_id"
            )
        if self.related_issue_id is not None:
            target = await work.server.issue_id(self.related_issue_id, "related_issue_id")
            with preparing("related_issue_id"):
                link = self._link(source, target, "related_issue_id")
                await self._refuse_circle(work, [link], "related_issue_id")
            return await _made(work, link, await self._there(work, source))
        with preparing("related_issue_ids"):
            targets = [await _target(work, place, one) for place, one in enumerate(self.related_issue_ids or ())]
            links = [self._link(source, target, "related_issue_ids") for target in dict.fromkeys(targets)]
            await self._refuse_circle(work, links, "related_issue_ids")
        there = await self._there(work, source)
        return _all_of([await _linked(work, link, there) for link in links])

    def _link(self, source: str, target: str, argument: str) -> relations.LinkIssue:
        """The operation. Raises Rejected for a link of an issue to itself, before anything is sent."""
        if source == target:
            raise Rejected(f"{argument}: must name another issue. Nothing was done.", field=argument)
        return self.request(relations.LinkIssue, issue_id=source, related_issue_id=target)

    async def _there(self, work: Invocation, source: str) -> dict[str, relations.Relation]:
        """Links that were made from the other issue and say the same, by that issue's id: related_to holds both ways."""
        if self.relation_type != "related_to":
            return {}
        return {
            link.related_issue_id if link.issue_id == source else link.issue_id: link
            for link in await _links(work, source)
            if link.relation_type == "related_to" and link.direction == "incoming"
        }

    async def _refuse_circle(self, work: Invocation, links: list[relations.LinkIssue], argument: str) -> None:
        """Raise Rejected (`circle_of_duplicates`) if the other issue is a duplicate of this one, directly or over others.
        Links that cannot be read are not counted."""
        for link in links if self.relation_type == "duplicate_of" else ():
            if link.issue_id in await _originals(work, link.related_issue_id):
                raise Rejected(
                    "The other issue is a duplicate of this one already, directly or over others: a circle of duplicates "
                    "names no original. Nothing was done. To turn it round, remove that link first.",
                    code="circle_of_duplicates",
                    field=argument,
                )


async def _originals(work: Invocation, issue_id: str) -> set[str]:
    """The issues that an issue is a duplicate of, directly or over others."""
    found, waiting = set[str](), [issue_id]
    while waiting and len(found) < MOST_LINKS:
        near = await _links(work, waiting.pop())
        new = {
            one.related_issue_id for one in near if one.relation_type == "duplicate_of" and one.direction == "outgoing"
        }
        waiting += new - found
        found |= new
    return found


async def _links(work: Invocation, issue_id: str) -> list[relations.Relation]:
    try:
        return (await work.server.client.send(relations.ListRelations(issue_id=issue_id, limit=100))).items
    except CallError:
        return []


async def _made(
    work: Invocation,
    link: relations.LinkIssue,
    there: dict[str, relations.Relation],
    only: frozenset[str] = LINK_SHOWN,
) -> JsonObject:
    """Make the link, or take the one in `there` that says the same. Returns its fields `only` and its outcome."""
    if (same := there.get(link.related_issue_id)) is not None:
        return {**shown(same, only), "outcome": "replayed"}
    receipt = await work.server.client.deliver(link)
    return {**shown(receipt.result, only), "outcome": receipt.outcome}


async def _linked(work: Invocation, link: relations.LinkIssue, there: dict[str, relations.Relation]) -> JsonObject:
    """Make one link of several. A failure is returned, not raised, since others may be made already."""
    try:
        return await _made(work, link, there, ONE_LINK)
    except CallError as error:
        return {"related_issue_id": link.related_issue_id, **error.as_part()}


async def _target(work: Invocation, place: int, reference: str) -> str:
    """The UUID of one of several targets. Raises NotFound with its place among them."""
    try:
        return await work.server.issue_id(reference, "related_issue_ids")
    except NotFound as error:
        error.details = {**error.details, "place": place}
        raise


def _all_of(links: list[JsonObject]) -> JsonObject:
    """All links, and the outcome that holds for them together."""
    failed = sum("error" in link for link in links)
    told = {"note": f"{failed} of {len(links)} were not linked, or it is unknown; the others are."} if failed else {}
    return {"links": links, "outcome": together(link["outcome"] for link in links), **told}
