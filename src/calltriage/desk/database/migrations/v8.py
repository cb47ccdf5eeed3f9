"""Version 8: calls are indexed by their numbers in digits. Version 10 does it, as it reads all calls again anyway."""

from __future__ import annotations

from alembic.operations import Operations


def upgrade(op: Operations) -> None:
    """Changes nothing."""
