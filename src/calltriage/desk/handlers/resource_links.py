"""Evidence links and calls on the desk (bland-triage, section 6)."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, insert, select

from calltriage.desk.database.tables import attachments, calls, conversations, flags, links, new_id
from calltriage.desk.database.transaction import AnyRow, Reply, Transaction, columns_of, handled, not_found, plain_row
from calltriage.desk.handlers.activity_writing import record
from calltriage.desk.handlers.issue_shapes import read_issue
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.fields import NO_ATTACHED_CALL, NO_LINK, NO_RESOURCE
from calltriage.operations.resource_links import (
    AttachCall,
    AttachResource,
    DetachCall,
    GetAffectedContext,
    ListResources,
    RemoveResource,
    ResourceLink,
)

LINK_COLUMNS = columns_of(links, ResourceLink, computed=["status"])


def attach_resource(tx: Transaction, call: AttachResource) -> Reply:
    tx.issue(call.issue_id)
    link, is_new = attach(tx, call.issue_id, call.resource_type, call.resource_id)
    return Reply(201 if is_new else 200, link)


def attach(tx: Transaction, issue_id: str, resource_type: str, resource_id: str) -> tuple[JsonObject, bool]:
    """The link of this resource on this issue, and whether it is new. The first attacher's link stands."""
    existing = _link_row(tx, issue_id, resource_type, resource_id)
    if existing is not None:
        return shown_link(tx, existing), False
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
    link = shown_link(tx, row)
    record(tx, issue_id, "resource_added", detail="Attached a resource.", resources=[link])
    return link, True


def link_of_call(tx: Transaction, issue_id: str, call_id: str) -> JsonObject | None:
    """The link through which a call hangs on an issue."""
    row = _link_row(tx, issue_id, "call", call_id)
    return None if row is None else shown_link(tx, row)


def _link_row(tx: Transaction, issue_id: str, resource_type: str, resource_id: str) -> AnyRow | None:
    same = tx.mine(
        links, links.c.issue_id == issue_id, links.c.resource_type == resource_type, links.c.resource_id == resource_id
    )
    return tx.connection.execute(select(links).where(same)).one_or_none()


def _described(tx: Transaction, resource_type: str, resource_id: str) -> tuple[str, JsonObject]:
    """Title and metadata to freeze into a link; 404 when there is no such resource. No phone numbers."""
    if resource_type == "call" and (row := tx.find(calls, resource_id)) is not None:
        return row.summary, {"created_at": row.created_at}
    if resource_type == "sms_conversation" and (row := tx.find(conversations, resource_id)) is not None:
        return row.summary, {"created_at": row.created_at, "message_count": len(row.record["messages"])}
    if resource_type == "file" and (row := tx.find(attachments, resource_id)) is not None:
        return row.name, plain_row(row, "created_at", "name", "size", "type")
    raise not_found(NO_RESOURCE)


def shown_link(tx: Transaction, row: AnyRow) -> JsonObject:
    return shown_links(tx, [row])[0]


def shown_links(tx: Transaction, rows: list[AnyRow]) -> list[JsonObject]:
    """Links as the API answers them: one look-up for each type tells which of their resources can still be read."""
    there: set[tuple[str, str]] = set()
    for resource_type, table in (("call", calls), ("file", attachments), ("sms_conversation", conversations)):
        wanted = [row.resource_id for row in rows if row.resource_type == resource_type]
        if wanted:
            query = select(table.c.id).where(tx.mine(table, table.c.id.in_(wanted)))
            there |= {(resource_type, found) for found in tx.connection.execute(query).scalars()}
    return [
        {
            **plain_row(row, *LINK_COLUMNS),
            "status": "available" if (row.resource_type, row.resource_id) in there else "unavailable",
        }
        for row in rows
    ]


def list_resources(tx: Transaction, call: ListResources) -> Reply:
    tx.issue(call.issue_id)
    rows, cursor = tx.page(
        select(links).where(tx.mine(links, links.c.issue_id == call.issue_id)),
        (links.c.seq,),
        limit=call.limit,
        cursor=call.cursor,
        name=f"resources of {call.issue_id}",
    )
    return Reply(200, {"items": shown_links(tx, rows), "next_cursor": cursor})


