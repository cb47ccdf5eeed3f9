"""The desk's transactions, for tests that call its handlers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, insert

from calltriage.desk.database.tables import new_id, new_organisation, organisations
from calltriage.desk.database.transaction import Principal, Transaction

START = datetime(2026, 5, 6, tzinfo=UTC)


def at(connection: Connection, org: str, number: int = 0) -> Transaction:
    """A transaction of a member of an organisation, so many seconds after START."""
    return Transaction(connection, Principal(org, "u-1"), START + timedelta(seconds=number), b"s" * 32, "", "")


def new_org(connection: Connection, org: str = "") -> str:
    """Make an organisation, of this id where one is given."""
    org = org or new_id()
    connection.execute(insert(organisations).values(**new_organisation(org, "Another")))
    return org
