"""Issues on the desk (bland-triage, sections 4 and 5)."""

from __future__ import annotations

from datetime import timedelta
from functools import cache

from sqlalchemy import ColumnElement, Select, bindparam, delete, func, insert, select, update

from calltriage.desk.database.issue_search import FEW, look_for, searched
from calltriage.desk.database.tables import issues, links, new_id, organisations, views
from calltriage.desk.database.transaction import (
    AnyRow,
    Keys,
    Listing,
    Reply,
    Transaction,
    equal,
    handled,
)
from calltriage.desk.handlers import resource_links
from calltriage.desk.handlers.activity_writing import entry, move_clocks, record
from calltriage.desk.handlers.categories import ensure_category, filtered_names, folded_name
from calltriage.desk.handlers.issue_shapes import ISSUE_QUERY, new_issue, read_issue, shown_issues
from calltriage.desk.handlers.members import check_members
from calltriage.desk.handlers.relations import TOUCHING, remove_relation_row
from calltriage.leaves.instants import written
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.fields import DEFAULT_LIMIT
from calltriage.operations.issues import (
    CreateIssue,
    DeleteIssue,
    GetIssue,
    ListIssues,
    MarkIssueViewed,
    UpdateIssue,
)

STATUS_RANK = {
    name: rank for rank, name in enumerate(("backlog", "todo", "in_progress", "in_review", "done", "closed"))
}
SEVERITY_RANK = {name: rank for rank, name in enumerate(("low", "medium", "high", "critical"))}
RANKS = {"status": STATUS_RANK, "severity": SEVERITY_RANK}
CHANGE_ENTRIES = {
    "status": "status_changed",
    "severity": "severity_changed",
    "category": "category_changed",
    "owner_id": "owner_changed",
    "assignee_id": "assignee_changed",
}
"""The type of the feed entry of each field that changed. Title and description make none: the contract has no type for
them (bland-triage, section 9)."""
WINDOWS = {"24h": timedelta(hours=24), "7d": timedelta(days=7), "30d": timedelta(days=30), "90d": timedelta(days=90)}
SORT_COLUMNS = {"severity": issues.c.severity_rank, "status": issues.c.status_rank}
VERY_FEW = 20
"""Issues whose ids are found one by one."""

NEXT_NUMBER = (
    update(organisations)
    .where(organisations.c.id == bindparam("organisation"))
    .values(last_number=organisations.c.last_number + 1)
    .returning(organisations.c.last_number)
)
ADD_ROW, ADD_VIEW = insert(issues), insert(views)

PEOPLE = ("owner_id", "assignee_id")
"""Fields that name a member."""


def create_issue(tx: Transaction, call: CreateIssue) -> Reply:
    check_members(tx, {name: getattr(call, name) for name in PEOPLE})
    number = tx.connection.execute(NEXT_NUMBER, {"organisation": tx.who.org_id}).scalar_one()
    issue_id, description = new_id(), call.description or ""
    status = call.status or "todo"
    given = {"description": description, "status": status, "source": call.source or "manual"}
    row: JsonObject = {
        "org_id": tx.who.org_id,
        "id": issue_id,
        "number": number,
        **call.model_dump(exclude={"resource_links", *given}),
        **given,
        "words": searched(call.title, description),
        "status_rank": STATUS_RANK[status],
        "severity_rank": SEVERITY_RANK[call.severity],
        "category_folded": folded_name(call.category),
        "author_id": tx.who.user_id,
        **dict.fromkeys(("created_at", "updated_at", "last_activity_at"), tx.instant),
    }
    tx.connection.execute(ADD_ROW, row)
    # Filing an issue counts as having seen it (bland-triage, section 4).
    view = {"org_id": tx.who.org_id, "issue_id": issue_id, "user_id": tx.who.user_id, "viewed_at": tx.instant}
    tx.connection.execute(ADD_VIEW, view)
    ensure_category(tx, call.category)
    record(tx, [entry(tx, issue_id, "created", detail="Created the issue.")], moves=())
    for ref in call.resource_links or []:
        resource_links.attach(tx, issue_id, ref.resource_type, ref.resource_id)
    return Reply(201, read_issue(tx, issue_id) if call.resource_links else new_issue(tx, row))


def get_issue(tx: Transaction, call: GetIssue) -> Reply:
    return Reply(200, read_issue(tx, call.issue_id))


def list_issues(tx: Transaction, call: ListIssues) -> Reply:
    conditions = list(_filters(tx, call))
    sort, order = call.sort or "last_activity_at", call.order or "desc"
    keys, name = _keys(sort), f"issues by {sort} {order}"
    if not conditions and call.search is None:
        listing, caller = _every_issue(sort, order), tx.who.user_id
        rows, cursor = tx.page(listing, limit=call.limit, cursor=call.cursor, name=name, caller=caller)
        return Reply(200, {"items": shown_issues(tx, rows), "next_cursor": cursor})
    query = ISSUE_QUERY.where(tx.mine(issues, *conditions)).params(caller=tx.who.user_id)
    query = tx.after(query, keys, cursor=call.cursor, name=name, descending=order == "desc")
    if call.search is None:
        rows, cursor = tx.cut(query, keys, limit=call.limit, name=name)
    else:
        looked = look_for(tx, call.search, query, (call.limit or DEFAULT_LIMIT) + 1)
        rows, cursor = tx.cut(query.where(looked.holds), keys, limit=call.limit, name=name)
        if looked.only is not None:
            cursor = tx.cursor_behind(query, keys, count=looked.only, name=name)
    return Reply(200, {"items": shown_issues(tx, rows), "next_cursor": cursor})


def _keys(sort: str) -> Keys:
    return SORT_COLUMNS.get(sort, issues.c[sort]), issues.c.id


