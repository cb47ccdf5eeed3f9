"""The text gate before everything that leaves the server, and the estimate of what it costs an agent to read."""

from __future__ import annotations

import json
import math
import re
from typing import Any, cast

INVISIBLE = re.compile(
    "["
    "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # control characters but tab, line feed, carriage return
    "\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"  # soft hyphen, joiners and fillers
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"  # zero width, direction, selectors
    "\ud800-\udfff"  # lone surrogates: no serialiser after us can write them
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff"  # musical controls, tags, more selectors
    "]"
)


def gate(value: Any) -> tuple[Any, int]:
    """The value with every invisible or direction-changing character shown as an escape, and how many there were.

    Keys are treated like values. What comes out can be written by any JSON serialiser and hides nothing from a reader.
    """
    count = 0

    def clean(item: Any) -> Any:
        nonlocal count
        match item:
            case str():
                shown, found = INVISIBLE.subn(_escape, item)
                count += found
                return shown
            case dict():
                return {clean(key): clean(member) for key, member in cast("dict[Any, Any]", item).items()}
            case list():
                return [clean(member) for member in cast("list[Any]", item)]
            case float() if not math.isfinite(item):
                return None
            case _:
                return item

    return clean(value), count


def _escape(found: re.Match[str]) -> str:
    point = ord(found[0])
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def compact(value: Any) -> str:
    """JSON as an agent gets it: no white space, characters as themselves."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


PIECES = re.compile(
    r"([A-Za-z]+)|([0-9]+)|(\s+)"
    r"|([\u00c0-\u024f\u0370-\u06ff\u0900-\u0e7f\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7a3]+)"
    r"|([\x00-\x7f])|([^\x00-\x7f])"
)
VOWEL = re.compile("[aeiouyAEIOUY]")


def estimate_tokens(text: str) -> int:
    """Tokens that a model reads for a text, erring high: 1.1 to 1.7 times o200k's count for transcripts in JSON.

    A tokenizer would be exact and cost more memory than the server has; the tests hold this against one.
    """
    total = 0.0
    for piece in PIECES.finditer(text):
        run, length = piece[0], len(piece[0])
        match piece.lastindex:
            case 1:  # words cost one token and a bit; letters that make no word cost one for every other letter
                wordlike = (run.islower() or run.istitle()) and len(VOWEL.findall(run)) * 4 >= length
                total += 1 + max(0, length - 4) / 3 if wordlike else max(1, length / 1.3)
            case 2:
                total += math.ceil(length / 3)
            case 3:
                if run != " ":
                    total += 1 + length / 8 if run == run[0] * length else length / 2
            case 4:
                total += len(run.encode()) / 2
            case 5:
                total += 1
            case _:
                total += len(run.encode("utf-8", "surrogatepass"))
    return math.ceil(total)


def fits(text: str, budget: int) -> bool:
    """Whether a text surely stays within a budget of tokens; no token is shorter than a byte."""
    return len(text.encode("utf-8", "surrogatepass")) <= budget or estimate_tokens(text) <= budget
