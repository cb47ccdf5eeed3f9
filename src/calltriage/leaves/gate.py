"""The text gate before everything that leaves the server, and the estimate of what it costs an agent to read."""

from __future__ import annotations

import html
import json
import math
import re
import unicodedata
from collections.abc import Callable
from functools import cache
from typing import Any

from calltriage.leaves.strict_json import is_array, is_object

INVISIBLE = re.compile(
    "["
    "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # control characters but tab, line feed, carriage return
    "\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"  # soft hyphen, joiners and fillers
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffc"  # zero width, direction, selectors
    "\u2800"  # braille without dots
    "\ud800-\udfff"  # lone surrogates: no serialiser after us can write them
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3"  # hieroglyph and shorthand controls
    "\U0001d159\U0001d173-\U0001d17a\U000e0000-\U000e0fff"  # musical null and controls, tags, more selectors
    "]"
)

ALL_BUT_PRINTED = re.compile(f"{INVISIBLE.pattern}|[\t\n\r]")


def gate(value: object) -> tuple[Any, int]:
    """The value with every invisible or direction-changing character shown as an escape, and how many there were.

    Keys are treated like values. What comes out can be written by any JSON serialiser and hides nothing from a reader.
    """
    count = 0

    def clean(item: object) -> Any:
        nonlocal count
        if isinstance(item, str):
            if item.isascii() and item.isprintable():  # as most are
                return item
            shown, found = INVISIBLE.subn(_escape, item)
            count += found
            return shown
        if is_object(item):
            return {clean(key): clean(member) for key, member in item.items()}
        if is_array(item):
            return [clean(member) for member in item]
        return None if isinstance(item, float) and not math.isfinite(item) else item

    return clean(value), count


def one_line(text: str) -> str:
    """A text as one line of a terminal or a log shows it: line ends and tabs are escapes, too."""
    return ALL_BUT_PRINTED.sub(_escape, text)


UNSTORABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
"""Characters that the contracts' texts may not have, and lone surrogates, which cannot be sent."""


def storable(text: str) -> str:
    """A text with escapes for the characters that no flag, title or comment can store."""
    return UNSTORABLE.sub(_escape, text)


def bare(text: str) -> str:
    """A text as a lenient reader may take it: entities resolved, compatibility forms made plain, invisible characters and
    marks gone, case folded. For deciding what words would do, never for showing them."""
    visible = INVISIBLE.sub("", unicodedata.normalize("NFKD", html.unescape(text)))
    return "".join(one for one in visible if unicodedata.category(one)[0] not in "CM" or one.isspace()).casefold()


def _escape(found: re.Match[str]) -> str:
    point = ord(found[0])
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def compact(value: object) -> str:
    """JSON as an agent gets it: no white space, characters as themselves."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


PIECES = re.compile(
    r"(?P<joint>\},\{\"|\":\{\"|\":\[\"|\"\],\"|\":\"|\",\"|\"\},?"  # where JSON's members meet
    r"|\},\"|\{\"|\[\{\"|\[\"|\":|,\"|[.,?!] (?!\d|\Z))"
    r"|(?P<word>[A-Za-z]+)|(?P<digits>[0-9]+)|(?P<lone> (?= ?\d|\Z))|(?P<blank>\s+(?= \d)|\s+)"  # blanks join words only
    r"|(?P<accented>[\u0100-\u024f]+)|(?P<letters>[\u00c0-\u00ff\u0370-\u06ff\u0900-\u0e7f\u3040-\u30ff]+)"
    r"|(?P<ideograph>[\u4e00-\u9fff\uac00-\ud7a3])|(?P<sign>[\x00-\x7f])|(?P<other>[^\x00-\x7f])"
)
VOWEL = re.compile("[aeiouyAEIOUY]")
COMMON = (("gb2312", 0xB0, 0xD7, 1.5), ("big5", 0xA4, 0xC6, 2.0), ("euc_kr", 0xB0, 0xC8, 1.5))
"""Codecs, the first bytes under which they have a script's common characters, and the tokens that one of these costs in a
text of many."""


CHARACTERS = 8
"""Characters that the estimate takes for one token at most: a long run of blanks has so many, anything else fewer."""


def estimate_tokens(text: str, most: float = math.inf) -> int:
    """Tokens that a model reads for a text, erring high: about 1.5 times o200k's count for English calls in JSON.

    A tokenizer would be exact and cost more memory than the server has; the tests hold this against one. Counting stops
    above `most`: the result then only says that it is more.
    """
    cost = 0.0
    for piece in PIECES.finditer(text):
        cost += _cost(piece.lastgroup or "", piece[0])
        if cost > most:
            break
    return math.ceil(cost)


def _cost(kind: str, run: str) -> float:
    length = len(run)
    match kind:
        case "joint" | "sign" | "lone":
            return 1
        case "word":  # one token and a bit; letters that make no word cost one for every other letter
            wordlike = (run.islower() or run.istitle()) and len(VOWEL.findall(run)) * 4 >= length
            return 1 + max(0, length - 4) / 1.8 if wordlike else max(1, length / 1.3)
        case "digits":
            return math.ceil(length / 3)
        case "blank":
            return 0 if run == " " else 1 + length / 8 if run == run[0] * length else length / 2
        case "accented":
            return 1.5 * length
        case "letters":
            return len(run.encode()) / 2
        case "ideograph":
            return _of_ideograph(run)
        case _:
            return len(run.encode("utf-8", "surrogatepass"))


@cache
def _of_ideograph(character: str) -> float:
    """Tokens of an ideograph or Hangul syllable: fewer of those that are common in some script."""
    encoded = ((character.encode(codec, "ignore"), first, last, cost) for codec, first, last, cost in COMMON)
    return min((cost for code, first, last, cost in encoded if code and first <= code[0] <= last), default=3)


def fits(text: str, budget: int) -> bool:
    """Whether a text surely stays within a budget of tokens; no token is shorter than a byte."""
    if len(text) > CHARACTERS * budget + 1:
        return False
    return len(text.encode("utf-8", "surrogatepass")) <= budget or estimate_tokens(text, budget) <= budget


def fitting(text: str, budget: int) -> int:
    """How many characters of a text fit into a budget of tokens, as they are shown."""
    most = min(len(text), budget * CHARACTERS)
    return greatest(most, lambda length: fits(compact(gate(text[:length])[0]), budget), 64)


def greatest(most: int, holds: Callable[[int], bool], part: int) -> int:
    """The greatest length, up to `most`, for which `holds`; found to one part of so many, since each look takes its time,
    but one at least if one does. 0 where not even that does."""
    fit, too_long = 0, most + 1
    tried = most
    while tried > fit:
        fit, too_long = (tried, too_long) if holds(tried) else (fit, tried)
        if too_long - fit <= max(1, too_long // part):
            break
        tried = (fit + too_long) // 2
    return fit
