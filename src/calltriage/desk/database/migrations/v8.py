"""Version 8: calls are indexed by their words and by their numbers in digits. Reads all calls again, a batch at a time."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

from calltriage.desk.database.call_words import drop_call_index, keep_words, make_call_index
from calltriage.desk.database.query_planner import give_statistics

Text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
BATCH = 500


def upgrade(op: Operations) -> None:
    connection = op.get_bind()
    drop_call_index(connection)
    names = [sa.column("org_id", Text), sa.column("id", Text), sa.column("record", sa.JSON)]
    calls: sa.TableClause = sa.table("calls", sa.column("seq", sa.BigInteger), *names)
    query, last = sa.select(calls).order_by(calls.c.seq).limit(BATCH), 0
    while rows := connection.execute(query.where(calls.c.seq > last)).all():
        for org_id in {row.org_id for row in rows}:
            keep_words(connection, org_id, {row.id: row.record for row in rows if row.org_id == org_id})
        last = rows[-1].seq
    make_call_index(connection)
    give_statistics(connection)
