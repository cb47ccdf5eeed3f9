"""Members of the caller's organisation on the desk: its users who have neither expired nor been revoked."""

from __future__ import annotations

from sqlalchemy import ColumnElement, select

from calltriage.desk.database.tables import stands, users
from calltriage.desk.database.transaction import Reply, Transaction, bad_request, handled, not_found
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.fields import NO_ORGANISATION
from calltriage.operations.members import ListOrgMembers


def list_org_members(tx: Transaction, call: ListOrgMembers) -> Reply:
    """The members. Another organisation answers 404, as one that does not exist."""
    if call.org_id.lower() != tx.who.org_id:
        raise not_found(NO_ORGANISATION)
    query = select(users.c.id, users.c.name).where(_members(tx)).order_by(users.c.id)
    rows = tx.connection.execute(query).all()
    return Reply(200, [{"org_id": tx.who.org_id, "user_id": row.id, **_named(row.name)} for row in rows])


def check_members(tx: Transaction, named: JsonObject) -> None:
    """Raise 400 for fields, such as an issue's owner, whose user is no member of the organisation (bland-triage, section
    3). A field that is None passes."""
    wanted = {name: user for name, user in named.items() if user is not None}
    if not wanted:
        return
    query = select(users.c.id).where(_members(tx), users.c.id.in_(set(wanted.values())))
    known = set(tx.connection.execute(query).scalars())
    strangers = [name for name, user in wanted.items() if user not in known]
    if strangers:
        raise bad_request(**dict.fromkeys(strangers, "must be the user_id of a member of the organisation"))


def _members(tx: Transaction) -> ColumnElement[bool]:
    return tx.mine(users, stands(users, tx.instant))


def _named(name: str | None) -> dict[str, str]:
    """A name in the two parts that the API has."""
    first, _, last = (name or "").partition(" ")
    return {part: text for part, text in (("first_name", first), ("last_name", last)) if text}


HANDLERS = (handled(ListOrgMembers, by=list_org_members),)
