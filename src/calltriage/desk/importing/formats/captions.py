"""Captions: WebVTT and SRT. A voice tag (`<v Agent>`) or a mark before the words names the speaker."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from calltriage.desk.importing.documents import MAX_LINE, Found
from calltriage.desk.importing.formats.format import TextFormat, turn
from calltriage.desk.importing.sources import LONE, Text
from calltriage.matching.speaker_marks import by_marks

if TYPE_CHECKING:
    from webvtt import Caption

VOICE = re.compile(r"<v(?:\.[^\s>]*)?\s+([^>]+)>")
TAG = re.compile(r"</?[A-Za-z0-9:.][^<>]*>|\{\\[^{}]*\}")
"""Tags of WebVTT and of SRT, whose players also know positions such as `{\\an8}`."""
SRT_HEAD = re.compile(r"(?:\d+[ \t]*\r?\n)?\s*\d+:\d{1,2}:\d{1,2}[,.]\d{1,3}\s*-->\s*\d+:\d{1,2}:\d{1,2}[,.]\d{1,3}")
APART = re.compile(r"\n(?:[ \t]*\n)+")
"""Blank lines between cues."""
NO_CUE = re.compile(r"(?:NOTE|STYLE|REGION)(?:\s|$)")
"""Beginning of a block that holds no spoken words."""
TIMING = re.compile(r"\s*(?:\d+:)?\d{1,2}:\d{1,2}[.,]\d{1,3}\s*-->\s*(?:\d+:)?\d{1,2}:\d{1,2}[.,]\d{1,3}")


def _is_vtt(head: str) -> bool:
    return re.match(r"\ufeff?WEBVTT(?:\s|$)", head) is not None


def _is_srt(head: str) -> bool:
    return SRT_HEAD.match(head) is not None


def _vtt_lines(text: Text) -> Iterator[Found]:
    yield from _call(text, "vtt")


def _srt_lines(text: Text) -> Iterator[Found]:
    yield from _call(text, "srt")


def _call(text: Text, form: str) -> Iterator[Found]:
    from webvtt import WebVTT  # noqa: PLC0415  only where captions are read

    with text.open() as file:
        whole = file.read(MAX_LINE + 1)
    if len(whole) > MAX_LINE:
        raise ValueError(f"is larger than {MAX_LINE // 2**20} MiB")
    _refuse_broken(whole, text.encoding)
    read = WebVTT.from_buffer(io.StringIO(_evened(whole, form)), format=form)
    spans = [span for caption in read.captions for span in _spans(caption)]
    marked = by_marks([words for _, words, _, _ in spans])
    turns = [
        turn(voice, words, start, end) if voice else turn(name, said, start, end)
        for (voice, words, start, end), (name, said) in zip(spans, marked, strict=True)
    ]
    if not turns:
        raise ValueError("holds no words: expected cues, each with a line of times and text below it")
    yield Found("", {"turns": turns})


def _evened(whole: str, form: str) -> str:
    """The text with its cues as the standard has them, as the library skips others. Words after a blank line join the cue
    before it, SRT cues get a number, and WebVTT times get a point before the milliseconds."""
    kept, has_cue = list[str](), False
    blocks = APART.split("\n".join(whole.strip().splitlines()))
    for block, after in zip(blocks, [*blocks[1:], ""], strict=True):
        lines = block.split("\n")
        at = next((n for n, line in enumerate(lines) if TIMING.match(line)), None)
        if form == "vtt" and NO_CUE.match(block):
            continue
        if at is None and has_cue:
            is_number = block.strip().isdecimal() and TIMING.match(after) is not None
            kept[-1] += "" if is_number else f"\n{block}"
            continue
        if at is not None:
            has_cue = True
            lines[at] = lines[at].replace(",", ".") if form == "vtt" else lines[at]
        number = [str(len(kept) + 1)] if form == "srt" and at == 0 else []
        kept.append("\n".join(number + lines))
    even = "\n\n".join(kept) + "\n"
    return even if form == "vtt" else even.replace("\\N", "\n").replace("\\h", " ")


def _refuse_broken(whole: str, encoding: str) -> None:
    """Raise ValueError that names the first line that the library cannot read: it would skip it."""
    is_note = False
    for n, line in enumerate(whole.splitlines(), 1):
        if LONE.search(line):
            raise ValueError(f"line {n} is not {encoding.upper()}")
        is_note = bool(line.strip()) and (is_note or NO_CUE.match(line) is not None)
        if "-->" in line and not is_note and not TIMING.match(line):
            raise ValueError(f"line {n} is no line of times: expected 00:00:01.000 --> 00:00:02.000")


def _spans(caption: Caption) -> Iterator[tuple[str | None, str, float, float]]:
    """Each voice of a caption with its words, and the caption's times in seconds."""
    times = caption.start_time.in_milliseconds() / 1000, caption.end_time.in_milliseconds() / 1000
    before, *voices = VOICE.split(caption.raw_text)
    parts: list[tuple[str | None, str]] = [(None, before), *zip(voices[::2], voices[1::2], strict=True)]
    for voice, raw in parts:
        words = _plain(raw)
        if words:
            yield (None if voice is None else _plain(voice)), words, *times


def _plain(raw: Any) -> str:
    return html.unescape(TAG.sub("", raw)).strip()


VTT = TextFormat("vtt", "WebVTT, which begins with `WEBVTT`", _is_vtt, _vtt_lines)
SRT = TextFormat("srt", "SRT: a number, 00:00:01,000 --> 00:00:02,000, and text", _is_srt, _srt_lines)
