"""Version 2: an index for search, indexes for the list's filters, columns for the filters of calls."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

from calltriage.desk.database.issue_search import make_index
from calltriage.desk.database.query_planner import give_statistics
from calltriage.leaves.strict_json import JsonObject

TEXTS = {"from_number": "from", "to_number": "to", "answered_by": "answered_by", "batch_id": "batch_id"}
FLAGS = ("completed", "inbound")
Text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
BATCH = 500


def upgrade(op: Operations) -> None:
    for filter_name, column in (
        ("status", "status"),
        ("severity", "severity"),
        ("category", "category_folded"),
        ("owner", "owner_id"),
        ("assignee", "assignee_id"),
    ):
        op.create_index(f"issues_of_{filter_name}", "issues", ["org_id", column, "last_activity_at", "id"])
    op.create_index("links_of_type", "resource_links", ["org_id", "resource_type", "issue_id"])
    op.create_index("runs_of_session", "agent_runs", ["org_id", "session_id", "seq"])
    for name in TEXTS:
        op.add_column("calls", sa.Column(name, Text))
    for name in FLAGS:
        op.add_column("calls", sa.Column(name, sa.Boolean))
    op.add_column("calls", sa.Column("call_length", sa.Double))
    _fill_calls(op.get_bind())
    op.create_index("calls_by_update", "calls", ["org_id", "updated_at", "id"])
    for name, column in (("calls_from", "from_number"), ("calls_to", "to_number"), ("calls_of_batch", "batch_id")):
        op.create_index(name, "calls", ["org_id", column, "created_at", "id"])
    make_index(op.get_bind())
    give_statistics(op.get_bind())


def _fill_calls(connection: sa.Connection) -> None:
    columns = [*TEXTS, *FLAGS, "call_length"]
    typed = [sa.column("seq", sa.BigInteger), sa.column("record", sa.JSON), *(sa.column(name, Text) for name in TEXTS)]
    typed += [sa.column(name, sa.Boolean) for name in FLAGS]
    calls: sa.TableClause = sa.table("calls", *typed, sa.column("call_length", sa.Double))
    change = sa.update(calls).where(calls.c.seq == sa.bindparam("this"))
    last = 0
    while rows := connection.execute(
        sa.select(calls.c.seq, calls.c.record).where(calls.c.seq > last).order_by(calls.c.seq).limit(BATCH)
    ).all():
        connection.execute(
            change.values({name: sa.bindparam(f"new_{name}") for name in columns}),
            [{"this": row.seq, **{f"new_{name}": value for name, value in _of(row.record).items()}} for row in rows],
        )
        last = rows[-1].seq


def _of(record: JsonObject) -> JsonObject:
    about: JsonObject = record.get("metadata") or {}
    texts = {name: about.get(key) if isinstance(about.get(key), str) else None for name, key in TEXTS.items()}
    flags = {name: about.get(name) if isinstance(about.get(name), bool) else None for name in FLAGS}
    return {**texts, **flags, "call_length": record.get("call_length")}
