"""Calls of the triage vendor: as its API answers them, and as its post-call webhook sends them (bland-triage, section 6)."""

from __future__ import annotations

from calltriage.desk.importing.formats.format import Format, Line, objects, without_nothing
from calltriage.leaves.strict_json import JsonObject, is_object
from calltriage.matching.speaker_marks import by_lines

TAKEN = {"call_id", "c_id", "created_at", "summary", "transcripts", "concatenated_transcript"}


def _matches(value: object) -> bool:
    return (
        is_object(value)
        and ("call_id" in value or "c_id" in value)
        and ("transcripts" in value or "concatenated_transcript" in value)
        and "turns" not in value
        and "transcript_object" not in value
    )


def _line(value: JsonObject) -> Line:
    rows, joined = value.get("transcripts"), value.get("concatenated_transcript")
    if rows or not joined:
        turns = [_turn(row) for row in objects(rows)]
    else:
        turns = [{"speaker": speaker, "text": text} for speaker, text in by_lines(str(joined))]
    line = {
        "call_id": value.get("call_id") or value.get("c_id"),
        "created_at": value.get("created_at") or value.get("started_at"),
        "summary": value.get("summary"),
        "turns": turns,
        "transcript_source": None if rows or not turns else "concatenated_transcript",
    }
    rest = {name: told for name, told in value.items() if name not in TAKEN}
    return {**rest, **without_nothing(line)}


def _turn(row: JsonObject) -> JsonObject:
    rest = {name: told for name, told in row.items() if name not in ("id", "user", "text")}
    return {**rest, "speaker": row.get("user"), "text": row.get("text") or ""}


BLAND = Format("bland", "an object with `call_id`, and `transcripts` or `concatenated_transcript`", _matches, _line)
