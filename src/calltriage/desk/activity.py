"""The activity feed: what is recorded, and how it is read back (bland-triage, section 9)."""

from __future__ import annotations

from typing import Any

from sqlalchemy import insert, select, update

from calltriage.desk.exchange import Reply, Transaction, plain_row
from calltriage.desk.store import activity, issues, new_id
from calltriage.operations.activity import ListActivity


def record(
    tx: Transaction,
    issue_id: str,
    entry_type: str,
    *,
    detail: str | None = None,
    metadata: dict[str, Any] | None = None,
    resources: list[dict[str, Any]] | None = None,
    referenced_issues: list[dict[str, Any]] | None = None,
) -> None:
    """Add an entry to an issue's feed and move both of its clocks: every entry so far stands for a change."""
    tx.connection.execute(
        insert(activity).values(
            org_id=tx.who.org_id,
            id=new_id(),
            issue_id=issue_id,
            type=entry_type,
            actor_id=tx.who.user_id,
            detail=detail,
            metadata=metadata,
            resources=resources or [],
            referenced_issues=referenced_issues or [],
            created_at=tx.instant,
        )
    )
    tx.connection.execute(
        update(issues)
        .where(tx.mine(issues, issues.c.id == issue_id))
        .values(updated_at=tx.instant, last_activity_at=tx.instant)
    )


def list_activity(tx: Transaction, call: ListActivity) -> Reply:
    tx.issue(call.issue_id)
    rows, cursor = tx.page(
        select(activity).where(tx.mine(activity, activity.c.issue_id == call.issue_id)),
        (activity.c.seq,),
        limit=call.limit,
        cursor=call.cursor,
        name=f"activity of {call.issue_id}",
        descending=True,
    )
    return Reply(200, {"items": [_shown(row) for row in rows], "next_cursor": cursor})


def _shown(row: Any) -> dict[str, Any]:
    return {
        "entry_kind": "issue",
        **plain_row(
            row, "id", "issue_id", "type", "detail", "metadata", "resources", "referenced_issues", "created_at"
        ),
        "actor": {"kind": "user", "id": row.actor_id, "label": None, "avatar_url": None},
        "from_status": None,
        "to_status": None,
    }
