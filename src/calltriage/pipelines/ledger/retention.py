"""What is left of a deleted call: that it was examined, what became of its findings, and no word of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from calltriage.pipelines.ledger.tables import effects, findings, items, results, reviews

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from calltriage.pipelines.ledger.ledger import Ledger

GONE = ""
"""Stands where words were."""


def forget_call(connection: Connection, ledger: Ledger, call_id: str) -> int:
    """Take the words of a call out of its findings and reviews, and say of how many findings.

    Ids, states and verdicts stay: a call that is imported again files nothing twice, and what people decided still counts.
    """
    of_call = (findings.c.account == ledger.account) & (findings.c.call_id == call_id)
    gone = {"quote": GONE, "note": GONE, "key": None}
    ids = select(findings.c.id).where(of_call)
    done = (effects.c.account == ledger.account) & effects.c.finding_id.in_(ids) & (effects.c.state != "begun")
    connection.execute(effects.update().where(done).values(request=None))
    count = connection.execute(findings.update().where(of_call).values(**gone)).rowcount
    of_call = (reviews.c.account == ledger.account) & (reviews.c.call_id == call_id)
    connection.execute(reviews.update().where(of_call).values(quote=None, reason=None))
    for table in (items, results):
        of_call = (table.c.account == ledger.account) & (table.c.call_id == call_id)
        connection.execute(table.update().where(of_call).values(error=None))
    return count
