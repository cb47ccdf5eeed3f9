"""Writing the activity feed: one entry per thing that happened (bland-triage, section 9)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Required, TypedDict, Unpack

from sqlalchemy import Update, bindparam, case, insert, update

from calltriage.desk.database.tables import activity, issues, new_id
from calltriage.desk.database.transaction import Transaction
from calltriage.leaves.strict_json import JsonObject

Clocks = tuple[str, ...]
CHANGE: Clocks = ("updated_at", "last_activity_at")
"""The times of an issue that a change sets."""
TALK: Clocks = ("last_activity_at",)
"""The times of an issue that a comment or a session's entry sets."""


class Facts(TypedDict, total=False):
    """Columns of an entry. With a `session_id` it is the agent's; for a caller without a user id it is the system's.
    `created_at` may lie in the future: so do the issue's times then, and readers see the present instead."""

    detail: Required[str]
    metadata: JsonObject | None
    resources: list[JsonObject]
    referenced_issues: list[JsonObject]
    session_id: str | None
    artifact: JsonObject | None
    created_at: str
    from_status: str | None
    to_status: str | None


_NO_FACTS: JsonObject = {
    "session_id": None, "metadata": None, "resources": [], "referenced_issues": [], "artifact": None,
    "from_status": None, "to_status": None,
}  # fmt: skip
_ADD_ENTRIES = insert(activity)


def entry(tx: Transaction, issue_id: str, entry_type: str, **facts: Unpack[Facts]) -> JsonObject:
    """The row of a feed entry. Nothing is stored yet."""
    return {
        **_NO_FACTS,
        "org_id": tx.who.org_id,
        "id": new_id(),
        "issue_id": issue_id,
        "type": entry_type,
        "actor_id": None if facts.get("session_id") else tx.who.user_id or None,
        "created_at": tx.instant,
        **facts,
    }


def record(tx: Transaction, entries: Sequence[JsonObject], moves: Clocks = CHANGE) -> None:
    """Store entries, and set these times of their issues to the latest entry's."""
    if not entries:
        return
    tx.connection.execute(_ADD_ENTRIES, entries)
    if moves:
        move_clocks(tx, {row["issue_id"] for row in entries}, max(row["created_at"] for row in entries), moves)


def move_clocks(tx: Transaction, issue_ids: Iterable[str], instant: str, clocks: Clocks = CHANGE) -> None:
    """Set times of issues to an instant, but never to an earlier one than they have."""
    moved = [{"organisation": tx.who.org_id, "moving": issue_id, "instant": instant} for issue_id in issue_ids]
    tx.connection.execute(_moved(clocks), moved)


@cache
def _moved(clocks: Clocks) -> Update:
    at = bindparam("instant", type_=issues.c.updated_at.type)
    forward = {name: case((issues.c[name] > at, issues.c[name]), else_=at) for name in clocks}
    return (
        update(issues)
        .where(issues.c.org_id == bindparam("organisation"), issues.c.id == bindparam("moving"))
        .values(forward)
    )
