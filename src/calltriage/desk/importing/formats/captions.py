"""Captions: WebVTT and SRT. A voice tag (`<v Agent>`) or a mark before the words names the speaker.

A cue may hold the words of several speakers: one after each voice tag, or one a line, marked or with a dash before each.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeAlias

from calltriage.desk.importing.documents import MAX_LINE, Found
from calltriage.desk.importing.formats.format import TextFormat, turn
from calltriage.desk.importing.sources import LONE, Text
from calltriage.leaves.strict_json import JsonObject
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

DASH = re.compile(r"\s*[-\u2010-\u2015](?![-\u2010-\u2015\d])\s*(?=\S)")
"""A dash before the words of one of several speakers. Two dashes are an interruption, and one before a digit is a sign."""
BRACKETED = re.compile(r"\s*(?:>>\s*|-\s+)?\[")
Span: TypeAlias = tuple[str | None, str, float, float]
"""The words of one voice of a cue, or those of a cue without voice tags, and the cue's times in seconds."""


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
    turns = _turns([span for caption in read.captions for span in _spans(caption)])
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


def _spans(caption: Caption) -> Iterator[Span]:
    times = caption.start_time.in_milliseconds() / 1000, caption.end_time.in_milliseconds() / 1000
    before, *voices = VOICE.split(caption.raw_text)
    parts: list[tuple[str | None, str]] = [(None, before), *zip(voices[::2], voices[1::2], strict=True)]
    for voice, raw in parts:
        words = _plain(raw)
        if words:
            yield (None if voice is None else _plain(voice)), words, *times


def _turns(spans: list[Span]) -> list[JsonObject]:
    """A turn for each speaker of each cue. Speakers that share a cue by lines have its start and no length: when one ends
    and the next begins is not known."""
    marked = _marked([text for voice, words, _, _ in spans if voice is None for text in _by_line(words)])
    parts = [_parts(words, marked) if voice is None else [words] for voice, words, _, _ in spans]
    told = iter(by_marks([part for some in parts for part in some]))
    turns = list[JsonObject]()
    for (voice, words, start, end), some in zip(spans, parts, strict=True):
        said = _joined([next(told) for _ in some])
        until = end if len(said) == 1 else None
        turns += [turn(voice, words, start, end)] if voice else [turn(name, text, start, until) for name, text in said]
    return turns


def _joined(said: list[tuple[str | None, str]]) -> list[tuple[str | None, str]]:
    """Parts of a cue, those of one speaker in a row as one."""
    joined = list[tuple[str | None, str]]()
    for name, run in groupby(said, key=lambda one: one[0]):
        texts = [text for _, text in run]
        joined += [(None, text) for text in texts] if name is None else [(name, "\n".join(texts))]
    return joined


def _by_line(words: str) -> list[str]:
    """Each line of a cue, with the line below it, as a name may stand alone above the words. The dash before a line gets
    the form that it has in a speaker's mark."""
    lines = [line for line in words.split("\n") if line.strip()]
    spaced = [DASH.sub("- ", line, count=1) for line in lines]
    return [f"{line}\n{below}" for line, below in zip(spaced, [*lines[1:], ""], strict=True)]


def _marked(texts: list[str]) -> set[str]:
    """The lines that begin with a speaker's mark. That all lines are marked makes speakers only where no name is a role or
    comes again: else `Note: …` in a cue of an agent's would be one."""
    told = by_marks([*texts, ""])[:-1]
    if not any(name for name, _ in told):
        told = by_marks(texts)
    return {text for text, (name, _) in zip(texts, told, strict=True) if name}


def _parts(words: str, marked: set[str]) -> list[str]:
    """The words of a cue, apart where another speaker begins: at a marked line, and at each line if all have a dash."""
    lines, texts = [line for line in words.split("\n") if line.strip()], _by_line(words)
    if len(lines) > 1 and all(DASH.match(line) for line in lines):
        return [DASH.sub("", line, count=1) for line in lines]
    parts = list[list[str]]()
    for line, text in zip(lines, texts, strict=True):
        is_marked = text in marked and (not parts or _may_follow(text, texts[0]))
        if parts and not is_marked:
            parts[-1].append(line)
        else:
            parts.append([text.split("\n")[0] if is_marked else line])
    return ["\n".join(part) for part in parts]


def _may_follow(text: str, first: str) -> bool:
    """Whether a mark inside a cue is a speaker's: it names a role, or is written as the cue's first line is. `[laughs]`
    below `Agent: …` is none."""
    is_role = by_marks([text])[0][0] is not None
    return is_role or (BRACKETED.match(text) is None) == (BRACKETED.match(first) is None)


def _plain(raw: Any) -> str:
    return html.unescape(TAG.sub("", raw)).strip()


VTT = TextFormat("vtt", "WebVTT, which begins with `WEBVTT`", _is_vtt, _vtt_lines)
SRT = TextFormat("srt", "SRT: a number, 00:00:01,000 --> 00:00:02,000, and text", _is_srt, _srt_lines)
