"""Relations on the desk (bland-triage, section 8): directed, stored on the source, seen from both ends."""

from __future__ import annotations

from sqlalchemy import ColumnElement, bindparam, delete, insert, select, union_all

from calltriage.desk.database.tables import issues, new_id, relations
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
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.fields import NO_ISSUE, NO_RELATION
from calltriage.operations.relations import LinkIssue, ListRelations, Relation, RemoveRelation

SEEN_FROM_ONE_END = ("related_triage_id", "related_title", "direction")
RELATION_COLUMNS = columns_of(relations, Relation, computed=SEEN_FROM_ONE_END)
SAME_RELATION = select(relations).where(equal(relations, "issue_id", "related_issue_id", "relation_type"))
ADD_ROW = insert(relations)


def _touching() -> ColumnElement[bool]:
    """The condition that a relation starts or ends at an issue. It uses one index for each end; an OR would read all
    relations of the organisation."""
    ends = (relations.c.issue_id, relations.c.related_issue_id)
    ours = relations.c.org_id == bindparam("org_id")
    return relations.c.seq.in_(
        union_all(*(select(relations.c.seq).where(ours, end == bindparam("issue_id")) for end in ends))
    )


TOUCHING = select(relations).where(_touching())
"""The relations that start or end at an issue."""
RELATIONS_OF_ISSUE = Listing(TOUCHING, (relations.c.seq,))
SHOWN_OF_AN_END = select(issues.c.id, issues.c.number, issues.c.title, issues.c.status).where(
    issues.c.org_id == bindparam("org_id")
)
OTHER_ENDS = SHOWN_OF_AN_END.where(issues.c.id.in_(bindparam("others", expanding=True)))
BOTH_ENDS = SHOWN_OF_AN_END.where(
    issues.c.id.in_(bindparam(end, type_=issues.c.id.type) for end in ("source", "target"))
)


def link_issue(tx: Transaction, call: LinkIssue) -> Reply:
    source, target = _ends(tx, call.issue_id, call.related_issue_id)
    same = {"issue_id": source.id, "related_issue_id": target.id, "relation_type": call.relation_type}
    existing = tx.run(SAME_RELATION, **same).one_or_none()
    if existing is not None:
        return Reply(200, _shown(existing, target, "outgoing"))
    row: JsonObject = {
        **call.model_dump(),
        "org_id": tx.who.org_id,
        "id": new_id(),
        "created_by_id": tx.who.user_id,
        "created_at": tx.instant,
    }
    tx.connection.execute(ADD_ROW, row)
    _record_both(tx, "relation_added", "Linked an issue.", row, (source, target))
    return Reply(201, _shown(row, target, "outgoing"))


def _ends(tx: Transaction, source: str, target: str) -> tuple[AnyRow, AnyRow]:
    """The issues that a relation leads from and to. Raises 404 where one of them is none of the organisation's."""
    found = {row.id: row for row in tx.run(BOTH_ENDS, source=source, target=target)}
    if not {source, target} <= found.keys():
        raise not_found(NO_ISSUE)
    return found[source], found[target]


def list_relations(tx: Transaction, call: ListRelations) -> Reply:
    here = tx.issue(call.issue_id)
    rows, cursor = tx.page(
        RELATIONS_OF_ISSUE,
        limit=call.limit,
        cursor=call.cursor,
        name=f"relations of {here.id}",
        issue_id=here.id,
    )
    others = {row.related_issue_id if row.issue_id == here.id else row.issue_id for row in rows}
    by_id = {row.id: row for row in tx.run(OTHER_ENDS, others=list(others))} if others else {}
    items = [
        _shown(row, by_id[row.related_issue_id], "outgoing")
        if row.issue_id == here.id
        else _shown(row, by_id[row.issue_id], "incoming")
        for row in rows
    ]
    return Reply(200, {"items": items, "next_cursor": cursor})


def _shown(row: AnyRow | JsonObject, other: AnyRow, direction: str) -> JsonObject:
    """A relation as seen from one of its issues. `other`: the issue at the other end, as it is now."""
    return {
        **plain_row(row, *RELATION_COLUMNS),
        "related_triage_id": f"T-{other.number}",
        "related_title": other.title,
        "direction": direction,
    }


def remove_relation(tx: Transaction, call: RemoveRelation) -> Reply:
    tx.issue(call.issue_id)
    row = tx.find(relations, call.relation_id)
    if row is None or call.issue_id not in {row.issue_id, row.related_issue_id}:
        raise not_found(NO_RELATION)
    remove_relation_row(tx, row)
    return Reply(204, None)


def remove_relation_row(tx: Transaction, row: AnyRow) -> None:
    """Delete a link, and add an entry to the feeds of both issues."""
    source, target = _ends(tx, row.issue_id, row.related_issue_id)
    tx.connection.execute(delete(relations).where(tx.mine(relations, relations.c.id == row.id)))
    _record_both(tx, "relation_removed", "Removed a link.", plain_row(row, "id", "relation_type"), (source, target))


def _record_both(tx: Transaction, kind: str, detail: str, row: JsonObject, ends: tuple[AnyRow, AnyRow]) -> None:
    source, target = ends
    said = {"relation_id": row["id"], "relation_type": row["relation_type"]}
    record(
        tx,
        [
            entry(
                tx,
                here.id,
                kind,
                detail=detail,
                metadata={**said, "direction": direction},
                referenced_issues=[{**plain_row(other, "id", "title", "status"), "triage_id": f"T-{other.number}"}],
            )
            for here, other, direction in ((source, target, "outgoing"), (target, source, "incoming"))
        ],
    )


HANDLERS = (
    handled(LinkIssue, by=link_issue),
    handled(ListRelations, by=list_relations),
    handled(RemoveRelation, by=remove_relation),
)
