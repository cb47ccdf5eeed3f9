"""Norm, Bland's triage agent: profiles, sessions, prompts (bland-triage, section 9)."""

import re
from typing import Literal

from pydantic import Field

from calltriage.errors import UnreadableAnswer
from calltriage.operations.activity import ListActivity, TimelineEntry
from calltriage.operations.base import Effect, Operation
from calltriage.operations.fields import DEFAULT_LIMIT, Comment, Cursor, IssueId, Limit, SessionId
from calltriage.operations.issues import GetIssue
from calltriage.operations.results import Page, Result
from calltriage.operations.sessions import AgentSession
from calltriage.operations.traces import Ask, Likeness, Rows, Trace, agree, all_agree, sign

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

    limit: Limit | None = Field(default=None, description=f"Page size, default {DEFAULT_LIMIT}.")
    cursor: Cursor | None = Field(default=None, description="next_cursor of the page before.")


class CreateAgentSession(
    Operation[AgentSession],
    http="POST /v1/triage/issues/{issue_id}/agent-sessions",
    effect=Effect.ADD,
    success=(201,),
):
    """Open a session with Norm on an issue. It starts no run by itself: prompt_norm does."""

    issue_id: IssueId = Field(description="The issue.")

    def trace(self) -> Trace[AgentSession]:
        feed = ListActivity(issue_id=self.issue_id)
        return sign(Rows(feed, lambda entry: entry.is_a("session_started"), newest_first=True), self._latest)

    async def _latest(self, ask: Ask, _: TimelineEntry) -> AgentSession:
        """The session that the issue names. Raises UnreadableAnswer where it names none."""
        issue = await ask(GetIssue(issue_id=self.issue_id))
        try:
            return AgentSession.model_validate(issue.latest_agent_session)
        except ValueError:
            raise UnreadableAnswer(
                "The session was opened, but its answer, with the session's id, was lost. Read the issue for it.",
                outcome="committed",
            ) from None


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

    def trace(self) -> Trace[Run]:
        return sign(Rows(ListActivity(issue_id=self.issue_id), self._is_like, newest_first=True), self._run)

    def _is_like(self, entry: TimelineEntry) -> Likeness:
        """Whether an entry is this prompt. The API stores a prompt without the word that names its intent (bland-triage,
        section 9)."""
        bare = self.model_copy(update={"detail": intent_of(self.detail)[1]})
        return all_agree((entry.is_a("prompt"), agree(self, entry) or agree(bare, entry)))

    async def _run(self, _: Ask, entry: TimelineEntry) -> Run:
        """The run that the feed names. Raises UnreadableAnswer where it names none."""
        run_id = (entry.metadata or {}).get("run_id")
        if not isinstance(run_id, str):
            raise UnreadableAnswer(
                "The prompt was carried out, but its answer, with the run's id, was lost. Follow the issue's feed.",
                outcome="committed",
            )
        return Run(session_id=self.session_id, run_id=run_id, intent=intent_of(self.detail)[0])


def intent_of(detail: str) -> tuple[Intent, str]:
    """The intent of a prompt, and its text without the word that names it (bland-triage, section 9).

    The first word decides, with or without a slash, in any case: verify, status, fix, or debug, which means fix. Any other
    word is part of the text, and the intent is fix.
    """
    found = re.match(r"\s*/?(fix|debug|verify|status)\b\s*", detail, re.IGNORECASE)
    if found is None:
        return "fix", detail
    word = found[1].lower()
    rest = detail[found.end() :]
    return ("verify", rest) if word == "verify" else ("status", rest) if word == "status" else ("fix", rest)
