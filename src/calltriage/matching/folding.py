"""Folds texts for every comparison of words: quotes, searches, look-alikes, names of members and of files.

Words are compared as lines: the pieces of a text (words, numbers, signs, characters of scripts without blanks) with a blank
before, between and after them. `line(wanted) in line(said)` then compares whole words and whole numbers: "$5" is not in
"$50", "I can" is not in "I can't", "1.5" is not in "11.5", "12" is not in "12:30".
"""

from __future__ import annotations

import re
import sys
import unicodedata
from functools import cache
from threading import Lock

from calltriage.leaves.gate import INVISIBLE

UNSPACED = (
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ece\u0edc-\u0edf\u1000-\u103f\u1050-\u108f\u109a-\u109d\u1780-\u17d3\u17d7\u17dc"
    "\u17dd\ua9e0-\ua9ef\ua9fa-\ua9fe\uaa60-\uaa7f\u1100-\u11ff\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3031-\u3035"
    "\u3038-\u303b\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u318e\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\ua4cf"
    "\uac00-\ud7fb\uf900-\ufaff\U0001b000-\U0001b16f\U00020000-\U0003ffff"
)
"""Characters of scripts that write no blanks between words (Thai, Lao, Burmese, Khmer, Chinese, Japanese), and of Hangul,
which writes particles at the word. Each is a piece, so that any part of such a text can be found."""

_SIGNS = {
    **dict.fromkeys("`´ʹʻʼʽˈ‘’‚‛′‵‹›׳", "'"),
    **dict.fromkeys("“”„‟«»″‶〝〞〟「」『』《》〈〉״❛❜❝❞⸂⸃⸄⸅⸉⸊⸌⸍⸜⸝⸠⸡", '"'),
    **dict.fromkeys("~֊־᐀᠆‐‑‒–—―−⁃⸗⸚⸺⸻⹀⹝〜〰゠", "-"),
    **dict(zip("٫٬،؛؟。、।·•‧・", ".,,;?.,.....", strict=True)),
    **dict.fromkeys("\x1c\x1d\x1e\x1f\x85\u2028\u2029\u2800", " "),
    **dict.fromkeys("İı", "i"),
    **dict.fromkeys("ـ", ""),
}
"""Replacements by character. Signs that keyboards lack become ASCII ones, separators become blanks, the Turkish letters i
become "i", the Arabic filler is dropped."""
_ODD = re.compile(f"[{re.escape(''.join(_SIGNS))}{INVISIBLE.pattern[1:-1]}]")
"""Characters that folding replaces as _SIGNS says, and invisible characters that it drops."""
_OTHER_DIGIT = re.compile(r"[^\D0-9]")
_ACCENTS = re.compile(
    "[\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc"
    "\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed\u0711\u0730-\u074a\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+"
)
"""Accents of Latin, Greek and Cyrillic letters, niqqud, harakat. Vowel signs of other scripts are letters."""
_STROKES = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "ħ": "h", "ŧ": "t", "æ": "ae", "œ": "oe", "þ": "th"}
    | {"ی": "ي", "ک": "ك", "ى": "ي"}
)
"""Letters that Unicode does not decompose into a plain letter and an accent; the Persian forms of Arabic letters."""
_SHOWN = re.compile(r"\\u([0-9a-f]{4})|\\U([0-9a-f]{8})", re.IGNORECASE)
"""An escape such as `\\u200b`, by which tools show an invisible character."""


def folded(text: str) -> str:
    """The text in plain characters. Compatibility forms, upper and lower case, the digits of all scripts, and the kinds of
    quotation marks, dashes and blanks become one. Invisible characters are dropped, also where they stand as escapes.
    Folding twice gives the same as folding once."""
    if "\\" in text:
        text = _SHOWN.sub(_unescaped, text)
    if not (text.isascii() and text.isprintable()):
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", _even(text)).casefold())
        text = _OTHER_DIGIT.sub(lambda found: str(unicodedata.decimal(found[0])), _even(text)).replace("i\u0307", "i")
    return " ".join(text.casefold().replace("`", "'").replace("~", "-").split())


def _even(text: str) -> str:
    return _ODD.sub(lambda found: _SIGNS.get(found[0], ""), text)


def _unescaped(found: re.Match[str]) -> str:
    point = int(found[1] or found[2], 16)
    return "" if point <= sys.maxunicode and INVISIBLE.match(chr(point)) else found[0]


def unaccented(text: str) -> str:
    """A folded text without accents, niqqud and harakat."""
    if text.isascii():
        return text
    plain = _ACCENTS.sub("", unicodedata.normalize("NFD", text))
    return unicodedata.normalize("NFC", plain).translate(_STROKES)


def exact_line(text: str) -> str:
    """The line of a text with its signs and accents."""
    return _line(folded(text))


def loose_line(text: str) -> str:
    """The line of a text without signs and accents."""
    return without_signs(exact_line(text))


def joined_line(text: str) -> str:
    """The loose line in which a word with an apostrophe is one word: "thats" for "that's"."""
    return without_signs(_line(re.sub(r"(?<=\w)'(?=\w)", "", folded(text))))


def _line(text: str) -> str:
    pieces = _forms().pieces.findall(re.sub(r"([^\w ])\1+", r"\1", text))
    line = f" {' '.join(pieces)} " if pieces else " "
    return re.sub("(?<= )'(?= )", '"', line)


def without_punctuation(line: str) -> str:
    """A line without signs; its words keep their accents."""
    return _forms().signs.sub("", line).replace("'", "")


def without_signs(line: str) -> str:
    """A line without signs and accents."""
    words = unaccented(without_punctuation(line))
    return words if line.isascii() else re.sub("  +", " ", words)  # an accent that stood alone leaves nothing


class _Forms:
    """Patterns, made at the first use: they need the Unicode category of 65,536 characters."""

    def __init__(self) -> None:
        kinds = bytes(ord(unicodedata.category(chr(point))[0]) for point in range(0x10000))
        marks = _ranges("M", kinds)
        signs = _ranges("PSCZ", kinds) + "\U0001f000-\U0001faff"
        word = f"[^{signs}{UNSPACED}]+"
        self.pieces = re.compile(
            f"[{UNSPACED}][{marks}]*"
            f"|{word}(?:(?<=[0-9])[.,:/](?=[0-9]){word})*(?:(?<=n)'t(?!{word}))?"  # a number is one, and so is "can't"
            r"|\S"
        )
        self.signs = re.compile(f" [{signs}](?= )")


def _ranges(wanted: str, kinds: bytes) -> str:
    """The code points of the wanted kinds, as ranges of a regular expression's set. `kinds` has a letter for each."""
    found = (run.span() for run in re.finditer(f"[{wanted}]+".encode(), kinds))
    return "".join(f"\\u{start:04x}-\\u{end - 1:04x}" for start, end in found)


_made = cache(_Forms)
_making = Lock()


def _forms() -> _Forms:
    """The patterns. The threads of a first search ask for them at once: one of them makes them, the others wait."""
    with _making:
        return _made()
