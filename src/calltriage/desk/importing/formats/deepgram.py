"""Transcripts of Deepgram: what its API answers for a recording.

Source: developers.deepgram.com, "Pre-Recorded Audio", "Utterances", "Diarization". Times are seconds.
"""

from __future__ import annotations

from itertools import groupby

from calltriage.desk.importing.formats.format import (
    Format,
    Line,
    instant,
    minutes,
    number,
    objects,
    part,
    turn,
    without_nothing,
)
from calltriage.leaves.strict_json import JsonObject, is_object


def _matches(value: object) -> bool:
    return is_object(value) and isinstance(part(value, "results", "channels"), list)


def _line(value: JsonObject) -> Line:
    channels = objects(part(value, "results", "channels"))
    said = objects(part(value, "results", "utterances"))
    turns = [_utterance(one, len(channels)) for one in said]
    if not turns:
        turns = [one for n, channel in enumerate(channels) for one in _of_channel(channel, n, len(channels))]
        turns.sort(key=lambda one: one.get("start_ms", 0))
    line = {
        "call_id": part(value, "metadata", "request_id"),
        "created_at": instant(part(value, "metadata", "created")),
        "call_length": minutes(part(value, "metadata", "duration")),
        "summary": part(value, "results", "summary", "short"),
        "turns": turns,
        "deepgram": value.get("metadata"),
    }
    return without_nothing(line)


def _utterance(said: JsonObject, channels: int) -> JsonObject:
    speaker = _speaker(said.get("speaker"), said.get("channel"), channels)
    return turn(speaker, said.get("transcript") or "", said.get("start"), said.get("end"))


def _speaker(diarized: object, channel: object, channels: int) -> object:
    """Who spoke: the channel if each speaker has one, else the speaker's number from the model."""
    return channel if channels > 1 else diarized


def _of_channel(channel: JsonObject, n: int, channels: int) -> list[JsonObject]:
    best = [*objects(channel.get("alternatives")), JsonObject()][0]
    paragraphs = objects(part(best, "paragraphs", "paragraphs"))
    if paragraphs:
        return [
            turn(
                _speaker(one.get("speaker"), n, channels),
                " ".join(str(sentence.get("text", "")) for sentence in objects(one.get("sentences"))),
                one.get("start"),
                one.get("end"),
            )
            for one in paragraphs
        ]
    words = [word for word in objects(best.get("words")) if number(word.get("start")) is not None]
    if words:
        return [_run(list(run), n, channels) for _, run in groupby(words, key=lambda word: word.get("speaker"))]
    return [turn(_speaker(None, n, channels), best["transcript"])] if best.get("transcript") else []


def _run(words: list[JsonObject], n: int, channels: int) -> JsonObject:
    text = " ".join(str(word.get("punctuated_word") or word.get("word") or "") for word in words)
    return turn(_speaker(words[0].get("speaker"), n, channels), text, words[0].get("start"), words[-1].get("end"))


DEEPGRAM = Format("deepgram", "an object with `metadata` and `results.channels`", _matches, _line)
