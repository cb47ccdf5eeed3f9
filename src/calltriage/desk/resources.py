"""Evidence links and calls on the desk (bland-triage, section 6)."""

from __future__ import annotations

from typing import Any

from sqlalchemy import insert, select

from calltriage.desk.activity import record
from calltriage.desk.exchange import AnyRow, ContractError, Reply, Transaction, not_found, plain_row
from calltriage.desk.store import attachments, calls, links, new_id
from calltriage.operations.resources import AttachResource, GetCall, ListResources

LINK_COLUMNS = (
    "id", "issue_id", "org_id", "resource_type", "resource_id", "title", "metadata", "attached_by_id", "created_at",
)  # fmt: skip


def attach_resource(tx: Transaction, call: AttachResource) -> Reply:
    tx.issue(call.issue_id)
    link, is_new = attach(tx, call.issue_id, call.resource_type, call.resource_id)
    return Reply(201 if is_new else 200, link)


def attach(tx: Transaction, issue_id: str, resource_type: str, resource_id: str) -> tuple[dict[str, Any], bool]:
    """The link of this resource on this issue, and whether it is new. The first attacher's link stands."""
    existing = tx.connection.execute(
        select(links).where(
            tx.mine(
                links,
                links.c.issue_id == issue_id,
                links.c.resource_type == resource_type,
                links.c.resource_id == resource_id,
            )
        )
    ).one_or_none()
    if existing is not None:
        return _shown(tx, existing), False
    title, metadata = _described(tx, resource_type, resource_id)
    row = tx.connection.execute(
        insert(links)
        .values(
            org_id=tx.who.org_id,
            id=new_id(),
            issue_id=issue_id,
            resource_type=resource_type,
            resource_id=resource_id,
            title=title,
            metadata=metadata,
            attached_by_id=tx.who.user_id,
            created_at=tx.instant,
        )
        .returning(links)
    ).one()
    link = _shown(tx, row)
    record(tx, issue_id, "resource_added", detail="Attached a resource.", resources=[link])
    return link, True


def link_of_call(tx: Transaction, issue_id: str, call_id: str) -> dict[str, Any] | None:
    """The link through which a call hangs on an issue."""
    row = tx.connection.execute(
        select(links).where(
            tx.mine(
                links, links.c.issue_id == issue_id, links.c.resource_type == "call", links.c.resource_id == call_id
            )
        )
    ).one_or_none()
    return None if row is None else _shown(tx, row)


def _described(tx: Transaction, resource_type: str, resource_id: str) -> tuple[str, dict[str, Any]]:
    """Title and metadata to freeze into a link; 404 when there is no such resource. No phone numbers."""
    if resource_type == "call" and (row := tx.find(calls, resource_id)) is not None:
        return row.summary, {"created_at": row.created_at}
    if resource_type == "file" and (row := tx.find(attachments, resource_id)) is not None:
        return row.name, plain_row(row, "created_at", "name", "size", "type")
    raise not_found("Resource")


def _shown(tx: Transaction, row: AnyRow) -> dict[str, Any]:
    table = {"call": calls, "file": attachments}.get(row.resource_type)
    there = table is not None and tx.count(table, table.c.id == row.resource_id) > 0
    return {**plain_row(row, *LINK_COLUMNS), "status": "available" if there else "unavailable"}


def list_resources(tx: Transaction, call: ListResources) -> Reply:
    tx.issue(call.issue_id)
    rows, cursor = tx.page(
        select(links).where(tx.mine(links, links.c.issue_id == call.issue_id)),
        (links.c.seq,),
        limit=call.limit,
        cursor=call.cursor,
        name=f"resources of {call.issue_id}",
    )
    return Reply(200, {"items": [_shown(tx, row) for row in rows], "next_cursor": cursor})


def get_call(tx: Transaction, call: GetCall) -> Reply:
    row = tx.find(calls, call.call_id)
    if row is None:
        raise no_call()
    return Reply(200, row.record)


def no_call() -> ContractError:
    return ContractError(404, "CALL_NOT_FOUND", "Call not found")
