"""Deleting an imported call or conversation, and telling the issues that link to it.

The record is deleted, and with it its summary in links and in the feed. Links and flags stay: a link then says that its
resource is unavailable, and each issue with one gets a feed entry. Flags and comments keep their words.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias

from sqlalchemy import Connection, String, Table, cast, delete, func, select, update

from calltriage.desk.database.call_words import forget_words
from calltriage.desk.database.store import DATABASE
from calltriage.desk.database.tables import activity, calls, conversations, flags, issues, links
from calltriage.desk.database.transaction import Principal, Transaction
from calltriage.desk.handlers.activity_writing import TALK, entry, record
from calltriage.errors import StoreError
from calltriage.leaves.strict_json import JsonObject

if TYPE_CHECKING:
    from calltriage.desk.app import Desk

logger = logging.getLogger(__name__)

Kind: TypeAlias = Literal["call", "conversation"]
RESOURCES: dict[Kind, tuple[Table, str]] = {
    "call": (calls, "call"),
    "conversation": (conversations, "sms_conversation"),
}
"""The table of each kind, and its `resource_type` in links."""
OPERATOR = ""
"""No user's id: the feed shows the system as the actor."""


@dataclass(frozen=True)
class Pointing:
    """An issue that links to the record, and how many of its flags mark a moment of it."""

    issue_id: str
    ticket: str
    flags: int


async def pointing_at(desk: Desk, kind: Kind, row_id: str, org_id: str | None = None) -> list[Pointing]:
    """The issues that link to a record. Raises StoreError if there is no such record."""
    return await _run(desk, org_id, partial(_pointing, kind=kind, row_id=row_id), writes=False)


async def delete_record(desk: Desk, kind: Kind, row_id: str, org_id: str | None = None) -> list[Pointing]:
    """Delete a record. Returns the issues that link to it. Raises StoreError if there is no such record.

    Its words leave the database's files at once. If other readers prevent that, it is logged.
    """
    found = await _run(desk, org_id, partial(_delete, kind=kind, row_id=row_id), writes=True)
    if not await desk.store.empty_log():
        logger.warning(
            "Others were reading the desk all the time, so the words of the %s are still in its file %s-wal. They leave it "
            "when all calltriage processes on this data folder have ended: stop them once.",
            kind, DATABASE,
        )  # fmt: skip
    return found


async def _run(
    desk: Desk, org_id: str | None, work: Callable[[Transaction], list[Pointing]], *, writes: bool
) -> list[Pointing]:
    who = Principal(await desk.tenants.organisation(org_id), OPERATOR)
    secret = await desk.access.secret()

    def inside(connection: Connection) -> list[Pointing]:
        return work(Transaction(connection, who, desk.clock(), secret, desk.public_url))

    return await (desk.store.write(inside, lane=who.org_id) if writes else desk.store.read(inside))


def _pointing(tx: Transaction, *, kind: Kind, row_id: str) -> list[Pointing]:
    table, resource_type = RESOURCES[kind]
    if tx.find(table, row_id) is None:
        raise StoreError(f"The organisation has no {kind} with this id. Nothing was deleted.")
    count = select(func.count()).where(
        flags.c.org_id == issues.c.org_id, flags.c.issue_id == issues.c.id, flags.c.call_id == row_id
    )
    here = links.c.issue_id == issues.c.id, links.c.resource_type == resource_type, links.c.resource_id == row_id
    query = select(issues.c.id, issues.c.number, count.correlate(issues).scalar_subquery().label("flags"))
    rows = tx.connection.execute(query.where(tx.mine(issues), tx.mine(links, *here)).order_by(issues.c.number))
    return [Pointing(row.id, f"T-{row.number}", row.flags if kind == "call" else 0) for row in rows]


def _delete(tx: Transaction, *, kind: Kind, row_id: str) -> list[Pointing]:
    found = _pointing(tx, kind=kind, row_id=row_id)
    table, resource_type = RESOURCES[kind]
    if tx.connection.dialect.name == "sqlite":  # or its words stay in the file until the space is used again
        tx.connection.exec_driver_sql("PRAGMA secure_delete = ON")
    if table is calls:
        forget_words(tx.connection)
    tx.connection.execute(delete(table).where(tx.mine(table, table.c.id == row_id)))
    title = f"Deleted {kind}"
    same = tx.mine(links, links.c.resource_type == resource_type, links.c.resource_id == row_id)
    tx.connection.execute(update(links).where(same).values(title=title))
    _retitle_in_feed(tx, resource_type, row_id, title)
    for issue in found:
        flagged = f", and {issue.flags} flags mark moments of it" if issue.flags else ""
        said = f"The desk's operator deleted the {kind} {row_id}. Its link stays{flagged}; it can no longer be read."
        record(tx, [entry(tx, issue.issue_id, "comment", detail=said)], TALK)
    return found


def _retitle_in_feed(tx: Transaction, resource_type: str, row_id: str, title: str) -> None:
    """Replace the summary in the links that feed entries show, also in links that were removed since."""
    mentions = cast(activity.c.resources, String).contains(json.dumps(row_id), autoescape=True)
    rows = tx.connection.execute(select(activity.c.seq, activity.c.resources).where(tx.mine(activity, mentions))).all()
    for row in rows:
        shown: list[JsonObject] = [
            {**link, "title": title} if _is_of(link, resource_type, row_id) else link for link in row.resources
        ]
        tx.connection.execute(update(activity).where(activity.c.seq == row.seq).values(resources=shown))


def _is_of(link: JsonObject, resource_type: str, row_id: str) -> bool:
    return link.get("resource_type") == resource_type and link.get("resource_id") == row_id
