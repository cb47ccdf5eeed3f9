"""What links point at: calls and conversations on the desk (bland-triage, section 6)."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from datetime import datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import JSON, ColumnElement, Float, String, Text, cast, func, select, type_coerce

from calltriage.desk.database.tables import by_code_point, calls, conversations, issues, links
from calltriage.desk.database.transaction import AnyRow, Reply, Transaction, bad_request, handled, not_found
from calltriage.desk.handlers import call_shapes
from calltriage.leaves.gate import compact
from calltriage.leaves.instants import written
from calltriage.leaves.strict_json import JsonObject, is_array, is_object
from calltriage.matching.telephone import forms
from calltriage.operations.calls import (
    A_ZONE,
    GetCall,
    GetCallEventStream,
    GetCorrectedTranscript,
    GetPathwayCallEvents,
    ListCalls,
)
from calltriage.operations.conversations import (
    LIST_ONLY,
    READ_ONLY,
    GetSmsConversation,
    ListSmsConversations,
    SmsFilter,
)
from calltriage.operations.fields import NO_CALL, NO_CONVERSATION, NO_RECORDING

_about = calls.c.record["metadata"]
ROW_FACTS = (
    "to", "from", "completed", "inbound", "status", "queue_status", "error_message", "answered_by", "batch_id",
    "pathway_id",
)  # fmt: skip
CALL_FIELDS: dict[str, ColumnElement[Any]] = {
    "call_id": calls.c.id, "created_at": calls.c.record["created_at"], "call_length": calls.c.call_length,
    **{name: _about[name] for name in ROW_FACTS},
    "completed": calls.c.completed, "inbound": calls.c.inbound,  # SQLite knows no booleans inside JSON
}  # fmt: skip
"""The fields of a row of the list, and their columns. The records are not read whole: one may be as large as an answer."""
MOST_CALLS = 1000
"""Rows of a page of calls if the request has no `limit`, as the vendor documents."""


CALL_TEXTS: dict[str, ColumnElement[Any]] = {
    **{name: calls.c[name] for name in ("from_number", "to_number", "answered_by", "batch_id")},
    "campaign_id": _about["campaign_id"].as_string(),
}
"""The text columns that a list of calls is filtered by."""
COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq, "gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le,
}  # fmt: skip

EVENT_TEXTS = {"level", "message", "category", "call_id", "timestamp"}
"""Fields of a platform event that the API documents as text."""


def get_call(tx: Transaction, call: GetCall) -> Reply:
    return Reply(200, call_shapes.detail(find_call(tx, call.call_id).record))


def get_corrected_transcript(tx: Transaction, call: GetCorrectedTranscript) -> Reply:
    found = find_call(tx, call.call_id)
    if found.corrected is None:
        raise not_found(NO_RECORDING)
    body = {"status": "success", "message": None, "corrected": found.corrected}
    return Reply(200, {**body, "original": found.record["transcripts"]})


def get_pathway_call_events(tx: Transaction, call: GetPathwayCallEvents) -> Reply:
    return Reply(200, sorted(find_call(tx, call.call_id).events, key=lambda event: event["sequence"]))


def get_call_event_stream(tx: Transaction, call: GetCallEventStream) -> Reply:
    """The events that came with the call's import. The desk itself carries no calls."""
    events = find_call(tx, call.call_id).record["metadata"].get("event_stream_data")
    return Reply(200, [_event(told) for told in events] if is_array(events) else [])


def _event(told: object) -> JsonObject:
    """An event with fields of the documented types. A value of another type becomes its JSON text. A row that is no
    object becomes the message of an event."""
    event = told if is_object(told) else {"message": told}
    typed = {name: _text(value) for name, value in event.items() if name in EVENT_TEXTS and value is not None}
    return {name: typed.get(name, value) for name, value in event.items() if name in typed or name not in EVENT_TEXTS}


def _text(value: object) -> str:
    return value if isinstance(value, str) else compact(value)


def find_call(tx: Transaction, call_id: str) -> AnyRow:
    """The call's row. Raises ContractError for a call that the organisation does not have."""
    row = tx.find(calls, call_id)
    if row is None:
        raise not_found(NO_CALL)
    return row


