"""Flags and their types on the desk (bland-triage, section 7)."""

from __future__ import annotations

from sqlalchemy import delete, func, insert, select

from calltriage.desk.database.tables import flags, new_id
from calltriage.desk.database.transaction import (
    AnyRow,
    ContractError,
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
from calltriage.desk.handlers.resource_links import flag_removed, link_of_call
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.fields import DEFAULT_LIMIT, NO_FLAG, stored_flag_type
from calltriage.operations.flags import AddFlag, Flag, ListFlags, ListFlagTypes, RemoveFlag

FLAG_COLUMNS = columns_of(flags, Flag)
ADD_ROW = insert(flags)
FLAGS_OF_ISSUE = Listing(select(flags).where(equal(flags, "issue_id")), (flags.c.seq,))


def add_flag(tx: Transaction, call: AddFlag) -> Reply:
    tx.issue(call.issue_id)
    link = link_of_call(tx, call.issue_id, call.call_id)
    if link is None:
        raise ContractError(409, "call_not_attached", "Call must be attached to issue first")
    row: JsonObject = {
        **call.model_dump(),
        "org_id": tx.who.org_id,
        "id": new_id(),
        "type": stored_flag_type(call.type),
        "note": call.note or "",
        "author_id": tx.who.user_id,
        "created_at": tx.instant,
    }
    tx.connection.execute(ADD_ROW, row)
    record(tx, [entry(tx, call.issue_id, "flag_added", detail="Added a flag.", resources=[link])])
    return Reply(201, plain_row(row, *FLAG_COLUMNS))


def list_flags(tx: Transaction, call: ListFlags) -> Reply:
    tx.issue(call.issue_id)
    rows, cursor = tx.page(
        FLAGS_OF_ISSUE,
        limit=call.limit,
        cursor=call.cursor,
        name=f"flags of {call.issue_id}",
        issue_id=call.issue_id,
    )
    return Reply(200, {"items": [plain_row(row, *FLAG_COLUMNS) for row in rows], "next_cursor": cursor})


def list_flag_types(tx: Transaction, call: ListFlagTypes) -> Reply:
    """Types of the flags that exist now. They are few, so they are sorted here."""
    rows = tx.connection.execute(
        select(flags.c.type, func.count().label("usage_count"), func.max(flags.c.created_at).label("last_used_at"))
        .where(tx.mine(flags))
        .group_by(flags.c.type)
    ).all()
    # usage descending, then newest use descending, then name ascending: three stable sorts, least significant first
    ordered = sorted(rows, key=lambda row: row.type)
    ordered.sort(key=lambda row: row.last_used_at, reverse=True)
    ordered.sort(key=lambda row: row.usage_count, reverse=True)
    if call.cursor is not None:
        usage, last_used, name = tx.open_cursor(call.cursor, "flag types")
        ordered = [row for row in ordered if _comes_after(row, usage, last_used, name)]
    size = call.limit or DEFAULT_LIMIT
    shown, more = ordered[:size], len(ordered) > size
    last = [shown[-1].usage_count, shown[-1].last_used_at, shown[-1].type] if more else []
    meanings = _meanings(tx, [row.type for row in shown])
    items = [
        {**plain_row(row, "type", "usage_count", "last_used_at"), "description": meanings.get(row.type, "")}
        for row in shown
    ]
    return Reply(200, {"items": items, "next_cursor": tx.seal_cursor(last, "flag types") if more else None})


def _comes_after(row: AnyRow, usage: int, last_used: str, name: str) -> bool:
    if row.usage_count != usage:
        return row.usage_count < usage
    if row.last_used_at != last_used:
        return row.last_used_at < last_used
    return row.type > name


def _meanings(tx: Transaction, types: list[str]) -> dict[str, str]:
    """By type, the note of its newest flag that has one."""
    noted = tx.mine(flags, flags.c.type.in_(types), flags.c.note != "")
    newest = select(func.max(flags.c.seq)).where(noted).group_by(flags.c.type)
    rows = tx.connection.execute(select(flags.c.type, flags.c.note).where(flags.c.seq.in_(newest)))
    return {row.type: row.note for row in rows}


def remove_flag(tx: Transaction, call: RemoveFlag) -> Reply:
    tx.issue(call.issue_id)
    row = tx.find(flags, call.flag_id)
    if row is None or row.issue_id != call.issue_id:
        raise not_found(NO_FLAG)
    tx.connection.execute(delete(flags).where(tx.mine(flags, flags.c.id == row.id)))
    record(tx, [flag_removed(tx, row)])
    return Reply(204, None)


HANDLERS = (
    handled(AddFlag, by=add_flag),
    handled(ListFlags, by=list_flags),
    handled(RemoveFlag, by=remove_flag),
    handled(ListFlagTypes, by=list_flag_types),
)
