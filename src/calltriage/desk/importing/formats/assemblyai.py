"""Transcripts of AssemblyAI: what its API answers for one.

Source: assemblyai.com/docs, "Get transcript" and "Speaker diarization". Times are milliseconds; the length is seconds.
"""

from __future__ import annotations

from calltriage.desk.importing.formats.format import (
    Format,
    Line,
    instant,
    minutes,
    number,
    objects,
    turn,
    without_nothing,
)
from calltriage.leaves.strict_json import JsonObject, is_object

TAKEN = {"id", "text", "words", "utterances", "summary"}


def _matches(value: object) -> bool:
    return (
        is_object(value)
        and {"id", "status", "text"} <= value.keys()
        and ("utterances" in value or "words" in value)
        and bool({"audio_url", "audio_duration", "speech_model", "speech_models", "language_model"} & value.keys())
    )


def _line(value: JsonObject) -> Line:
    if value["status"] != "completed":
        raise ValueError("is a transcript that is not completed: expected `status` completed")
    said = objects(value.get("utterances"))
    if not said and value["text"]:
        words = objects(value.get("words"))
        ends = {"start": words[0].get("start"), "end": words[-1].get("end")} if words else {}
        said = [{"text": value["text"], **ends}]
    line = {
        "call_id": value["id"],
        "created_at": instant(value.get("created")),
        "call_length": minutes(value.get("audio_duration")),
        "summary": value.get("summary"),
        "turns": [_turn(one) for one in said],
        "assemblyai": {name: told for name, told in value.items() if name not in TAKEN},
    }
    return without_nothing(line)


def _turn(said: JsonObject) -> JsonObject:
    start, end = (number(said.get(name)) for name in ("start", "end"))
    speaker = said.get("speaker")
    if speaker is None:
        speaker = said.get("channel")
    seconds = (None if at is None else at / 1000 for at in (start, end))
    return turn(speaker, said.get("text") or "", *seconds)


ASSEMBLYAI = Format("assemblyai", "an object with `id`, `status`, `text` and `utterances` or `words`", _matches, _line)
