"""Evidence links and calls on the desk (bland-triage, section 6)."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Table, case, delete, exists, insert, select

from calltriage.desk.database.tables import attachments, calls, conversations, flags, links, new_id
from calltriage.desk.database.transaction import (
    AnyRow,
    Listing,
    Reply,
    Transaction,
    columns_of,
    equal,
    handled,
    not_found,
    plain_row,
)
from calltriage.desk.handlers.activity_writing import entry, record
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


def _is_in(table: Table) -> ColumnElement[bool]:
    """The condition that the resource of the enclosing query's link is a row of this table."""
    return exists().where(table.c.org_id == links.c.org_id, table.c.id == links.c.resource_id).correlate(links)


LINK_QUERY = select(
    links,
    case(
        (links.c.resource_type == "call", _is_in(calls)),
        (links.c.resource_type == "file", _is_in(attachments)),
        else_=_is_in(conversations),
    ).label("is_there"),
)
"""Links, and whether their resources can still be read. Built once, as it depends on no request."""
SAME_LINK = LINK_QUERY.where(equal(links, "issue_id", "resource_type", "resource_id"))
LINK_OF_ID = LINK_QUERY.where(equal(links, "id"))
LINKS_OF_ISSUE = Listing(LINK_QUERY.where(equal(links, "issue_id")), (links.c.seq,))
ADD_ROW = insert(links)


def attach_resource(tx: Transaction, call: AttachResource) -> Reply:
    tx.issue(call.issue_id)
    link, is_new = attach(tx, call.issue_id, call.resource_type, call.resource_id)
    return Reply(201 if is_new else 200, link)


def attach(tx: Transaction, issue_id: str, resource_type: str, resource_id: str) -> tuple[JsonObject, bool]:
    """The link of this resource on this issue, and whether it is new. A link that exists is returned unchanged. Raises
    404 for an unknown resource."""
    existing = _link_row(tx, issue_id, resource_type, resource_id)
    if existing is not None:
        return shown_link(existing), False
    title, metadata = _described(tx, resource_type, resource_id)
    row: JsonObject = {
        "org_id": tx.who.org_id,
        "id": new_id(),
        "issue_id": issue_id,
        "resource_type": resource_type,
        "resource_id": resource_id,
        "title": title,
        "metadata": metadata,
        "attached_by_id": tx.who.user_id,
        "created_at": tx.instant,
    }
    tx.connection.execute(ADD_ROW, row)
    link = {**plain_row(row, *LINK_COLUMNS), "status": "available"}
    record(tx, [entry(tx, issue_id, "resource_added", detail="Attached a resource.", resources=[link])])
    return link, True


def link_of_call(tx: Transaction, issue_id: str, call_id: str) -> JsonObject | None:
    """The link of a call on an issue; None if the call is not attached."""
    row = _link_row(tx, issue_id, "call", call_id)
    return None if row is None else shown_link(row)


def _link_row(tx: Transaction, issue_id: str, resource_type: str, resource_id: str) -> AnyRow | None:
    same = {"issue_id": issue_id, "resource_type": resource_type, "resource_id": resource_id}
    return tx.run(SAME_LINK, **same).one_or_none()


def _described(tx: Transaction, resource_type: str, resource_id: str) -> tuple[str, JsonObject]:
    """The title and metadata that a link copies from its resource, without telephone numbers. Raises 404 for an unknown
    resource."""
    if resource_type == "call" and (row := tx.find(calls, resource_id, "summary", "created_at")) is not None:
        return row.summary, {"created_at": row.created_at}
    if resource_type == "sms_conversation" and (row := tx.find(conversations, resource_id)) is not None:
        return row.summary, {"created_at": row.created_at, "message_count": len(row.record["messages"])}
    if resource_type == "file" and (row := tx.find(attachments, resource_id)) is not None:
        return row.name, plain_row(row, "created_at", "name", "size", "type")
    raise not_found(NO_RESOURCE)


def shown_link(row: AnyRow) -> JsonObject:
    """A row of `LINK_QUERY` as the API answers it."""
    return {**plain_row(row, *LINK_COLUMNS), "status": "available" if row.is_there else "unavailable"}


def list_resources(tx: Transaction, call: ListResources) -> Reply:
    tx.issue(call.issue_id)
    rows, cursor = tx.page(
        LINKS_OF_ISSUE,
        limit=call.limit,
        cursor=call.cursor,
        name=f"resources of {call.issue_id}",
        issue_id=call.issue_id,
    )
    return Reply(200, {"items": [shown_link(row) for row in rows], "next_cursor": cursor})


def remove_resource(tx: Transaction, call: RemoveResource) -> Reply:
    tx.issue(call.issue_id)
    row = tx.run(LINK_OF_ID, id=call.resource_link_id).one_or_none()
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
    """Delete a link. Flags need their call attached, so the call's flags on the issue are deleted first (bland-triage,
    section 6)."""
    link = shown_link(row)
    if row.resource_type == "call":
        of_call = tx.mine(flags, flags.c.issue_id == row.issue_id, flags.c.call_id == row.resource_id)
        gone = tx.connection.execute(select(flags).where(of_call).order_by(flags.c.seq)).all()
        tx.connection.execute(delete(flags).where(of_call))
        record(tx, [flag_removed(tx, flag) for flag in gone])
    tx.connection.execute(delete(links).where(tx.mine(links, links.c.id == row.id)))
    record(tx, [entry(tx, row.issue_id, "resource_removed", detail="Detached a resource.", resources=[link])])
    return Reply(204, None)


def flag_removed(tx: Transaction, flag: AnyRow) -> JsonObject:
    """The feed entry of a removed flag."""
    said = {"flag_id": flag.id, "type": flag.type}
    return entry(tx, flag.issue_id, "flag_removed", detail="Removed a flag.", metadata=said)


PATHWAY = ("pathway_id", "pathway_name", "pathway_version_id", "version_number", "version_label")
PERSONA = ("persona_id", "persona_name")


def get_affected_context(tx: Transaction, call: GetAffectedContext) -> Reply:
    """Attached calls, and what they ran on: one row per pathway and version, one per persona."""
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
