"""Transcripts of Whisper in JSON: OpenAI's command and API (`verbose_json`, `diarized_json`), WhisperX, whisper.cpp.

OpenAI's API answers the text alone, or the text with its words, unless it is asked for segments: such a text is one turn.
Source: github.com/openai/whisper, platform.openai.com "Create transcription", github.com/ggml-org/whisper.cpp. Times are
seconds, in whisper.cpp milliseconds. Whisper itself tells no speakers apart.
"""

from __future__ import annotations

from calltriage.desk.importing.formats.format import Format, Line, minutes, number, objects, turn
from calltriage.leaves.strict_json import JsonObject, is_object

TAKEN = {"text", "segments", "words", "word_segments", "transcription", "duration"}
BARE = {"text", "task", "language", "duration", "words", "segments", "usage", "logprobs", "x_groq"}
"""All members that an answer without segments from OpenAI's or Groq's API may have."""


def _matches(value: object) -> bool:
    if not is_object(value) or value.keys() & {"results", "sentences", "turns", "call_id"}:
        return False
    segments, pieces = objects(value.get("segments")), objects(value.get("transcription"))
    spoken = bool(segments) and all({"start", "end", "text"} <= one.keys() for one in segments)
    timed = bool(pieces) and all({"offsets", "text"} <= one.keys() for one in pieces)
    return spoken or timed or _is_bare(value)


def _is_bare(value: JsonObject) -> bool:
    """Whether it is a text without segments, and without a member of another format."""
    text = value.get("text")
    return isinstance(text, str) and bool(text.strip()) and not value.get("segments") and value.keys() <= BARE


def _line(value: JsonObject) -> Line:
    turns = [
        turn(one.get("speaker"), str(one["text"]).strip(), one["start"], one["end"])
        for one in objects(value.get("segments"))
    ] or [_piece(one) for one in objects(value.get("transcription"))]
    line: Line = {
        "turns": turns or [_whole(value)],
        "whisper": {name: told for name, told in value.items() if name not in TAKEN},
    }
    length = minutes(value.get("duration"))
    return line if length is None else {**line, "call_length": length}


def _whole(value: JsonObject) -> JsonObject:
    """The text as one turn, from its first word to its last."""
    words = objects(value.get("words"))
    ends = (words[0].get("start"), words[-1].get("end")) if words else ()
    return turn(None, value["text"].strip(), *ends)


def _piece(one: JsonObject) -> JsonObject:
    start, end = (number(one["offsets"].get(name)) for name in ("from", "to"))
    seconds = (None if at is None else at / 1000 for at in (start, end))
    return turn(one.get("speaker"), str(one["text"]).strip(), *seconds)


WHISPER = Format(
    "whisper", "an object with `segments`, each with `start`, `end` and `text`, or with `text` alone", _matches, _line
)
