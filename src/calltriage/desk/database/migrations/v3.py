"""Version 3: names of an organisation's users."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations


def upgrade(op: Operations) -> None:
    op.add_column("api_keys", sa.Column("name", sa.Text().with_variant(sa.Text(collation="C"), "postgresql")))
