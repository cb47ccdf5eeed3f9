"""Issues on the desk (bland-triage, sections 4 and 5)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Table, bindparam, func, insert, or_, select, update
from sqlalchemy.sql.selectable import ScalarSelect

from calltriage.desk import resources
from calltriage.desk.activity import record
from calltriage.desk.exchange import AnyRow, Reply, Transaction, not_found, plain_row, written
from calltriage.desk.store import flags, issues, links, new_id, organisations, relations, views
from calltriage.operations.issues import CreateIssue, GetIssue, ListIssues

STATUS_RANK = {
    name: rank for rank, name in enumerate(("backlog", "todo", "in_progress", "in_review", "done", "closed"))
}
SEVERITY_RANK = {name: rank for rank, name in enumerate(("low", "medium", "high", "critical"))}
WINDOWS = {"24h": timedelta(hours=24), "7d": timedelta(days=7), "30d": timedelta(days=30), "90d": timedelta(days=90)}
SORT_COLUMNS = {"severity": issues.c.severity_rank, "status": issues.c.status_rank}


def create_issue(tx: Transaction, call: CreateIssue) -> Reply:
    number = tx.connection.execute(
        update(organisations)
        .where(organisations.c.id == tx.who.org_id)
        .values(last_number=organisations.c.last_number + 1)
        .returning(organisations.c.last_number)
    ).scalar_one()
    issue_id, description = new_id(), call.description or ""
    status, severity = call.status or "todo", call.severity
    tx.connection.execute(
        insert(issues).values(
            org_id=tx.who.org_id,
            id=issue_id,
            number=number,
            title=call.title,
            description=description,
            words=f"{call.title}\n{description}".casefold(),
            status=status,
            status_rank=STATUS_RANK[status],
            severity=severity,
            severity_rank=SEVERITY_RANK[severity],
            source=call.source or "manual",
            category=call.category,
            category_folded=call.category.casefold(),
            owner_id=call.owner_id,
            assignee_id=call.assignee_id,
            author_id=tx.who.user_id,
            agent_id=call.agent_id,
            agent_version_id=call.agent_version_id,
            created_at=tx.instant,
            updated_at=tx.instant,
            last_activity_at=tx.instant,
        )
    )
    # Filing an issue counts as having seen it (bland-triage, section 4).
    tx.connection.execute(
        insert(views).values(org_id=tx.who.org_id, issue_id=issue_id, user_id=tx.who.user_id, viewed_at=tx.instant)
    )
    record(tx, issue_id, "created", detail="Created the issue.")
    for ref in call.resource_links or []:
        resources.attach(tx, issue_id, ref.resource_type, ref.resource_id)
    return Reply(201, read_issue(tx, issue_id))


def get_issue(tx: Transaction, call: GetIssue) -> Reply:
    return Reply(200, read_issue(tx, call.issue_id))


def list_issues(tx: Transaction, call: ListIssues) -> Reply:
    conditions = list(_filters(tx, call))
    sort, order = call.sort or "last_activity_at", call.order or "desc"
    rows, cursor = tx.page(
        ISSUE_QUERY.where(tx.mine(issues, *conditions)).params(caller=tx.who.user_id),
        (SORT_COLUMNS.get(sort, issues.c[sort]), issues.c.id),
        limit=call.limit,
        cursor=call.cursor,
        name=f"issues by {sort} {order}",
        descending=order == "desc",
    )
    return Reply(200, {"items": [_shown(row) for row in rows], "next_cursor": cursor})


def _filters(tx: Transaction, call: ListIssues) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if call.search is not None:
        text = call.search.casefold()
        pattern = "%" + text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        wanted: list[ColumnElement[bool]] = [issues.c.words.like(pattern, escape="\\")]
        digits = text.removeprefix("t").removeprefix("-")
        if digits.isascii() and digits.isdigit() and len(digits) <= 12:  # T-1023, t1023 and 1023
            wanted.append(issues.c.number == int(digits))
        found.append(or_(*wanted))
    if call.status:
        found.append(issues.c.status.in_(call.status))
    if call.severity:
        found.append(issues.c.severity.in_(call.severity))
    if call.category:
        found.append(issues.c.category_folded.in_([name.casefold() for name in call.category]))
    if call.owner_id is not None:
        found.append(issues.c.owner_id == call.owner_id)
    if call.assignee_id is not None:
        found.append(issues.c.assignee_id == call.assignee_id)
    if call.resource_type is not None:
        of_type = select(links.c.seq).where(
            tx.mine(links, links.c.issue_id == issues.c.id, links.c.resource_type == call.resource_type)
        )
        found.append(of_type.exists())
    if call.date_range is not None:
        since = written(tx.now - WINDOWS[call.date_range])
        found.append(issues.c[call.date_field or "last_activity_at"] >= since)
    return found


def _of_issue(table: Table, end: str) -> ScalarSelect[int]:
    """How many rows of a table hang on the issue of the enclosing query by the column `end`."""
    here = (table.c.org_id == issues.c.org_id) & (table.c[end] == issues.c.id)
    return select(func.count()).select_from(table).where(here).correlate(issues).scalar_subquery()


ISSUE_QUERY = select(
    issues,
    _of_issue(links, "issue_id").label("resource_count"),
    _of_issue(flags, "issue_id").label("flag_count"),
    (_of_issue(relations, "issue_id") + _of_issue(relations, "related_issue_id")).label("relation_count"),
    select(views.c.viewed_at)
    .where(views.c.org_id == issues.c.org_id, views.c.issue_id == issues.c.id, views.c.user_id == bindparam("caller"))
    .correlate(issues)
    .scalar_subquery()
    .label("viewed_at"),
)
"""Issues with their counts and the caller's last view, which are read rather than kept. Built once: that costs more than
running it."""

ONE_ISSUE = ISSUE_QUERY.where(issues.c.org_id == bindparam("org"), issues.c.id == bindparam("issue"))


def read_issue(tx: Transaction, issue_id: str) -> dict[str, Any]:
    """The issue as the API answers it. Raises 404."""
    one = {"caller": tx.who.user_id, "org": tx.who.org_id, "issue": issue_id}
    row = tx.connection.execute(ONE_ISSUE, one).one_or_none()
    if row is None:
        raise not_found("Issue")
    return _shown(row)


def _shown(row: AnyRow) -> dict[str, Any]:
    return {
        **plain_row(
            row, "id", "org_id", "number", "title", "description", "status", "severity", "source", "category",
            "owner_id", "assignee_id", "author_id", "created_at", "updated_at", "last_activity_at",
            "resource_count", "flag_count", "relation_count",
        ),
        "triage_id": f"T-{row.number}",
        "external_link": None,
        "latest_agent_session": None,
        "is_processing": False,
        "has_unread_activity": row.viewed_at is None or row.last_activity_at > row.viewed_at,
        # Known from withdrawn pages: shown only where somebody set them.
        **{name: getattr(row, name) for name in ("agent_id", "agent_version_id") if getattr(row, name) is not None},
    }  # fmt: skip
