"""An issue as the API answers it: its row, its counts, and what is new in it for the caller."""

from __future__ import annotations

from sqlalchemy import Table, bindparam, func, select
from sqlalchemy.sql.selectable import ScalarSelect

from calltriage.desk.database.tables import flags, issues, links, relations, sessions, views
from calltriage.desk.database.transaction import AnyRow, Transaction, columns_of, not_found, plain_row
from calltriage.desk.handlers import norm
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.fields import NO_ISSUE
from calltriage.operations.issues import Issue


def _of_issue(table: Table, end: str) -> ScalarSelect[int]:
    """The number of a table's rows whose column `end` names the issue of the enclosing query."""
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
    (_of_issue(sessions, "issue_id") > 0).label("has_session"),
)
"""Issues with their counts and the caller's last view, computed at each read. Built once, as building it costs more than
running it."""

ONE_ISSUE = ISSUE_QUERY.where(issues.c.org_id == bindparam("org"), issues.c.id == bindparam("issue"))


COUNTS = ("resource_count", "flag_count", "relation_count")
LIVE = (
    "last_activity_at", "triage_id", "external_link", "latest_agent_session", "is_processing", "has_unread_activity",
)  # fmt: skip
"""Fields that are computed for each answer."""
OF_A_DRAFT = ("agent_id", "agent_version_id")
"""Known from an unpublished draft (bland-triage, section 10): shown only where somebody set them."""
ISSUE_COLUMNS = columns_of(issues, Issue, computed=(*COUNTS, *LIVE, *OF_A_DRAFT))
NOTHING_YET = dict.fromkeys(COUNTS, 0)


def read_issue(tx: Transaction, issue_id: str) -> JsonObject:
    """The issue as the API answers it. Raises 404."""
    one = {"caller": tx.who.user_id, "org": tx.who.org_id, "issue": issue_id}
    row = tx.connection.execute(ONE_ISSUE, one).one_or_none()
    if row is None:
        raise not_found(NO_ISSUE)
    return shown_issues(tx, [row])[0]


def new_issue(tx: Transaction, row: JsonObject) -> JsonObject:
    """The issue as the API answers it when its row was stored just now: its author has seen it, and nothing is on it."""
    return _shown_issue(tx, {**NOTHING_YET, **row, "viewed_at": tx.instant}, None, is_processing=False)


def shown_issues(tx: Transaction, rows: list[AnyRow]) -> list[JsonObject]:
    sessions = norm.latest_agent_sessions(tx, [row.id for row in rows if row.has_session])
    in_flight = norm.runs_in_flight(tx, [row.id for row in rows if row.has_session])
    return [_shown_issue(tx, row, sessions.get(row.id), is_processing=row.id in in_flight) for row in rows]


def _shown_issue(
    tx: Transaction, row: AnyRow | JsonObject, session: JsonObject | None, *, is_processing: bool
) -> JsonObject:
    number, viewed_at, moved_at = plain_row(row, "number", "viewed_at", "last_activity_at").values()
    active = min(moved_at, tx.instant)  # entries of a run in flight are stored with times in the future
    return {
        **plain_row(row, *ISSUE_COLUMNS, *COUNTS),
        "last_activity_at": active,
        "triage_id": f"T-{number}",
        "external_link": None,
        "latest_agent_session": session,
        "is_processing": is_processing,
        "has_unread_activity": viewed_at is None or active > viewed_at,
        **{name: value for name, value in plain_row(row, *OF_A_DRAFT).items() if value is not None},
    }