@cache
def _every_issue(sort: str, order: str) -> Listing:
    """The list without a filter. Clients look for each new issue in it."""
    return Listing(ISSUE_QUERY.where(equal(issues)), _keys(sort), descending=order == "desc")


def _filters(tx: Transaction, call: ListIssues) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if call.status:
        found.append(issues.c.status.in_(call.status))
    if call.severity:
        found.append(issues.c.severity.in_(call.severity))
    if call.category:
        found.append(issues.c.category_folded.in_(filtered_names(tx, call.category)))
    for name in ("owner_id", "assignee_id", "agent_id", "agent_version_id"):
        if (wanted := getattr(call, name)) is not None:
            found.append(issues.c[name] == wanted)
    if call.resource_type is not None:
        found.append(_with_resource(tx, call.resource_type))
    if call.date_range is not None:
        since = written(tx.now - WINDOWS[call.date_range])
        # No date of an issue is after its last activity, so that column's index limits each of the ranges.
        found += [issues.c[name] >= since for name in {call.date_field or "last_activity_at", "last_activity_at"}]
    return found


def _with_resource(tx: Transaction, resource_type: str) -> ColumnElement[bool]:
    """The condition that an issue has a resource of a type. If few have one, their ids are looked up; else each issue of
    the list is checked."""
    of_type = tx.mine(links, links.c.resource_type == resource_type)
    ids = list(tx.connection.execute(_holders(of_type).limit(VERY_FEW + 1)).scalars())
    if len(ids) <= VERY_FEW:
        return issues.c.id.in_(ids)
    few = select(links.c.issue_id).where(of_type).distinct().limit(FEW + 1)
    if tx.connection.execute(select(func.count()).select_from(few.subquery())).scalar_one() <= FEW:
        return issues.c.id.in_(few)
    return select(links.c.seq).where(of_type, links.c.issue_id == issues.c.id).exists()


def _holders(of_type: ColumnElement[bool]) -> Select[tuple[str]]:
    """The query for ids of issues with such links, from each to the next one: for DISTINCT, PostgreSQL reads every link."""
    holders = select(func.min(links.c.issue_id).label("id")).where(of_type).cte("holders", recursive=True)
    following = select(func.min(links.c.issue_id)).where(of_type, links.c.issue_id > holders.c.id).scalar_subquery()
    holders = holders.union_all(select(following).where(holders.c.id.is_not(None)))
    return select(holders.c.id).where(holders.c.id.is_not(None))


def update_issue(tx: Transaction, call: UpdateIssue) -> Reply:
    """Only what was sent changes; a field set to its present value changes nothing and makes no entry (section 4)."""
    before = tx.issue(call.issue_id)
    sent = call.model_dump(exclude_unset=True, exclude={"issue_id"})
    changed = {name: value for name, value in sent.items() if value != getattr(before, name)}
    if not changed:
        return Reply(200, read_issue(tx, call.issue_id))
    check_members(tx, {name: changed[name] for name in PEOPLE if name in changed})
    values: JsonObject = {**changed}
    values |= {f"{name}_rank": RANKS[name][changed[name]] for name in RANKS if name in changed}
    if "category" in changed:
        values["category_folded"] = folded_name(changed["category"])
        ensure_category(tx, changed["category"])
    if {"title", "description"} & set(changed):
        title, description = changed.get("title", before.title), changed.get("description", before.description)
        values["words"] = searched(title, description)
    tx.connection.execute(update(issues).where(tx.mine(issues, issues.c.id == call.issue_id)).values(values))
    record(tx, [_change(tx, before, name, changed[name]) for name in CHANGE_ENTRIES if name in changed], moves=())
    move_clocks(tx, [call.issue_id], tx.instant)
    return Reply(200, read_issue(tx, call.issue_id))


def _change(tx: Transaction, before: AnyRow, name: str, new: str | None) -> JsonObject:
    """The feed entry of a changed field."""
    said, old = f"Changed the {name}.", getattr(before, name)
    if name == "status":
        return entry(tx, before.id, CHANGE_ENTRIES[name], detail=said, from_status=old, to_status=new)
    return entry(tx, before.id, CHANGE_ENTRIES[name], detail=said, metadata={"from": old, "to": new})


def delete_issue(tx: Transaction, call: DeleteIssue) -> Reply:
    """Foreign keys delete its rows in other tables. The issues at the other ends of its relations get a feed entry
    (section 4)."""
    tx.issue(call.issue_id)
    for row in tx.run(TOUCHING, issue_id=call.issue_id).all():
        remove_relation_row(tx, row)
    tx.connection.execute(delete(issues).where(tx.mine(issues, issues.c.id == call.issue_id)))
    return Reply(204, None)


def mark_issue_viewed(tx: Transaction, call: MarkIssueViewed) -> Reply:
    tx.issue(call.issue_id)
    mine = {"org_id": tx.who.org_id, "issue_id": call.issue_id, "user_id": tx.who.user_id}
    seen = tx.mine(views, views.c.issue_id == call.issue_id, views.c.user_id == tx.who.user_id)
    if tx.connection.execute(update(views).where(seen).values(viewed_at=tx.instant)).rowcount == 0:
        tx.connection.execute(insert(views).values(**mine, viewed_at=tx.instant))
    return Reply(200, {"issue_id": call.issue_id, "last_viewed_at": tx.instant})


HANDLERS = (
    handled(CreateIssue, by=create_issue),
    handled(ListIssues, by=list_issues),
    handled(GetIssue, by=get_issue),
    handled(UpdateIssue, by=update_issue),
    handled(DeleteIssue, by=delete_issue),
    handled(MarkIssueViewed, by=mark_issue_viewed),
)
