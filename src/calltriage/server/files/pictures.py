"""Whether bytes surely are a picture that models look at: each format is read as far as its header, sizes included.

A mark alone is not enough. A recording begins with the same four bytes as WebP, and a host that hands a broken picture to
its model loses the conversation.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import unpack_from

SAMPLES = {0: {1, 2, 4, 8, 16}, 2: {8, 16}, 3: {1, 2, 4, 8}, 4: {8, 16}, 6: {8, 16}}
"""PNG: bits of a sample by colour type."""
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""JPEG: markers of a frame's header, which has the picture's size."""
BARE = frozenset({0x01, *range(0xD0, 0xD8)})
"""JPEG: markers without a length."""


def _png(data: bytes, *, whole: bool) -> bool:
    del whole  # the header stands at the start
    if len(data) < 29 or data[8:16] != b"\0\0\0\rIHDR":
        return False
    width, height, bits, colour, packing, filtering, interlaced = unpack_from(">IIBBBBB", data, 16)
    sized = 0 < width < 2**31 and 0 < height < 2**31
    return sized and bits in SAMPLES.get(colour, ()) and (packing, filtering) == (0, 0) and interlaced in {0, 1}


def _jpeg(data: bytes, *, whole: bool) -> bool:
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            return False
        marker = data[at + 1]
        if marker == 0xFF or marker in BARE:
            at += 1 if marker == 0xFF else 2
            continue
        (length,) = unpack_from(">H", data, at + 2)
        if marker in FRAMES and at + 10 <= len(data):
            bits, height, width, parts = unpack_from(">BHHB", data, at + 4)
            return bits in {8, 12} and min(width, height) > 0 and 1 <= parts <= 4 and length == 8 + 3 * parts
        if length < 2 or marker in {0xD8, 0xD9, 0xDA}:  # the data begin, or the picture ends, without a frame
            return False
        at += 2 + length
    return not whole


def _gif(data: bytes, *, whole: bool) -> bool:
    if len(data) < 13:
        return False
    width, height, flags = unpack_from("<HHB", data, 6)
    first = 13 + (3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0)  # after the table of colours
    return min(width, height) > 0 and (data[first] in b"\x21\x2c" if first < len(data) else not whole)


def _webp(data: bytes, *, whole: bool) -> bool:
    if len(data) < 30:
        return False
    (size,), (length,) = unpack_from("<I", data, 4), unpack_from("<I", data, 16)
    if length + 12 > size or (whole and size + 8 > len(data)):
        return False
    match data[12:16]:
        case b"VP8 ":
            width, height = unpack_from("<HH", data, 26)
            return not data[20] & 1 and data[23:26] == b"\x9d\x01\x2a" and min(width & 0x3FFF, height & 0x3FFF) > 0
        case b"VP8L":
            return length >= 5 and data[20] == 0x2F and data[24] >> 5 == 0
        case b"VP8X":
            return length == 10
        case _:
            return False


FORMATS: tuple[tuple[str, bytes, int, Callable[..., bool]], ...] = (
    ("image/png", b"\x89PNG\r\n\x1a\n", 0, _png),
    ("image/jpeg", b"\xff\xd8\xff", 0, _jpeg),
    ("image/gif", b"GIF87a", 0, _gif),
    ("image/gif", b"GIF89a", 0, _gif),
    ("image/webp", b"WEBP", 8, _webp),
)
"""By media type: the mark, where it stands, and what reads the header."""


def shown_image(data: bytes, *, whole: bool = False) -> str | None:
    """The media type of a picture that a model can look at; None for anything else, whatever it is called.

    Unless the data are the `whole` file, a header that goes on behind their end counts as good.
    """
    for media_type, mark, place, reads in FORMATS:
        if data.startswith(mark, place) and (media_type != "image/webp" or data.startswith(b"RIFF")):
            return media_type if reads(data, whole=whole) else None
    return None
