"""Checks that machines that share runs use one sealing key.

With another key a machine does not recognise the fingerprint lines in the others' issues and would file them again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select

from calltriage.pipelines.ledger.tables import facts

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from calltriage.leaves.seals import Seals
    from calltriage.pipelines.ledger.ledger import Ledger

KIND = "pipelines' ledger"


async def note_key(ledger: Ledger, seals: Seals) -> None:
    """Record this key's mark. It replaces an earlier one."""
    name = _name(ledger)
    mark = seals.mark(KIND, name)

    def change(connection: Connection) -> None:
        connection.execute(delete(facts).where(facts.c.name == name))
        connection.execute(insert(facts).values(name=name, value=mark))

    await ledger.write(change)


async def has_key(ledger: Ledger, seals: Seals) -> bool:
    """Whether this key is the recorded one, or none is recorded."""
    query = select(facts.c.value).where(facts.c.name == _name(ledger))
    found = await ledger.read(lambda connection: connection.execute(query).scalar_one_or_none())
    return found is None or seals.is_marked(KIND, _name(ledger), found)


def _name(ledger: Ledger) -> str:
    return f"key {ledger.account}"
