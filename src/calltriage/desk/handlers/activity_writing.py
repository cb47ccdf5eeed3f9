"""Writing the activity feed: one entry per thing that happened (bland-triage, section 9)."""

from __future__ import annotations

from sqlalchemy import ColumnElement, case, insert, update

from calltriage.desk.database.tables import activity, issues, new_id
from calltriage.desk.database.transaction import Transaction
from calltriage.leaves.strict_json import JsonObject


def record(
    tx: Transaction,
    issue_id: str,
    entry_type: str,
    *,
    detail: str,
    metadata: JsonObject | None = None,
    resources: list[JsonObject] | None = None,
    referenced_issues: list[JsonObject] | None = None,
    session_id: str | None = None,
    artifact: JsonObject | None = None,
    at: str | None = None,
    from_status: str | None = None,
    to_status: str | None = None,
    moves: tuple[str, ...] = ("updated_at", "last_activity_at"),
) -> str:
    """Add an entry to an issue's feed and move its clocks: both for a change, the second alone for talk.

    `session_id` makes it the agent's, a caller without a user id the system's. `at` dates it later: the issue's clocks
    then stand ahead, and readers see no more of them than the present. Returns its id.
    """
    entry_id = new_id()
    tx.connection.execute(
        insert(activity).values(
            org_id=tx.who.org_id,
            id=entry_id,
            issue_id=issue_id,
            type=entry_type,
            actor_id=None if session_id else tx.who.user_id or None,
            detail=detail,
            metadata=metadata,
            resources=resources or [],
            referenced_issues=referenced_issues or [],
            from_status=from_status,
            to_status=to_status,
            session_id=session_id,
            artifact=artifact,
            created_at=at or tx.instant,
        )
    )
    clocks = {name: forward(name, at or tx.instant) for name in moves}
    tx.connection.execute(update(issues).where(tx.mine(issues, issues.c.id == issue_id)).values(clocks))
    return entry_id


def forward(clock: str, instant: str) -> ColumnElement[str]:
    """A clock of an issue moved to an instant, but never back."""
    return case((issues.c[clock] > instant, issues.c[clock]), else_=instant)
