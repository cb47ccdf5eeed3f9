"""In which encoding a text is, if it is not UTF-8: told by its bytes."""

from __future__ import annotations

import codecs

MARKS = {
    b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32", b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}  # fmt: skip
"""Byte order marks, and the encodings that begin with them; a longer mark before one that it begins with."""
OTHERS = ("cp1252", "cp1250", "cp1251", "shift_jis", "gb18030", "euc_kr")
"""Encodings that a file may be in besides UTF-8 and UTF-16. A longer list is told apart less well."""
WIDE = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
"""Encodings of two or four bytes a character. Text in no other one holds the byte 0."""
TOLERANCE = 0.1
"""How much more disorder Windows-1252, the likeliest by far, may show than the Windows-1250 that is mistaken for it."""
FREQUENT = {
    "shift_jis": ("shift_jis", bytes([0x82, 0x83, *range(0x88, 0x98)])),
    "gb18030": ("gb2312", bytes(range(0xB0, 0xD8))),
    "euc_kr": ("euc_kr", bytes(range(0xB0, 0xC9))),
    "euc_jp": ("euc_jp", bytes([0xA4, 0xA5, *range(0xB0, 0xD0)])),
    "big5": ("big5", bytes(range(0xA4, 0xC7))),
}
"""Encodings with two bytes a character: in which character set, and under which first bytes, the frequent ones are."""
FEW = 4
"""Letters from which on it counts that most of them are not ASCII."""


def marked(head: bytes) -> str | None:
    """The encoding that a byte order mark says."""
    return next((encoding for mark, encoding in MARKS.items() if head.startswith(mark)), None)


def wide(head: bytes) -> str | None:
    """Which of the wide encodings bytes from the start of a file without a mark are in; None where they are in none."""
    if b"\0" not in head:
        return None
    from charset_normalizer import from_bytes  # noqa: PLC0415  rarely needed

    whole = head[: len(head) // 4 * 4] or head  # no character of four bytes is cut
    best = from_bytes(whole, cp_isolation=[one.replace("-", "_") for one in WIDE]).best()
    return None if best is None else best.encoding.replace("_", "-")


def detected(sample: bytes) -> str | None:
    """The encoding of bytes that are not UTF-8, are in no wide encoding and have no mark; None where they are no text."""
    from charset_normalizer import from_bytes  # noqa: PLC0415  rarely needed

    matches = [] if b"\0" in sample else list(from_bytes(sample, cp_isolation=list(OTHERS)))
    if not matches:
        return None
    near = [one for one in matches if one.chaos <= matches[0].chaos + TOLERANCE]
    found = matches[0].encoding
    if any("cp1252" in one.could_be_from_charset for one in near) and found in ("cp1250", "cp1252"):
        found = "cp1252"
    if found in FREQUENT:
        found = max(FREQUENT, key=lambda encoding: (_frequent(sample, encoding), encoding == matches[0].encoding))
    elif found != "cp1251" and _is_cyrillic(sample):
        found = "cp1251"
    return found.replace("_", "-")


def _frequent(sample: bytes, encoding: str) -> float:
    """How many of the characters beyond ASCII are frequent ones; -1 where the bytes are not in this encoding."""
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(sample)  # the last character may be cut
    except UnicodeDecodeError:
        return -1.0
    charset, first = FREQUENT[encoding]
    beyond = [one for one in text if not one.isascii()]
    return sum(one.encode(charset, "replace")[0] in first for one in beyond) / max(len(beyond), 1)


def _is_cyrillic(sample: bytes) -> bool:
    """Whether nearly all letters of a text are Cyrillic if it is Windows-1251: words of Latin letters are half ASCII."""
    letters = [one for one in sample.decode("cp1251", "replace") if one.isalpha()]
    return len(letters) >= FEW and sum("\u0400" <= one <= "\u04ff" for one in letters) > 0.6 * len(letters)
