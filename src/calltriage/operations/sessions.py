"""Sessions with Norm, as the feed, an issue and the session's own request show them (bland-triage, section 9)."""

from calltriage.operations.results import Result


class AgentSession(Result, origin="agent authors"):
    """A session; follow it through the issue and its feed, no route reads it back."""

    id: str
    agent_profile_id: str | None = None
    agent_name: str | None = None
    status: str = ""
