"""Sentences of a transcript of Twilio Conversational Intelligence, alone or together with the transcript's own members.

Source: twilio.com/docs, "Transcript Sentence Subresource" and "Transcript Resource". Times are seconds of the call, in text.
"""

from __future__ import annotations

import re
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

TRANSCRIPT = re.compile(r"/Transcripts/(GT[0-9a-fA-F]{32})(?:/|$)")


def _matches(value: object) -> bool:
    return is_object(value) and isinstance(value.get("sentences"), list) and _is_twilios(value)


def _is_twilios(value: JsonObject) -> bool:
    rows = objects(value["sentences"])
    return all("media_channel" in row and "transcript" in row for row in rows) and ("meta" in value or bool(rows))


def _line(value: JsonObject) -> Line:
    rows = sorted(objects(value["sentences"]), key=lambda row: row.get("sentence_index") or 0)
    if part(value, "meta", "next_page_url"):
        raise ValueError("is the first page of several: expected all sentences of a transcript (PageSize up to 5000)")
    names = {
        row.get("channel_participant"): row.get("role") or row.get("user_id")
        for row in objects(part(value, "channel", "participants"))
    }
    line = {
        "call_id": value.get("sid") or _transcript(value),
        "created_at": instant(value.get("media_start_time") or value.get("date_created")),
        "call_length": minutes(value.get("duration")),
        "turns": [_turn(row, names) for row in rows],
        "twilio": {name: told for name, told in value.items() if name not in ("sentences", "sid")},
    }
    return without_nothing(line)


def _transcript(value: JsonObject) -> str | None:
    """The transcript that a page of sentences belongs to, by the page's address."""
    found = TRANSCRIPT.search(str(part(value, "meta", "url") or part(value, "meta", "first_page_url") or ""))
    return found[1] if found else None


def _turn(row: JsonObject, names: dict[Any, Any]) -> JsonObject:
    channel = row["media_channel"]
    more = {"confidence": row["confidence"]} if row.get("confidence") is not None else {}
    return turn(
        names.get(channel) or channel, row["transcript"] or "", row.get("start_time"), row.get("end_time"), **more
    )


TWILIO = Format(
    "twilio", "an object with a list `sentences`, each with `media_channel` and `transcript`", _matches, _line
)
