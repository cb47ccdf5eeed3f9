"""The activity feed of an issue (bland-triage, section 9)."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from calltriage.operations.base import Effect, Operation, Page, Result
from calltriage.operations.fields import Cursor, IssueId, Limit


class TimelineEntry(Result, origin="issue authors"):
    """One entry of the feed. Types and entry kinds are open sets."""

    entry_kind: str = "issue"
    id: str
    issue_id: str
    type: str
    actor: dict[str, Any] | None = None
    detail: str | None = None
    from_status: str | None = None
    to_status: str | None = None
    metadata: dict[str, Any] | None = None
    resources: list[dict[str, Any]] | None = None
    referenced_issues: list[dict[str, Any]] | None = None
    created_at: str


class ListActivity(
    Operation[Page[TimelineEntry]], http="GET /v1/triage/issues/{issue_id}/activity", effect=Effect.READ
):
    """List what happened to an issue, newest first."""

    issue_id: IssueId = Field(description="The issue.")
    limit: Limit | None = None
    cursor: Cursor | None = None