def remove_resource(tx: Transaction, call: RemoveResource) -> Reply:
    tx.issue(call.issue_id)
    row = tx.find(links, call.resource_link_id)
    if row is None or row.issue_id != call.issue_id:
        raise not_found(NO_LINK)
    return _detach(tx, row)


def attach_call(tx: Transaction, call: AttachCall) -> Reply:
    tx.issue(call.issue_id)
    attach(tx, call.issue_id, "call", call.call_id)
    return Reply(200, read_issue(tx, call.issue_id))


def detach_call(tx: Transaction, call: DetachCall) -> Reply:
    tx.issue(call.issue_id)
    row = _link_row(tx, call.issue_id, "call", call.call_id)
    if row is None:
        raise not_found(NO_ATTACHED_CALL)
    return _detach(tx, row)


def _detach(tx: Transaction, row: AnyRow) -> Reply:
    """Take a link away. Flags need their call attached, so a call's flags go first (bland-triage, section 6)."""
    link = shown_link(tx, row)
    if row.resource_type == "call":
        of_call = tx.mine(flags, flags.c.issue_id == row.issue_id, flags.c.call_id == row.resource_id)
        for flag in tx.connection.execute(select(flags).where(of_call).order_by(flags.c.seq)).all():
            remove_flag_row(tx, flag)
    tx.connection.execute(delete(links).where(tx.mine(links, links.c.id == row.id)))
    record(tx, row.issue_id, "resource_removed", detail="Detached a resource.", resources=[link])
    return Reply(204, None)


def remove_flag_row(tx: Transaction, flag: AnyRow) -> None:
    """Take a flag away and say so in the feed."""
    tx.connection.execute(delete(flags).where(tx.mine(flags, flags.c.id == flag.id)))
    record(
        tx, flag.issue_id, "flag_removed", detail="Removed a flag.", metadata={"flag_id": flag.id, "type": flag.type}
    )


PATHWAY = ("pathway_id", "pathway_name", "pathway_version_id", "version_number", "version_label")
PERSONA = ("persona_id", "persona_name")


def get_affected_context(tx: Transaction, call: GetAffectedContext) -> Reply:
    """Attached calls with what they ran on, grouped: one row per pathway and version, one per persona."""
    tx.issue(call.issue_id)
    here = tx.mine(links, links.c.issue_id == call.issue_id, links.c.resource_type == "call")
    joined = (calls.c.org_id == links.c.org_id) & (calls.c.id == links.c.resource_id)
    rows = tx.connection.execute(
        select(calls.c.id, calls.c.record).join(links, joined).where(here).order_by(links.c.seq)
    )
    shown: list[JsonObject] = []
    pathways: dict[Any, JsonObject] = {}
    personas: dict[Any, JsonObject] = {}
    for row in rows:
        about = {name: row.record["metadata"].get(name) for name in (*PATHWAY, *PERSONA)}
        title = about["pathway_name"] or about["persona_name"] or row.id[:8]
        shown.append({"call_id": row.id, "title": title, "started_at": row.record["created_at"], **about})
        for names, groups, key in (
            (PATHWAY, pathways, (about["pathway_id"], about["pathway_version_id"])),
            (PERSONA, personas, about["persona_id"]),
        ):
            if about[names[0]] is not None:
                group = groups.setdefault(
                    key, {**{name: about[name] for name in names}, "call_count": 0, "call_ids": []}
                )
                group["call_count"] += 1
                group["call_ids"].append(row.id)
    lists = {"calls": shown, "pathways": list(pathways.values()), "personas": list(personas.values())}
    return Reply(200, {"issue_id": call.issue_id, **lists})


HANDLERS = (
    handled(AttachResource, by=attach_resource),
    handled(ListResources, by=list_resources),
    handled(RemoveResource, by=remove_resource),
    handled(AttachCall, by=attach_call),
    handled(DetachCall, by=detach_call),
    handled(GetAffectedContext, by=get_affected_context),
)