def list_calls(tx: Transaction, call: ListCalls) -> Reply:
    """Rows of calls. The field `issues` of each row is the desk's own."""
    matches = tx.mine(calls, *call_filters(call))
    order = calls.c.updated_at if call.sort_by == "updated_at" else calls.c.created_at
    first, size = call.from_ or 0, call.limit or MOST_CALLS
    if call.to is not None:
        size = max(0, min(size, call.to - first))
    query = select(*(column.label(name) for name, column in CALL_FIELDS.items())).where(matches)
    ways = (order.asc(), calls.c.id.asc()) if call.ascending else (order.desc(), calls.c.id.desc())
    rows = tx.connection.execute(query.order_by(*ways).offset(first).limit(size)).mappings().all()
    total = tx.connection.execute(select(func.count()).select_from(calls).where(matches)).scalar_one()
    items = with_issues(tx, [call_row(dict(row)) for row in rows])
    return Reply(200, {"total_count": total, "count": len(items), "calls": items})


def with_issues(tx: Transaction, found: list[JsonObject]) -> list[JsonObject]:
    """The calls, each with the tickets of the issues that it is attached to."""
    if not found:
        return []
    ids = [row["call_id"] for row in found]
    attached = links.c.resource_type == "call", links.c.resource_id.in_(ids)
    here = (issues.c.org_id == links.c.org_id) & (issues.c.id == links.c.issue_id)
    query = (
        select(links.c.resource_id, issues.c.number).where(here, tx.mine(links, *attached)).order_by(issues.c.number)
    )
    tickets: dict[str, list[str]] = {}
    for row in tx.connection.execute(query):
        tickets.setdefault(row.resource_id, []).append(f"T-{row.number}")
    return [{**row, "issues": tickets.get(row["call_id"], [])} for row in found]


def call_row(row: JsonObject) -> JsonObject:
    """A row with the facts that `get_call` answers for the same call."""
    return row | call_shapes.with_state({name: call_shapes.told(name, row[name]) for name in ROW_FACTS})


def call_filters(call: ListCalls) -> list[ColumnElement[bool]]:
    """The conditions on calls of a list's filters. Raises ContractError."""
    found = _within(call)
    for name in ("from_number", "to_number", "answered_by", "batch_id", "campaign_id"):
        wanted = getattr(call, name)
        if wanted is not None:
            found.append(CALL_TEXTS[name].in_(any_form(wanted) if name.endswith("_number") else wanted))
    if call.completed is not None:
        found.append(calls.c.completed == call.completed)
    if call.inbound is not None:
        found.append(calls.c.inbound == call.inbound)
    if call.duration_gt is not None:
        found.append(calls.c.call_length > call.duration_gt)
    if call.duration_lt is not None:
        found.append(calls.c.call_length < call.duration_lt)
    return found


def any_form(numbers: Iterable[str]) -> set[str]:
    """Telephone numbers in each form in which a call may hold them."""
    return {form for number in numbers for form in (number, *forms(number))}


def _within(call: ListCalls) -> list[ColumnElement[bool]]:
    """The conditions on times. Days are days of the zone; both ends are included. Raises ContractError."""
    if call.created_at is not None and (call.start_date is not None or call.end_date is not None):
        raise bad_request(created_at="cannot stand together with start_date or end_date")
    zone = _zone(call)
    wanted = (
        (calls.c.created_at, "created_at", call.created_at, call.created_at),
        (calls.c.created_at, "start_date", call.start_date, None),
        (calls.c.created_at, "end_date", None, call.end_date),
        (calls.c.updated_at, "update_start_date", call.update_start_date, None),
        (calls.c.updated_at, "update_end_date", None, call.update_end_date),
    )
    found: list[ColumnElement[bool]] = []
    for column, name, first, last in wanted:
        if first is not None:
            found.append(column >= _edge(first, name, time.min, zone))
        if last is not None:
            found.append(column <= _edge(last, name, time.max, zone))
    return found


def _zone(call: ListCalls) -> ZoneInfo:
    try:
        return ZoneInfo(call.timezone or "UTC")
    except (KeyError, ValueError, OSError):
        raise bad_request(timezone=A_ZONE) from None


