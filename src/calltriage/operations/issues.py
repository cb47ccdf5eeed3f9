"""Issues: the unit of triage work (bland-triage, sections 3 to 5)."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.base import Effect, Operation, Tool
from calltriage.operations.fields import (
    DEFAULT_LIMIT,
    NO_RESOURCE,
    TEXT,
    Category,
    Clearable,
    Cursor,
    Description,
    IssueId,
    Limit,
    ResourceId,
    ResourceType,
    Severity,
    Source,
    Status,
    Title,
    UserId,
)
from calltriage.operations.results import Page, Result
from calltriage.operations.traces import (
    Changed,
    Likeness,
    Rows,
    Trace,
    Unreadable,
    agree,
    all_agree,
    caseless,
    plain,
    row,
    shared_fields,
)


class Issue(Result, origin="issue authors"):
    """A triage issue as the API answers it; readers tolerate further fields."""

    brief = {
        "id",
        "triage_id",
        "title",
        "status",
        "severity",
        "category",
        "assignee_id",
        "created_at",
        "updated_at",
        "last_activity_at",
        "resource_count",
        "flag_count",
        "relation_count",
    }
    begins = "description"

    id: str
    triage_id: str = ""
    org_id: str | None = None
    number: int | None = None
    title: str = ""
    description: str = ""
    status: str = ""
    severity: str = ""
    source: str | None = None
    category: str = ""
    owner_id: str | None = None
    assignee_id: str | None = None
    author_id: str | None = None
    external_link: JsonObject | None = None
    agent_id: str | None = None
    """The vendor's agent that the issue is about; an unpublished draft has it (bland-triage, section 10)."""
    agent_version_id: str | None = None
    created_at: str = ""
    updated_at: str = ""
    last_activity_at: str = ""
    resource_count: int = 0
    flag_count: int = 0
    relation_count: int = 0
    latest_agent_session: JsonObject | None = None
    is_processing: bool = False
    has_unread_activity: bool = False


class ResourceRef(Tool):
    """A piece of evidence by its own id."""

    resource_type: ResourceType
    resource_id: ResourceId


class CreateIssue(Operation[Issue], http="POST /v1/triage/issues", effect=Effect.ADD, success=(201,), refuses=(404,)):
    """File a triage issue about calls that went wrong.

    Look for an open one first (list_issues with search): every call files another issue. Evidence in resource_links is
    attached in the same step; one unknown resource and nothing is filed.
    """

    title: Title = Field(description="What goes wrong, in one line.")
    severity: Severity
    category: Category = Field(
        description="Free text; built-in: Transcription, Speech, Dialogue, Routing, Tools, Latency, Telephony, Bug."
    )
    description: Description | None = Field(
        default=None, description="What happened, what was expected, how to see it."
    )
    status: Status | None = Field(default=None, description="Default todo.")
    source: Source | None = Field(default=None, description="Default manual.")
    owner_id: UserId | None = None
    """User accountable for the outcome."""
    assignee_id: UserId | None = None
    """User working on it."""
    resource_links: Annotated[list[ResourceRef], Field(max_length=100), NO_RESOURCE] | None = Field(
        default=None, description="Evidence to attach."
    )
    agent_id: UserId | None = None
    """Agent that it is about."""
    agent_version_id: UserId | None = None

    def trace(self) -> Trace[Issue]:
        newest = ListIssues(sort="created_at", order="desc")
        return row(Rows(newest, self._is_like, newest_first=True, rows_before=25))  # issues are long

    def _is_like(self, issue: Issue) -> Likeness:
        """Whether an issue is the one asked for. Fields that were not given do not count: the API fills them in. If the
        issue was changed since and only its texts agree, that is not sure: None."""
        texts = ("title", "description")
        same_texts = agree(self, issue, texts)
        if same_texts is False:
            return False
        given = [name for name in shared_fields(self, issue) if name not in texts and getattr(self, name) is not None]
        rest = agree(self, issue, given, forms=dict.fromkeys(given, caseless))
        is_changed = not issue.updated_at or issue.updated_at != issue.created_at
        return all_agree((same_texts, None if rest is False and is_changed else rest))


