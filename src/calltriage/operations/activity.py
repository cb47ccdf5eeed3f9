"""The activity feed of an issue (bland-triage, section 9)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.base import Effect, Operation
from calltriage.operations.fields import Comment, Cursor, IssueId, Limit, LinkId
from calltriage.operations.results import Page, Result


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
    created_at: str = ""


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
