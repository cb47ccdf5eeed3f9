"""What is shown of the journal: ids and outcomes as they are, free text as hashes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from calltriage.journal.rows import Row, outcome_of, rows
from calltriage.leaves.strict_json import JsonObject, is_object

if TYPE_CHECKING:
    from sqlalchemy import Connection

AT_ONCE = 500
"""Rows that are read at once, newest first."""
TICKETS = """
    SELECT DISTINCT json_extract(result, '$.id'), json_extract(result, '$.triage_id') FROM entries
    WHERE kind = 'outcome' AND result LIKE '%"triage_id"%' AND CASE WHEN typeof(result) = 'text' THEN json_valid(result) END
"""
"""Ids and ticket numbers of issues, as the answers to writes say them."""
IDS = ("id", "issue_id", "related_issue_id", "call_id", "resource_id", "resource_link_id", "flag_id", "relation_id",
       "session_id", "attachment_id", "resource_type", "relation_type", "status", "severity", "message_index")  # fmt: skip
"""What is shown of arguments and answers as it is; other values are shown as hashes."""


def parsed(text: str | None) -> JsonObject:
    """The object that a cell holds as JSON; empty for a cell without one, as an altered journal may have."""
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if is_object(found) else {}


def brief(asked: Row, settled: Row | None) -> JsonObject:
    """A write in ids and outcomes, without a word of anybody's text."""
    arguments, result = parsed(asked.arguments), parsed(settled and settled.result)
    ids = {name: arguments[name] for name in IDS if isinstance(arguments.get(name), str | int)}
    made = {"made": result["id"]} if isinstance(result.get("id"), str) else {}
    ticket = {"triage_id": result["triage_id"]} if isinstance(result.get("triage_id"), str) else {}
    outcome = (settled and settled.outcome) or "unknown"
    return {
        "at": asked.at,
        "tool": asked.tool,
        "operation": asked.operation,
        **ids,
        **made,
        **ticket,
        "outcome": outcome,
    }


@dataclass(frozen=True)
class Wanted:
    """Which writes are shown: the newest `last` of those of an issue (its id, or its ticket in capitals), since an instant,
    with an outcome."""

    last: int = 50
    issue: str | None = None
    since: datetime | None = None
    outcome: str | None = None


def writes(connection: Connection, wanted: Wanted) -> list[JsonObject]:
    """The writes that are wanted, newest last. Each has its row's number, and its issue's ticket where an answer says it."""
    tickets: dict[Any, Any] = dict(connection.exec_driver_sql(TICKETS).all())  # pyright: ignore[reportArgumentType]
    found = list[JsonObject]()
    for asked in _newest(connection, wanted.since):
        settled = outcome_of(connection, asked)
        shown = {"row": asked.seq, **brief(asked, settled)}
        issue_id = shown.get("issue_id") or (shown.get("made") if "triage_id" in shown else None)
        if issue_id in tickets:
            shown["triage_id"] = tickets[issue_id]
        if settled is not None and settled.code is not None:
            shown["code"] = settled.code
        names = {
            shown.get("triage_id"),
            issue_id,
            shown.get("related_issue_id"),
            tickets.get(shown.get("related_issue_id")),
        }
        if wanted.issue not in {None, *names} or wanted.outcome not in {None, shown["outcome"]}:
            continue
        found.append(shown)
        if len(found) == wanted.last:
            break
    return found[::-1]


def _newest(connection: Connection, since: datetime | None) -> Iterator[Row]:
    """What was asked for, newest first."""
    before, at = 2**62, "" if since is None else since.astimezone(UTC).isoformat(timespec="milliseconds")
    condition = "kind = 'asked' AND operation IS NOT NULL AND seq < ? AND at >= ?"
    query = f"seq IN (SELECT seq FROM entries WHERE {condition} ORDER BY seq DESC LIMIT {AT_ONCE})"  # noqa: S608
    while some := list(rows(connection, query, (before, at))):
        yield from reversed(some)
        before = some[0].seq


def _hashed(value: object) -> object:
    if not isinstance(value, str | list | dict):
        return value
    return "sha256:" + hashlib.sha256(json.dumps(value, separators=(",", ":")).encode()).hexdigest()[:16]


def redacted(row: Row) -> JsonObject:
    """A row as it is shown: names, ids and hashes."""
    shown: JsonObject = asdict(row)
    for name in ("arguments", "result"):
        values = parsed(shown[name])
        shown[name] = {key: value if key in IDS else _hashed(value) for key, value in values.items()} or None
    return {name: value for name, value in shown.items() if value is not None}
