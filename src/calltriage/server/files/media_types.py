"""What kind of file bytes are: said by their name, seen in their first bytes, and whether the two agree."""

from __future__ import annotations

import codecs
import mimetypes
import re
from dataclasses import dataclass
from typing import Any, cast

from calltriage.errors import Rejected
from calltriage.leaves.encodings import marked, wide

HEAD = 8192
"""Bytes from the start of a file that are looked at."""
UNKNOWN = "application/octet-stream"
SURE = 0.4
"""Confidence from which on the library's finding counts; a single two-byte match stays below it."""
TEXTUAL = ("json", "xml", "javascript", "yaml", "toml", "csv", "x-ndjson", "x-sh", "mpegurl", "x-subrip", "sql")
PACKED = "vnd.openxmlformats"
"""How the types of office files begin, which are archives."""
RECORDINGS: dict[str, str] = dict.fromkeys((".ogg", ".oga", ".opus", ".spx"), "audio/ogg")
"""Endings of recordings whose types differ from machine to machine."""
CODINGS = ("cp1252", "latin-1", "cp1250", "cp1251", "cp932", "euc-jp", "euc-kr", "big5")
"""Encodings of text besides Unicode."""
A_PDF = re.compile(rb"%PDF-[0-9]\.[0-9]")
PDF_BEGINS = 1024
"""Bytes within which a PDF's mark stands; readers take any before it."""
PLAYED = frozenset({"audio", "video"})
"""Containers such as MP4 and Ogg hold either."""


@dataclass(frozen=True)
class Seen:
    """A format that the first bytes fit."""

    extension: str
    media_type: str
    sure: float

    @property
    def family(self) -> str:
        return "program" if "executable" in self.media_type else family(self.media_type)


def family(media_type: str) -> str:
    """The kind of a media type: image, audio, video, text, pdf, program, or other. Types of one kind pass for each other."""
    major, _, minor = media_type.lower().partition("/")
    if major == "text" or (any(word in minor for word in TEXTUAL) and not minor.startswith(PACKED)):
        return "text"
    if major in {"image", "audio", "video"}:
        return major
    return {"pdf": "pdf", "x-msdownload": "program", "x-msdos-program": "program"}.get(minor, "other")


def named(name: str) -> str | None:
    """The media type that a file's name declares."""
    ending = "." + name.lower().rpartition(".")[2]
    return RECORDINGS.get(ending) or mimetypes.guess_type(name, strict=False)[0]


def known_type(media_type: str | None) -> str | None:
    """A media type that this machine knows; None for any other, which may be an uploader's own words."""
    return media_type if media_type and mimetypes.guess_extension(media_type, strict=False) else None


def seen(head: bytes) -> list[Seen]:
    """Formats that the bytes may be of, the likeliest first."""
    import puremagic  # noqa: PLC0415  reads its table of formats

    library = cast("Any", puremagic)  # it is typed in part only
    if head[:4] == b"\x7fELF":  # ELF, which the table has without a media type
        return [Seen("", "application/x-executable", 1.0)]
    if head[:4] == b"OggS":  # Ogg, which the table takes for many formats
        return [Seen("", "video/ogg" if b"\x80theora" in head else "audio/ogg", 1.0)]
    try:
        found: list[Any] = library.magic_string(head[:HEAD]) if head else []
    except (library.PureError, ValueError):
        return []
    formats = [Seen(one.extension.lower(), one.mime_type.lower(), float(one.confidence)) for one in found]
    return sorted((one for one in formats if one.media_type), key=lambda one: -one.sure)


def is_text(head: bytes, *, whole: bool = False) -> bool:
    """Whether bytes read as UTF-8 text; the last character may be cut unless they are the whole."""
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        if whole or error.start < len(head) - 3:
            return False
    return b"\x00" not in head


def _is_coded_text(head: bytes) -> bool:
    """Whether bytes read as text in a coding that is not Unicode's; the last character may be cut."""

    def reads(coding: str) -> bool:
        try:
            text = codecs.getincrementaldecoder(coding)().decode(head)
        except UnicodeDecodeError:
            return False
        return all(one.isprintable() or one.isspace() for one in text)

    return any(map(reads, CODINGS))


def checked_type(name: str, head: bytes) -> str:
    """The media type to store a file under: the one that its name declares, or the one that is seen.

    Raises Rejected when the bytes are surely something else than the name says: a program that opens a file by its name
    must not be misled.
    """
    declared, formats = named(name), [one for one in seen(head) if one.sure >= SURE]
    if not head:
        return declared or UNKNOWN
    if declared is None:
        return _told(formats, head)
    kind = family(declared)
    kinds = {one.family for one in formats if one.sure == formats[0].sure}  # others only share a container's mark
    fits = (
        kind in kinds
        or bool(kind in PLAYED and kinds & PLAYED)
        or (kind == "pdf" and not kinds and A_PDF.search(head, 0, PDF_BEGINS) is not None)
        or any(name.lower().endswith(one.extension) for one in formats if one.extension and one.family in kinds)
    )
    if fits or kind in {"other", "program"}:
        lies = not fits and "program" in kinds and declared != UNKNOWN and kind != "program"
    elif kind == "text":
        is_wide = marked(head) is not None or wide(head) is not None
        reads = is_text(head) or is_wide or _is_coded_text(head)
        lies = bool(kinds - {"text", "other"}) or not reads
    else:
        lies = bool(kinds) or is_text(head)
    if lies:
        raise Rejected(
            "The bytes are not of the kind that the name's ending says. Pass a name with the ending of what the file is.",
            code="media_type_mismatch",
            field="name",
        )
    return declared


def _told(formats: list[Seen], head: bytes) -> str:
    """The type of a file whose name says none."""
    if is_text(head):
        return "text/plain"
    kinds = {one.family for one in formats}
    return formats[0].media_type if len(kinds) == 1 else UNKNOWN
