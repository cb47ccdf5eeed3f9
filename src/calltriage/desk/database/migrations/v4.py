"""Version 4: the words of issues are folded as all words are, and the index for search is made of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

from calltriage.desk.database.issue_search import drop_index, make_index, searched
from calltriage.desk.database.query_planner import give_statistics

BATCH = 500
TEXTS = [sa.column(name, sa.Text) for name in ("title", "description", "words")]
ISSUES: sa.TableClause = sa.table("issues", sa.column("seq", sa.BigInteger), *TEXTS)


def upgrade(op: Operations) -> None:
    connection = op.get_bind()
    drop_index(connection)
    change = sa.update(ISSUES).where(ISSUES.c.seq == sa.bindparam("this")).values(words=sa.bindparam("new"))
    wanted = sa.select(ISSUES.c.seq, ISSUES.c.title, ISSUES.c.description).order_by(ISSUES.c.seq).limit(BATCH)
    last = 0
    while rows := connection.execute(wanted.where(ISSUES.c.seq > last)).all():
        folded = [{"this": row.seq, "new": searched(row.title, row.description)} for row in rows]
        connection.execute(change, folded)
        last = rows[-1].seq
    make_index(connection)
    give_statistics(connection)
