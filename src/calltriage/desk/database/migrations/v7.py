"""Version 7: what was said in calls is indexed for search."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

from calltriage.desk.database.call_words import keep_words, make_call_index
from calltriage.desk.database.query_planner import give_statistics

Text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
Whole = sa.BigInteger().with_variant(sa.Integer, "sqlite")
BATCH = 500


def upgrade(op: Operations) -> None:
    op.create_table(
        "call_words",
        sa.Column("place", Whole, primary_key=True, autoincrement=False),
        *(sa.Column(name, Text, nullable=False) for name in ("org_id", "call_id", "terms")),
        sa.UniqueConstraint("org_id", "call_id"),
        sa.ForeignKeyConstraint(["org_id", "call_id"], ["calls.org_id", "calls.id"], ondelete="CASCADE"),
    )
    op.create_index("call_words_by_place", "call_words", ["org_id", "place"])
    connection = op.get_bind()
    make_call_index(connection)
    names = [sa.column("org_id", Text), sa.column("id", Text), sa.column("record", sa.JSON)]
    calls: sa.TableClause = sa.table("calls", sa.column("seq", sa.BigInteger), *names)
    query, last = sa.select(calls).order_by(calls.c.seq).limit(BATCH), 0
    while rows := connection.execute(query.where(calls.c.seq > last)).all():
        for org_id in {row.org_id for row in rows}:
            keep_words(connection, org_id, {row.id: row.record for row in rows if row.org_id == org_id})
        last = rows[-1].seq
    give_statistics(connection)
