"""Version 2: figures of a call that detectors measured; a state of their own for items whose call had not settled."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

Text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
KEY = ("account", "call_id", "content_hash", "detector", "version_hash", "name")


def upgrade(op: Operations) -> None:
    op.create_table(
        "pipeline_measures",
        *(sa.Column(name, Text, nullable=False) for name in (*KEY, "unit")),
        sa.Column("value", sa.Double, nullable=False, server_default="0"),
        sa.Column("at", Text, nullable=False),
        sa.PrimaryKeyConstraint(*KEY),
    )
    op.create_index("pipeline_measures_by_time", "pipeline_measures", ["account", "at"])
    items = sa.table("pipeline_items", sa.column("state", Text), sa.column("error", Text))
    unsettled = (items.c.state == "skipped") & (items.c.error == "not settled")
    op.execute(sa.update(items).where(unsettled).values(state="unsettled", error=None))
