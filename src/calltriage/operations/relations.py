"""Relations: directed links between issues (bland-triage, section 8)."""

from pydantic import Field, ValidationInfo, field_validator

from calltriage.operations.base import Effect, Operation
from calltriage.operations.fields import Cursor, IssueId, Limit, RelationId, RelationType
from calltriage.operations.results import Page, Result
from calltriage.operations.traces import NoRow, Rows, Trace, agree, row


class Relation(Result, origin="issue authors"):
    """A link, read from source (`issue_id`) to target (`related_issue_id`)."""

    id: str
    org_id: str | None = None
    issue_id: str = ""
    related_issue_id: str = ""
    related_triage_id: str | None = None
    """Of the end that is not the one listed."""
    related_title: str | None = None
    relation_type: str = ""
    direction: str | None = None
    """`outgoing` seen from the source, `incoming` from the target."""
    created_by_id: str | None = None
    created_at: str = ""


class LinkIssue(
    Operation[Relation],
    http="POST /v1/triage/issues/{issue_id}/relations",
    effect=Effect.ADD,
    success=(201, 200),
):
    """Link an issue to another: related_to, blocks, or duplicate_of, read from issue_id to related_issue_id.

    duplicate_of closes nothing. An existing link is returned instead of a second one (outcome replayed).
    """

    issue_id: IssueId = Field(description="Source issue.")
    related_issue_id: IssueId = Field(description="Target issue.")
    relation_type: RelationType

    @field_validator("related_issue_id")
    @classmethod
    def _another_issue(cls, value: str, info: ValidationInfo) -> str:
        if value == info.data.get("issue_id"):
            raise ValueError("must name another issue")
        return value

    def trace(self) -> Trace[Relation]:
        ends = ("issue_id", "related_issue_id", "relation_type")  # the list has links to the issue, too
        return row(Rows(ListRelations(issue_id=self.issue_id), lambda link: agree(self, link, ends), unique=True))


class ListRelations(Operation[Page[Relation]], http="GET /v1/triage/issues/{issue_id}/relations", effect=Effect.READ):
    """List the links from and to an issue: what it blocks, duplicates or is related to; oldest first."""

    issue_id: IssueId = Field(description="The issue.")
    limit: Limit | None = Field(default=None, description="Page size.")
    cursor: Cursor | None = Field(default=None, description="next_cursor of the page before.")


class RemoveRelation(
    Operation[None],
    http="DELETE /v1/triage/issues/{issue_id}/relations/{relation_id}",
    effect=Effect.REMOVE,
    success=(204,),
    also_changes=("issue",),  # the other end, which a removal does not name
):
    """Remove a link between two issues; works from either end."""

    issue_id: IssueId = Field(description="Either issue.")
    relation_id: RelationId = Field(description="The link.")

    def trace(self) -> Trace[None]:
        return NoRow(Rows(ListRelations(issue_id=self.issue_id), lambda link: link.id == self.relation_id))
