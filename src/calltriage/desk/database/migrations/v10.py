"""Version 10: calls and issues are indexed by their words, and by numbers, times of day and prices in digits. Reads all of
them again, a few MiB at a time."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate

import sqlalchemy as sa
from alembic.operations import Operations

from calltriage.desk.database.call_words import drop_call_index, keep_words, make_call_index
from calltriage.desk.database.migrations import v4

Text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
BATCH, LARGEST = 500, 16 * 2**20
"""Most calls that are read at once, and most characters of their records in all. One call may have more."""


def upgrade(op: Operations) -> None:
    connection = op.get_bind()
    _index_calls(connection)
    v4.upgrade(op)


def _index_calls(connection: sa.Connection) -> None:
    drop_call_index(connection)
    names = [sa.column("org_id", Text), sa.column("id", Text), sa.column("record", sa.JSON)]
    calls: sa.TableClause = sa.table("calls", sa.column("seq", sa.BigInteger), *names)
    size = sa.func.length(sa.cast(calls.c.record, sa.Text))
    sizes, last = sa.select(calls.c.seq, size).order_by(calls.c.seq).limit(BATCH), 0
    while found := connection.execute(sizes.where(calls.c.seq > last)).all():
        total = [*accumulate(length or 0 for _, length in found)]
        end = found[max(0, bisect_right(total, LARGEST) - 1)].seq
        rows = connection.execute(sa.select(calls).where(calls.c.seq > last, calls.c.seq <= end)).all()
        for org_id in {row.org_id for row in rows}:
            keep_words(connection, org_id, {row.id: row.record for row in rows if row.org_id == org_id})
        last = end
    make_call_index(connection)
