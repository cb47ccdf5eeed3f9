"""Version 11: each call says whether it has ended, and a list of those that have is counted by an index."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

from calltriage.desk.database.query_planner import give_statistics

UNDER_WAY = ("new", "queued", "allocated", "started")


def upgrade(op: Operations) -> None:
    calls = sa.table("calls", sa.column("record", sa.JSON), sa.column("completed", sa.Boolean))
    state = calls.c.record["metadata"]["queue_status"].as_string()
    has_ended = sa.case((state.in_(UNDER_WAY), sa.false()), else_=sa.true())
    op.execute(sa.update(calls).where(calls.c.completed.is_(None)).values(completed=has_ended))
    op.create_index("calls_completed", "calls", ["org_id", "completed", "created_at", "id"])
    give_statistics(op.get_bind())