class GetIssue(Operation[Issue], http="GET /v1/triage/issues/{issue_id}", effect=Effect.READ):
    """Read one issue: description, state, owner, counts.

    For its evidence, flags and links use get_evidence.
    """

    issue_id: IssueId = Field(description="The issue.")


class ListIssues(Operation[Page[Issue]], http="GET /v1/triage/issues", effect=Effect.READ):
    """Find issues (tickets), open or closed: search them, filter by status, severity, whom they are assigned to, time; sort.
    Newest activity first.

    Different filters all apply; several values of one filter are alternatives.
    Rows show how descriptions begin: get_issue has the rest.
    """

    search: Annotated[str, StringConstraints(min_length=1, max_length=200), TEXT] | None = Field(
        default=None, description="All of these words, in any order, in title or description; or a ticket number."
    )
    status: Annotated[list[Status], Field(max_length=20)] | None = None
    severity: Annotated[list[Severity], Field(max_length=20)] | None = None
    category: Annotated[list[Category], Field(max_length=20)] | None = Field(
        default=None, description="Whole names, case ignored."
    )
    resource_type: ResourceType | None = Field(default=None, description="Issues with such evidence.")
    owner_id: UserId | None = None
    assignee_id: UserId | None = Field(default=None, description="Who works on it.")
    agent_id: UserId | None = None
    agent_version_id: UserId | None = None
    date_range: Literal["24h", "7d", "30d", "90d"] | None = Field(default=None, description="Window back from now.")
    date_field: Literal["last_activity_at", "created_at"] | None = Field(
        default=None, description="What date_range looks at; default last_activity_at."
    )
    sort: Literal["last_activity_at", "created_at", "severity", "status"] | None = None
    order: Literal["asc", "desc"] | None = None
    limit: Limit | None = Field(default=None, description=f"Page size, default {DEFAULT_LIMIT}.")
    cursor: Cursor | None = Field(default=None, description="next_cursor of the page before; keep the filters.")


class UpdateIssue(Operation[Issue], http="PATCH /v1/triage/issues/{issue_id}", effect=Effect.CHANGE):
    """Change fields of an issue; only what is sent changes, null clears owner_id or assignee_id."""

    issue_id: IssueId = Field(description="The issue.")
    title: Title | None = None
    description: Description | None = None
    status: Status | None = Field(default=None, description="In any order.")
    severity: Severity | None = None
    category: Category | None = None
    owner_id: Annotated[UserId | None, Clearable()] = Field(default=None, description="Null clears.")
    assignee_id: Annotated[UserId | None, Clearable()] = Field(default=None, description="Null clears.")

    def trace(self) -> Trace[Issue]:
        wanted = self.model_fields_set - set(self.path_fields())
        return Changed(
            GetIssue(issue_id=self.issue_id),
            stands=lambda issue: all(plain(getattr(issue, name)) == plain(getattr(self, name)) for name in wanted),
        )


class DeleteIssue(
    Operation[None],
    http="DELETE /v1/triage/issues/{issue_id}",
    effect=Effect.REMOVE,
    success=(204,),
    also_changes=("issue", "flag_types"),  # the other ends of its links; its flags
):
    """Delete an issue for good, with its evidence links, flags, relations, comments and sessions.

    Calls, conversations and files stay. To take an issue off the board, set its status to closed instead.
    """

    issue_id: IssueId = Field(description="The issue.")

    def trace(self) -> Trace[None]:
        return Unreadable(GetIssue(issue_id=self.issue_id))


class IssueView(Result):
    """When the caller saw an issue last."""

    issue_id: str
    last_viewed_at: str


class MarkIssueViewed(Operation[IssueView], http="PUT /v1/triage/issues/{issue_id}/view", effect=Effect.ENSURE):
    """Mark an issue as seen, which clears has_unread_activity for this user."""

    issue_id: IssueId = Field(description="The issue.")
