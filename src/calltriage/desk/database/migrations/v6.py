"""Version 6: what the agent made stands with its entry of the feed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations


def upgrade(op: Operations) -> None:
    op.add_column("activity", sa.Column("artifact", sa.JSON))
