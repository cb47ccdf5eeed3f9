"""Version 7: what was said in calls has a table of its own. Version 10 fills it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

Text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
Whole = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade(op: Operations) -> None:
    op.create_table(
        "call_words",
        sa.Column("place", Whole, primary_key=True, autoincrement=False),
        *(sa.Column(name, Text, nullable=False) for name in ("org_id", "call_id", "terms")),
        sa.UniqueConstraint("org_id", "call_id"),
        sa.ForeignKeyConstraint(["org_id", "call_id"], ["calls.org_id", "calls.id"], ondelete="CASCADE"),
    )
    op.create_index("call_words_by_place", "call_words", ["org_id", "place"])
