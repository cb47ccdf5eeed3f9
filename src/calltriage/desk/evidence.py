"""What links point at: calls and conversations on the desk (bland-triage, section 6)."""

from __future__ import annotations

from datetime import UTC, datetime, time
from typing import Any

from sqlalchemy import ColumnElement, Float, String, cast, func, select

from calltriage.desk.exchange import ContractError, Reply, Transaction, bad_request
from calltriage.desk.tables import by_code_point, calls, conversations, written
from calltriage.operations.calls import GetCall, GetCorrectedTranscript, GetPathwayCallEvents, ListCalls
from calltriage.operations.conversations import GetSmsConversation, ListSmsConversations

CALL_FIELDS = (
    "call_id", "created_at", "call_length", "to", "from", "completed", "inbound", "queue_status", "error_message",
    "answered_by", "batch_id", "pathway_id",
)  # fmt: skip
"""What a row of the list shows of a call."""


def no_call() -> ContractError:
    return ContractError(404, "CALL_NOT_FOUND", "Call not found")


def no_conversation() -> ContractError:
    return ContractError(404, "CONVERSATION_NOT_FOUND", "Conversation not found")


def get_call(tx: Transaction, call: GetCall) -> Reply:
    return Reply(200, _call(tx, call.call_id).record)


def get_corrected_transcript(tx: Transaction, call: GetCorrectedTranscript) -> Reply:
    found = _call(tx, call.call_id)
    if found.corrected is None:
        raise ContractError(404, "CALL_RECORDING_NOT_FOUND", "Call recording not found")
    body = {"status": "success", "message": None, "corrected": found.corrected}
    return Reply(200, {**body, "original": found.record["transcripts"]})


def get_pathway_call_events(tx: Transaction, call: GetPathwayCallEvents) -> Reply:
    return Reply(200, sorted(_call(tx, call.call_id).events, key=lambda event: event["sequence"]))


def _call(tx: Transaction, call_id: str) -> Any:
    row = tx.find(calls, call_id)
    if row is None:
        raise no_call()
    return row


def list_calls(tx: Transaction, call: ListCalls) -> Reply:
    matches = tx.mine(calls, *_call_filters(call))
    order = calls.c.updated_at if call.sort_by == "updated_at" else calls.c.created_at
    first, size = call.from_ or 0, call.limit or 1000
    if call.to is not None:
        size = max(0, min(size, call.to - first))
    query = select(calls.c.record).where(matches)
    ways = (order.asc(), calls.c.id.asc()) if call.ascending else (order.desc(), calls.c.id.desc())
    rows = tx.connection.execute(query.order_by(*ways).offset(first).limit(size)).scalars().all()
    total = tx.connection.execute(select(func.count()).select_from(calls).where(matches)).scalar_one()
    items = [{name: row.get(name, row["metadata"].get(name)) for name in CALL_FIELDS} for row in rows]
    return Reply(200, {"total_count": total, "count": len(items), "calls": items})


def _call_filters(call: ListCalls) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if call.start_date is not None:
        found.append(calls.c.created_at >= _edge(call.start_date, "start_date", time.min))
    if call.end_date is not None:
        found.append(calls.c.created_at <= _edge(call.end_date, "end_date", time.max))
    for name in ("from_number", "to_number", "answered_by", "batch_id", "completed", "inbound"):
        value = getattr(call, name)
        if value is not None:
            found.append(calls.c[name] == value)
    if call.duration_gt is not None:
        found.append(calls.c.call_length > call.duration_gt)
    if call.duration_lt is not None:
        found.append(calls.c.call_length < call.duration_lt)
    return found


def _edge(text: str, name: str, of_day: time) -> str:
    """An instant, or the first or last one of a day in UTC."""
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise bad_request(**{name: "must be a day (YYYY-MM-DD) or an instant"}) from None
    if len(text) == 10:
        instant = datetime.combine(instant, of_day)
    return written(instant if instant.tzinfo else instant.replace(tzinfo=UTC))


def get_sms_conversation(tx: Transaction, call: GetSmsConversation) -> Reply:
    row = tx.find(conversations, call.conversation_id)
    if row is None:
        raise no_conversation()
    return Reply(200, row.record)


def list_sms_conversations(tx: Transaction, call: ListSmsConversations) -> Reply:
    """Rows without messages, in the vendor's own pagination."""
    page, size = call.page or 1, call.pageSize or 25
    name = call.sortBy or "created_at"
    key: ColumnElement[Any] = conversations.c.created_at
    if name != "created_at":
        inside = conversations.c.record[name].as_string()
        key = cast(inside, Float) if name == "message_count" else by_code_point(cast(inside, String))
    # A row without the value counts as the least.
    ways = (key.asc().nulls_first(), conversations.c.id.asc())
    if call.sortDir != "asc":
        ways = (key.desc().nulls_last(), conversations.c.id.desc())
    query = select(conversations.c.record).where(tx.mine(conversations)).order_by(*ways)
    rows = tx.connection.execute(query.offset((page - 1) * size).limit(size)).scalars().all()
    total = tx.count(conversations)
    pages = {"totalItems": total, "totalPages": -(-total // size), "currentPage": page, "pageSize": size}
    items = [{key: value for key, value in row.items() if key not in {"messages", "disposition_logs"}} for row in rows]
    return Reply(200, {"data": items, "errors": None, "extra": {"pagination": pages}})
