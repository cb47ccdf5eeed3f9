"""Transcripts of Whisper in JSON: OpenAI's command and API (`verbose_json`, `diarized_json`), WhisperX, whisper.cpp.

Source: github.com/openai/whisper, platform.openai.com "Create transcription", github.com/ggml-org/whisper.cpp. Times are
seconds, in whisper.cpp milliseconds. Whisper itself tells no speakers apart.
"""

from __future__ import annotations

from typing import Any

from calltriage.desk.importing.formats.format import Format, Line, minutes, number, objects, turn
from calltriage.leaves.strict_json import JsonObject, is_object

TAKEN = {"text", "segments", "words", "word_segments", "transcription", "duration"}


def _matches(value: Any) -> bool:
    if not is_object(value) or value.keys() & {"results", "sentences", "turns", "call_id"}:
        return False
    segments, pieces = objects(value.get("segments")), objects(value.get("transcription"))
    spoken = bool(segments) and all({"start", "end", "text"} <= one.keys() for one in segments)
    return spoken or (bool(pieces) and all({"offsets", "text"} <= one.keys() for one in pieces))


def _line(value: JsonObject) -> Line:
    turns = [
        turn(one.get("speaker"), str(one["text"]).strip(), one["start"], one["end"])
        for one in objects(value.get("segments"))
    ] or [_piece(one) for one in objects(value.get("transcription"))]
    line: Line = {"turns": turns, "whisper": {name: told for name, told in value.items() if name not in TAKEN}}
    length = minutes(value.get("duration"))
    return line if length is None else {**line, "call_length": length}


def _piece(one: JsonObject) -> JsonObject:
    start, end = (number(one["offsets"].get(name)) for name in ("from", "to"))
    seconds = (None if at is None else at / 1000 for at in (start, end))
    return turn(one.get("speaker"), str(one["text"]).strip(), *seconds)


WHISPER = Format("whisper", "an object with `segments`, each with `start`, `end` and `text`", _matches, _line)
