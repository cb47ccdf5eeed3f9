"""Evidence attached to issues (bland-triage, section 6)."""

from pydantic import Field

from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.base import Effect, Operation
from calltriage.operations.fields import AttachedCallId, Cursor, IssueId, Limit, LinkId, ResourceId, ResourceType
from calltriage.operations.issues import GetIssue, Issue
from calltriage.operations.results import Page, Result
from calltriage.operations.traces import NoRow, Rows, Trace, agree, row, sign


class ResourceLink(Result, origin="the evidence itself"):
    """One piece of evidence on one issue."""

    id: str
    """Link id: what removing it and citing it take."""
    issue_id: str = ""
    org_id: str | None = None
    resource_type: str = ""
    resource_id: str = ""
    title: str = ""
    status: str | None = None
    """`unavailable` once the resource cannot be read any more."""
    metadata: JsonObject | None = None
    """Copied when attached."""
    attached_by_id: str | None = None
    created_at: str = ""


class AttachResource(
    Operation[ResourceLink],
    http="POST /v1/triage/issues/{issue_id}/resources",
    effect=Effect.ENSURE,
    success=(201, 200),
):
    """Attach a call, an SMS conversation or a file to an issue as evidence.

    Attaching it again changes nothing and returns the first link (outcome replayed). A call must be attached before
    add_flag can point at it.
    """

    issue_id: IssueId = Field(description="The issue.")
    resource_type: ResourceType
    resource_id: ResourceId = Field(
        description="Its own id; a file's is create_attachment's where both services are one."
    )

    def trace(self) -> Trace[ResourceLink]:
        return row(self.links())

    def links(self) -> Rows[ResourceLink]:
        """The links of the issue to this resource."""
        return Rows(ListResources(issue_id=self.issue_id), lambda link: agree(self, link), unique=True)


class ListResources(
    Operation[Page[ResourceLink]], http="GET /v1/triage/issues/{issue_id}/resources", effect=Effect.READ
):
    """List what is attached to an issue as evidence: calls, SMS conversations and files, each with its link id."""

    issue_id: IssueId = Field(description="The issue.")
    limit: Limit | None = Field(default=None, description="Page size.")
    cursor: Cursor | None = Field(default=None, description="next_cursor of the page before.")


class RemoveResource(
    Operation[None],
    http="DELETE /v1/triage/issues/{issue_id}/resources/{resource_link_id}",
    effect=Effect.REMOVE,
    success=(204,),
    also_changes=("flag_types",),  # flags go with their call
):
    """Detach evidence, that is take it off an issue, by its link id; the call, conversation or file itself stays.

    Flags on a detached call go with it.
    """

    issue_id: IssueId = Field(description="The issue.")
    resource_link_id: LinkId = Field(description="Id of the link, not of the resource.")

    def trace(self) -> Trace[None]:
        return NoRow(Rows(ListResources(issue_id=self.issue_id), lambda link: link.id == self.resource_link_id))


class AttachCall(Operation[Issue], http="PUT /v1/triage/issues/{issue_id}/calls/{call_id}", effect=Effect.ENSURE):
    """Attach a call by its id; answers the issue with its counts."""

    issue_id: IssueId = Field(description="The issue.")
    call_id: AttachedCallId = Field(description="The call.")

    def trace(self) -> Trace[Issue]:
        same = AttachResource(issue_id=self.issue_id, resource_type="call", resource_id=self.call_id)
        return sign(same.links(), lambda ask, _: ask(GetIssue(issue_id=self.issue_id)))


class DetachCall(
    Operation[None],
    http="DELETE /v1/triage/issues/{issue_id}/calls/{call_id}",
    effect=Effect.REMOVE,
    success=(204,),
    also_changes=("flag_types",),
):
    """Detach a call by its id."""

    issue_id: IssueId = Field(description="The issue.")
    call_id: AttachedCallId = Field(description="The call.")

    def trace(self) -> Trace[None]:
        return NoRow(AttachResource(issue_id=self.issue_id, resource_type="call", resource_id=self.call_id).links())


class AffectedContext(Result, origin="pathway and persona authors"):
    """Attached calls, and the pathways and personas that they ran on. The rows' fields may be null."""

    issue_id: str = ""
    calls: list[JsonObject] = Field(default_factory=list[JsonObject])
    pathways: list[JsonObject] = Field(default_factory=list[JsonObject])
    personas: list[JsonObject] = Field(default_factory=list[JsonObject])


class GetAffectedContext(
    Operation[AffectedContext], http="GET /v1/triage/issues/{issue_id}/affected", effect=Effect.READ
):
    """List which pathways and personas the attached calls ran on, with how many calls each."""

    issue_id: IssueId = Field(description="The issue.")
