"""Conversations of ElevenLabs agents: the object that its API answers, and the one in its post-call webhook.

Source: elevenlabs.io/docs, "Get conversation details" and "Post-call webhooks".
"""

from __future__ import annotations

from typing import Any

from calltriage.desk.importing.formats.format import (
    Format,
    Line,
    instant,
    minutes,
    objects,
    part,
    turn,
    without_nothing,
)
from calltriage.leaves.strict_json import JsonObject, is_object

TAKEN = {"conversation_id", "transcript"}


def _conversation(value: Any) -> JsonObject:
    data = part(value, "data")
    if is_object(data) and value.get("type") == "post_call_transcription":
        return data
    return value if is_object(value) else {}


def _matches(value: object) -> bool:
    found = _conversation(value)
    return "conversation_id" in found and isinstance(found.get("transcript"), list)


def _line(value: object) -> Line:
    found = _conversation(value)
    phone = part(found, "metadata", "phone_call")
    is_inbound = part(phone, "direction") == "inbound" if part(phone, "direction") else None
    ours, theirs = part(phone, "agent_number"), part(phone, "external_number")
    rows = [row for row in objects(found["transcript"]) if row.get("message")]
    line = {
        "call_id": found["conversation_id"],
        "created_at": instant(part(found, "metadata", "start_time_unix_secs")),
        "call_length": minutes(part(found, "metadata", "call_duration_secs")),
        "summary": part(found, "analysis", "transcript_summary"),
        "turns": [
            turn(row.get("role"), row["message"], row.get("time_in_call_secs"), row.get("end_time_in_call_secs"))
            for row in rows
        ],
        "inbound": is_inbound,
        "completed": found["status"] == "done" if "status" in found else None,
        "from": theirs if is_inbound else ours,
        "to": ours if is_inbound else theirs,
        "elevenlabs": {name: told for name, told in found.items() if name not in TAKEN},
    }
    return without_nothing(line)


ELEVENLABS = Format("elevenlabs", "an object with `conversation_id` and a list `transcript`", _matches, _line)
