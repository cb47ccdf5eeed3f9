"""Norm, Bland's triage agent: profiles, sessions, prompts (bland-triage, section 9)."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field

from calltriage.operations.base import Effect, Operation
from calltriage.operations.fields import Comment, Cursor, IssueId, Limit, SessionId
from calltriage.operations.results import Page, Result

Intent = Literal["fix", "verify", "status"]
"""What a run may do: `fix` can write pathway drafts, tools and tests; the others only read."""


class AgentProfile(Result, origin="agent authors"):
    """An agent that can be asked to work on issues."""

    id: str
    provider_type: str | None = None
    display_name: str = ""
    description: str | None = None
    is_active: bool | None = None


class ListTriageAgents(Operation[Page[AgentProfile]], http="GET /v1/triage/agents", effect=Effect.READ):
    """List the vendor's own triage agents; one today, Norm."""

    limit: Limit | None = Field(default=None, description="Page size, default 50.")
    cursor: Cursor | None = Field(default=None, description="next_cursor of the page before.")


class AgentSession(Result, origin="agent authors"):
    """A session; follow it through the issue and its feed, no route reads it back."""

    id: str
    agent_profile_id: str | None = None
    agent_name: str | None = None
    status: str = ""


class CreateAgentSession(
    Operation[AgentSession],
    http="POST /v1/triage/issues/{issue_id}/agent-sessions",
    effect=Effect.ADD,
    success=(201,),
):
    """Open a session with Norm on an issue. It starts no run by itself: prompt_norm does."""

    issue_id: IssueId = Field(description="The issue.")


class Run(Result):
    """A queued run; its answer arrives in the activity feed."""

    session_id: str = ""
    run_id: str
    intent: str = ""


class PromptNorm(
    Operation[Run],
    http="POST /v1/triage/issues/{issue_id}/agent-sessions/{session_id}/prompts",
    effect=Effect.ADD,
    success=(202,),
    refuses=(409,),
):
    """Send Norm a prompt; its first word picks what the run may do."""

    issue_id: IssueId = Field(description="The issue.")
    session_id: SessionId = Field(description="Session from create_agent_session.")
    detail: Comment = Field(description="The prompt.")


def intent_of(detail: str) -> tuple[Intent, str]:
    """What a prompt asks for, and its text without the word that said so.

    First word, with or without a slash, case ignored: verify, status, fix, or debug for fix; fix when it is none of them.
    """
    found = re.match(r"\s*/?(fix|debug|verify|status)\b\s*", detail, re.IGNORECASE)
    if found is None:
        return "fix", detail
    word = found[1].lower()
    rest = detail[found.end() :]
    return ("verify", rest) if word == "verify" else ("status", rest) if word == "status" else ("fix", rest)
