"""Version 6: feed entries hold the artifact that the agent made."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations


def upgrade(op: Operations) -> None:
    op.add_column("activity", sa.Column("artifact", sa.JSON))
