"""Version 12: the words of calls and issues are indexed again: numbers that begin with 0 are one number, and numbers have no
marks of thousands."""

from __future__ import annotations

from alembic.operations import Operations

from calltriage.desk.database.migrations import v10


def upgrade(op: Operations) -> None:
    v10.upgrade(op)
