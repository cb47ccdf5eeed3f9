"""Calls of Retell: the object that its API answers, and the one in its webhooks.

Source: docs.retellai.com, "Get Call" and "Webhook". Timestamps are milliseconds since 1970; words have seconds of the call.
"""

from __future__ import annotations

from typing import Any

from calltriage.desk.importing.formats.format import (
    Format,
    Line,
    instant,
    objects,
    part,
    turn,
    without_nothing,
)
from calltriage.leaves.strict_json import JsonObject, is_object
from calltriage.matching.speaker_marks import by_lines

TAKEN = {
    "call_id", "start_timestamp", "end_timestamp", "transcript", "transcript_object", "transcript_with_tool_calls",
    "scrubbed_transcript_with_tool_calls", "from_number", "to_number",
}  # fmt: skip


def _call(value: Any) -> JsonObject:
    inner = part(value, "call")
    if is_object(inner) and "event" in value:
        return inner
    return value if is_object(value) else {}


def _matches(value: object) -> bool:
    call = _call(value)
    return "call_id" in call and ("transcript_object" in call or ("call_status" in call and "agent_id" in call))


def _line(value: object) -> Line:
    call = _call(value)
    rows = objects(call.get("transcript_object")) or objects(call.get("transcript_with_tool_calls"))
    turns = [_turn(row) for row in rows if row.get("content")]
    if not turns:
        turns = [turn(*one) for one in by_lines(str(call.get("transcript") or ""))]
    direction = call.get("direction")
    line = {
        "call_id": call["call_id"],
        "created_at": instant(call.get("start_timestamp") or call.get("end_timestamp")),
        "ended_at": instant(call.get("end_timestamp")),
        "summary": part(call, "call_analysis", "call_summary"),
        "turns": turns,
        "from": call.get("from_number"),
        "to": call.get("to_number"),
        "inbound": direction == "inbound" if direction else None,
        "completed": call["call_status"] == "ended" if "call_status" in call else None,
        "retell": {name: told for name, told in call.items() if name not in TAKEN},
    }
    return without_nothing(line)


def _turn(row: JsonObject) -> JsonObject:
    words = objects(row.get("words"))
    start, end = (words[0].get("start"), words[-1].get("end")) if words else (None, None)
    return turn(row.get("role"), row["content"], start, end)


RETELL = Format("retell", "an object with `call_id` and `transcript_object`", _matches, _line)
