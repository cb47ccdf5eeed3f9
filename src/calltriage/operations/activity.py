"""The activity feed of an issue (bland-triage, section 9)."""

from typing import Annotated

from pydantic import Field, JsonValue, field_serializer

from calltriage.leaves.gate import compact
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.base import Effect, Operation
from calltriage.operations.fields import Comment, Cursor, IssueId, Limit, LinkId
from calltriage.operations.results import Page, Result
from calltriage.operations.sessions import AgentSession
from calltriage.operations.traces import Likeness, Rows, Trace, agree, all_agree, row

LONGEST_JSON = 2_000
"""Characters of JSON inside an artifact that are shown as JSON. Longer JSON is shown as text, which can be cut."""


class Artifact(Result, origin="agent authors"):
    """What the vendor's agent made: a draft of a pathway, a snippet, a report. Types and renderers are open sets."""

    id: str | None = None
    type: str | None = None
    title: str | None = None
    renderer: str | None = None
    status: str | None = None
    """pending, ready or error."""
    payload: JsonValue = None
    external_urls: JsonValue = None
    """Links; their form is not documented."""

    @field_serializer("payload", "external_urls")
    def _shown(self, value: JsonValue) -> JsonValue:
        text = compact(value) if isinstance(value, dict | list) else ""
        return text if len(text) > LONGEST_JSON else value


class TimelineEntry(Result, origin="issue authors and agents"):
    """One entry of the feed. Types and entry kinds are open sets."""

    entry_kind: str = "issue"
    id: str
    issue_id: str = ""
    type: str = ""
    actor: JsonObject | None = None
    detail: str | None = None
    from_status: str | None = None
    to_status: str | None = None
    metadata: JsonObject | None = None
    resources: list[JsonObject] | None = None
    referenced_issues: list[JsonObject] | None = None
    agent_session: AgentSession | None = None
    """The session that an entry of the vendor's agent belongs to."""
    artifact: Artifact | None = None
    created_at: str = ""

    def is_a(self, kind: str) -> Likeness:
        """Whether it is of this type."""
        return self.type == kind if "type" in self.model_fields_set else None


class ListActivity(
    Operation[Page[TimelineEntry]], http="GET /v1/triage/issues/{issue_id}/activity", effect=Effect.READ
):
    """List what happened to an issue, newest first: its history of comments, changes, evidence, flags and links."""

    issue_id: IssueId = Field(description="The issue.")
    limit: Limit | None = Field(default=None, description="Page size.")
    cursor: Cursor | None = Field(default=None, description="next_cursor of the page before.")


class AddComment(
    Operation[TimelineEntry],
    http="POST /v1/triage/issues/{issue_id}/comments",
    effect=Effect.ADD,
    success=(201,),
):
    """Comment on an issue; every request adds a comment. With `@norm` in the text it starts a run of Bland's agent too."""

    issue_id: IssueId = Field(description="The issue.")
    detail: Comment = Field(description="The comment.")
    resource_link_ids: Annotated[list[LinkId], Field(max_length=50)] | None = Field(
        default=None, description="Link ids of this issue's evidence to cite."
    )

    def trace(self) -> Trace[TimelineEntry]:
        return row(
            Rows(
                ListActivity(issue_id=self.issue_id),
                lambda entry: all_agree((entry.is_a("comment"), agree(self, entry))),
                newest_first=True,
            )
        )
