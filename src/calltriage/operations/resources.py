"""Evidence attached to issues, and the calls it points at (bland-triage, section 6)."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field

from calltriage.operations.base import Effect, Operation, Page, Result
from calltriage.operations.fields import CallId, Cursor, IssueId, Limit, OpaqueId, ResourceType


class ResourceLink(Result, origin="the evidence itself"):
    """One piece of evidence on one issue."""

    id: str
    """Link id: what removing it and citing it take."""
    issue_id: str
    org_id: str | None = None
    resource_type: str
    resource_id: str
    title: str = ""
    status: str | None = None
    """`unavailable` once the resource cannot be read any more."""
    metadata: dict[str, Any] | None = None
    """Copied when attached."""
    attached_by_id: str | None = None
    created_at: str


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
    resource_id: OpaqueId = Field(
        description="A call's call_id, a conversation's id, or the id that create_attachment returned."
    )


class ListResources(
    Operation[Page[ResourceLink]], http="GET /v1/triage/issues/{issue_id}/resources", effect=Effect.READ
):
    """List the evidence attached to an issue, oldest first."""

    issue_id: IssueId = Field(description="The issue.")
    limit: Limit | None = None
    cursor: Cursor | None = None


class Turn(Result, origin="call parties"):
    """One turn of a call's transcript; vendors add fields, which are kept."""

    model_config = ConfigDict(extra="allow")

    user: str | None = None
    """Speaker: user, assistant, robot, agent-action; others may come."""
    text: str = ""


class Call(Result, origin="call parties"):
    """A call as the API answers it; everything but the id may be missing, further fields are kept."""

    model_config = ConfigDict(extra="allow")

    call_id: str
    created_at: str | None = None
    call_length: float | None = None
    """Minutes."""
    status: str | None = None
    summary: str | None = None
    transcripts: list[Turn] | None = None
    """A flag's `message_index` counts in this list, from 0."""
    metadata: dict[str, Any] | None = None


class GetCall(Operation[Call], http="GET /v1/calls/{call_id}", effect=Effect.READ, envelope=False):
    """Read one call with its transcript."""

    call_id: CallId = Field(description="The call.")
