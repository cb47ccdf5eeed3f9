"""Reading the activity feed and talking in it (bland-triage, section 9)."""

from __future__ import annotations

import re

from sqlalchemy import bindparam, select

from calltriage.desk.database.tables import activity, links
from calltriage.desk.database.transaction import (
    AnyRow,
    Listing,
    Reply,
    Transaction,
    equal,
    handled,
    not_found,
    plain_row,
)
from calltriage.desk.handlers import norm
from calltriage.desk.handlers.activity_writing import TALK, entry, record
from calltriage.desk.handlers.resource_links import LINK_QUERY, shown_link
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.activity import AddComment, ListActivity
from calltriage.operations.fields import NO_LINK

HAPPENED = activity.c.session_id.is_(None) | (activity.c.created_at <= bindparam("instant"))
"""Entries that have happened. A run's entries are stored when it starts, with times in the future."""
FEED = Listing(
    select(activity).where(equal(activity, "issue_id"), HAPPENED),
    (activity.c.created_at, activity.c.seq),
    descending=True,
)


def list_activity(tx: Transaction, call: ListActivity) -> Reply:
    tx.issue(call.issue_id)
    rows, cursor = tx.page(
        FEED,
        limit=call.limit,
        cursor=call.cursor,
        name=f"activity of {call.issue_id}",
        issue_id=call.issue_id,
        instant=tx.instant,
    )
    return Reply(200, {"items": shown_entries(tx, rows), "next_cursor": cursor})


def add_comment(tx: Transaction, call: AddComment) -> Reply:
    """Store the comment. `@norm` in it also starts a run, which the answer does not mention."""
    tx.issue(call.issue_id)
    cited = _cited(tx, call.issue_id, call.resource_link_ids or [])
    comment = entry(tx, call.issue_id, "comment", detail=call.detail, resources=cited)
    record(tx, [comment], TALK)
    if re.search("@norm", call.detail, re.IGNORECASE):
        norm.dispatch(tx, call.issue_id, re.sub(r"\s*@norm\s*", " ", call.detail, flags=re.IGNORECASE).strip())
    return Reply(201, _shown_entry(comment, None))


def _cited(tx: Transaction, issue_id: str, wanted: list[str]) -> list[JsonObject]:
    """The links that a comment names, each once. Raises 404 for one that the issue does not have."""
    if not wanted:
        return []
    query = LINK_QUERY.where(tx.mine(links, links.c.issue_id == issue_id, links.c.id.in_(wanted)))
    found = {row.id: shown_link(row) for row in tx.connection.execute(query)}
    if len(found) < len(set(wanted)):
        raise not_found(NO_LINK)
    return [found[link_id] for link_id in dict.fromkeys(wanted)]


def shown_entries(tx: Transaction, rows: list[AnyRow]) -> list[JsonObject]:
    """Entries as the API answers them. The issue's own and the agent's have different shapes."""
    sessions = norm.session_summaries(tx, list({row.session_id for row in rows if row.session_id is not None}))
    return [_shown_entry(row, sessions.get(row.session_id)) for row in rows]


def _shown_entry(row: AnyRow | JsonObject, session: JsonObject | None) -> JsonObject:
    shown = plain_row(row, "id", "issue_id", "type", "detail", "metadata", "created_at")
    if session is not None:
        agent = {"kind": "agent", "id": None, "label": norm.NAME, "avatar_url": None}
        return {"entry_kind": "agent", **shown, "actor": agent, "agent_session": session, **plain_row(row, "artifact")}
    by = plain_row(row, "actor_id")["actor_id"]
    actor = {"kind": "user" if by else "system", "id": by, "label": None, "avatar_url": None}
    rest = plain_row(row, "from_status", "to_status", "resources", "referenced_issues")
    return {"entry_kind": "issue", **shown, **rest, "actor": actor}


HANDLERS = (
    handled(ListActivity, by=list_activity),
    handled(AddComment, by=add_comment),
)
