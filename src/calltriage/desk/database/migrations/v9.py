"""Version 9: the numbers that calls are found by have no blanks, brackets or dashes, whenever they were imported."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

from calltriage.matching.telephone import WRITTEN_BETWEEN, dialled

Text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
BATCH = 1000
"""Calls that are changed at once."""


def upgrade(op: Operations) -> None:
    connection = op.get_bind()
    numbers = [sa.column(name, Text) for name in ("from_number", "to_number")]
    calls = sa.table("calls", sa.column("seq", sa.BigInteger), *numbers)
    is_written = sa.or_(*(number.contains(sign, autoescape=True) for number in numbers for sign in WRITTEN_BETWEEN))
    some, last = sa.select(calls).where(is_written).order_by(calls.c.seq).limit(BATCH), 0
    change = sa.update(calls).where(calls.c.seq == sa.bindparam("place"))
    change = change.values({number.name: sa.bindparam(f"new_{number.name}") for number in numbers})
    while rows := connection.execute(some.where(calls.c.seq > last)).all():
        bare = [{f"new_{number.name}": _bare(getattr(row, number.name)) for number in numbers} for row in rows]
        connection.execute(change, [{"place": row.seq, **new} for row, new in zip(rows, bare, strict=True)])
        last = rows[-1].seq


def _bare(number: str | None) -> str | None:
    return None if number is None else dialled(number)
