"""The text of a file, whatever encoding it is in."""

from __future__ import annotations

import codecs

from calltriage.leaves.encodings import detected, marked, wide
from calltriage.server.files.media_types import SURE, is_text, seen

SAMPLE = 64 * 1024
"""Bytes that an encoding is told by."""


def text_in(data: bytes) -> tuple[str, str] | None:
    """The text of a file's bytes, and its encoding; None where they are no text."""
    return _text_in(data, whole=True)


def text_begun_in(data: bytes) -> tuple[str, str] | None:
    """As text_in, for the first bytes of a file: the last character may be cut."""
    return _text_in(data, whole=False)


def _text_in(data: bytes, *, whole: bool) -> tuple[str, str] | None:
    if is_text(data, whole=whole):
        return data.decode("utf-8-sig", "strict" if whole else "ignore"), "utf-8"
    encoding = marked(data)
    if encoding is None and not _is_other(data):
        encoding = wide(data[:SAMPLE]) or detected(_beyond_ascii(data))
    if encoding is None:
        return None
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(data, whole)
    except UnicodeDecodeError:
        return None
    return (text, encoding) if all(one.isprintable() or one.isspace() for one in text) else None


def _is_other(data: bytes) -> bool:
    """Whether bytes surely are of a format that is no text."""
    return any(one.sure >= SURE and one.family not in {"text", "other"} for one in seen(data))


def _beyond_ascii(data: bytes) -> bytes:
    """The lines that an encoding can be told by, as far as they are needed."""
    found = bytearray()
    for line in data.splitlines(keepends=True):
        if not line.isascii() or b"\0" in line:
            found += line[: SAMPLE - len(found)]
        if len(found) >= SAMPLE:
            break
    return bytes(found)
