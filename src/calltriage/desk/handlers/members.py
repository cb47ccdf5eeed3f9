"""Members of the caller's organisation on the desk: the people behind its keys."""

from __future__ import annotations

from sqlalchemy import select

from calltriage.desk.database.tables import api_keys, settings
from calltriage.desk.database.transaction import ContractError, Reply, Transaction
from calltriage.operations.members import ListOrgMembers


def no_organisation() -> ContractError:
    return ContractError(404, "ORG_NOT_FOUND", "Organization not found")


def list_org_members(tx: Transaction, call: ListOrgMembers) -> Reply:
    """Another organisation is as unknown as one that does not exist."""
    if call.org_id.lower() != tx.who.org_id:
        raise no_organisation()
    own = {row.name: row.value for row in tx.connection.execute(select(settings))}
    query = select(api_keys.c.user_id, api_keys.c.name).where(api_keys.c.org_id == tx.who.org_id)
    names = {row.user_id: row.name for row in tx.connection.execute(query)}
    if own["org_id"] == tx.who.org_id:
        names.setdefault(own["user_id"], None)
    return Reply(200, [{"org_id": tx.who.org_id, "user_id": user, **_named(names[user])} for user in sorted(names)])


def _named(name: str | None) -> dict[str, str]:
    """A name in the two parts that the API has."""
    first, _, last = (name or "").partition(" ")
    return {part: text for part, text in (("first_name", first), ("last_name", last)) if text}
