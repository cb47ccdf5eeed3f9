"""Version 12: the words of calls and issues are indexed again, with numbers that begin with 0 as one number."""

from __future__ import annotations

from alembic.operations import Operations

from calltriage.desk.database.migrations import v10


def upgrade(op: Operations) -> None:
    v10.upgrade(op)