def first_and_last(call: ListCalls) -> tuple[str | None, str | None]:
    """The first and the last instant of `start_date` and `end_date`; None for one that is not given. Raises
    ContractError."""
    first, last, zone = call.start_date, call.end_date, _zone(call)
    return (
        None if first is None else _edge(first, "start_date", time.min, zone),
        None if last is None else _edge(last, "end_date", time.max, zone),
    )


def _edge(text: str, name: str, of_day: time, zone: ZoneInfo) -> str:
    """The instant in a text; for a day its first or last instant, as `of_day` says. Raises ContractError."""
    try:
        instant = datetime.fromisoformat(text)
        if len(text) == 10:
            instant = datetime.combine(instant, of_day)
        return written(instant if instant.tzinfo else instant.replace(tzinfo=zone))
    except (ValueError, OverflowError):
        raise bad_request(**{name: "must be a day (YYYY-MM-DD) or an instant"}) from None


def get_sms_conversation(tx: Transaction, call: GetSmsConversation) -> Reply:
    row = tx.find(conversations, call.conversation_id)
    if row is None:
        raise not_found(NO_CONVERSATION)
    return Reply(200, {name: value for name, value in row.record.items() if name not in LIST_ONLY})


def list_sms_conversations(tx: Transaction, call: ListSmsConversations) -> Reply:
    """Rows without messages, in the vendor's own pagination."""
    page, size = call.page or 1, call.pageSize or 25
    where = tx.mine(conversations, *(_sms_condition(condition) for condition in call.conditions()))
    key = _sms_value(call.sortBy or "created_at")
    # A row without the value counts as the least.
    ways = (key.asc().nulls_first(), conversations.c.id.asc())
    if call.sortDir != "asc":
        ways = (key.desc().nulls_last(), conversations.c.id.desc())
    query = select(_without(tx, conversations.c.record, READ_ONLY)).where(where).order_by(*ways)
    rows = tx.connection.execute(query.offset((page - 1) * size).limit(size)).scalars().all()
    total = tx.count(conversations, where)
    pages = {"totalItems": total, "totalPages": -(-total // size), "currentPage": page, "pageSize": size}
    return Reply(200, {"data": list(rows), "errors": None, "extra": {"pagination": pages}})


def _without(tx: Transaction, record: ColumnElement[Any], names: Iterable[str]) -> ColumnElement[Any]:
    """A record without some of its members, left out by the database. Each dialect has a function of its own for it."""
    if tx.connection.dialect.name == "sqlite":
        return type_coerce(func.json_remove(record, *(f"$.{name}" for name in names)), JSON)
    from sqlalchemy.dialects.postgresql import JSONB  # noqa: PLC0415  3 MiB that a desk on a file never needs

    rest = cast(record, JSONB)
    for name in names:
        rest = rest.op("-", return_type=JSONB())(cast(name, Text))
    return rest


def _sms_value(name: str) -> ColumnElement[Any]:
    """A field of a conversation, to sort or compare by."""
    if name == "created_at":
        return conversations.c.created_at
    inside = conversations.c.record[name]
    match name:
        case "message_count":
            return cast(inside.as_string(), Float)
        case "is_active":
            return inside.as_boolean()
        case "variables":
            return by_code_point(cast(inside, String))
        case _:
            return by_code_point(cast(inside.as_string(), String))


def _sms_condition(condition: SmsFilter) -> ColumnElement[bool]:
    """One filter as SQL that means the same on every store: case counts, and null equals null alone."""
    field, value = condition.field, condition.comparable()
    column = _sms_value(field)
    if value is None:
        return conversations.c.record[field].as_string().is_(None)
    match condition.operator:
        case "contains":
            return func.replace(column, value, "") != column if value else column.is_not(None)
        case "startsWith":
            return func.substr(column, 1, len(value)) == value
        case "endsWith":
            return func.substr(column, func.length(column) - len(value) + 1) == value
        case compare:
            return COMPARE[compare](column, value)


HANDLERS = (
    handled(GetCall, by=get_call),
    handled(ListCalls, by=list_calls),
    handled(GetCorrectedTranscript, by=get_corrected_transcript),
    handled(GetPathwayCallEvents, by=get_pathway_call_events),
    handled(GetCallEventStream, by=get_call_event_stream),
    handled(ListSmsConversations, by=list_sms_conversations),
    handled(GetSmsConversation, by=get_sms_conversation),
)
