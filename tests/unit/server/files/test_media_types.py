"""What bytes are, whatever their name says."""

from __future__ import annotations

import struct

import pytest
from file_bytes import (
    ELF,
    EXE,
    FRAME,
    GIF,
    HTML,
    JFIF,
    JPEG,
    MP3,
    MP4,
    NOISE,
    OGG,
    OPUS,
    PDF,
    PNG,
    SPEEX,
    TEXT,
    WAV,
    ZIP,
)

from calltriage.errors import Rejected
from calltriage.server.files.media_types import checked_type, is_text
from calltriage.server.files.pictures import shown_image


@pytest.mark.parametrize(
    ("name", "head", "media_type"),
    [
        ("a.png", PNG, "image/png"), ("call.wav", WAV, "audio/x-wav"), ("a.pdf", PDF, "application/pdf"),
        ("a.html", HTML, "text/html"), ("a.txt", TEXT, "text/plain"), ("a.txt", HTML, "text/plain"),
        ("a.json", b'{"a": 1}', "application/json"), ("a.csv", b"a,b\n1,2\n", "text/csv"), ("a.zip", ZIP, "application/zip"),
        ("a.docx", ZIP, "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        ("a.jpg", JPEG, "image/jpeg"), ("a.gif", GIF, "image/gif"), ("a.mp3", MP3, "audio/mpeg"),
        ("a.mp4", MP4, "video/mp4"), ("a.ogg", OGG, "audio/ogg"), ("a.svg", b"<svg xmlns='x'/>", "image/svg+xml"),
        ("a.txt", "é".encode() * 5000, "text/plain"), ("a.txt", "text".encode("utf-16"), "text/plain"),
        ("empty.png", b"", "image/png"), ("empty", b"", "application/octet-stream"),
        ("a.bin", NOISE, "application/octet-stream"),
        ("notes", TEXT, "text/plain"), ("picture", PNG, "image/png"), ("unknown", NOISE, "application/octet-stream"),
        ("a.exe", EXE, None),
        ("a.opus", OPUS, "audio/ogg"), ("a.oga", OPUS, "audio/ogg"), ("a.OGG", OPUS, "audio/ogg"),
        ("voice", OPUS, "audio/ogg"),
        ("a.spx", SPEEX, "audio/ogg"), ("a.csv", "1;Grüße – „ja“\r\n".encode("cp1252"), "text/csv"),
        ("a.txt", "Größe".encode("latin-1"), "text/plain"),
        ("a.csv", "番号,内容\r\n1,こんにちは".encode("shift_jis"), "text/csv"),
        ("a.txt", "番号,内容".encode("shift_jis") * 1000, "text/plain"), ("a.txt", "Ответ".encode("cp1251"), "text/plain"),
        ("a.html", "<html><p>Größe".encode("cp1252"), "text/html"), ("a.pdf", b"\xef\xbb\xbf\r\n" + PDF, "application/pdf"),
        ("a.pdf", b"HTTP/1.1 200 OK\r\n\r\n" + PDF, "application/pdf"), ("a.pdf", b"\0" * 900 + PDF, "application/pdf"),
    ],
)  # fmt: skip
def test_a_file_that_is_what_its_name_says_has_its_type(name: str, head: bytes, media_type: str | None) -> None:
    found = checked_type(name, head[:8192])
    assert (
        media_type is None
        or found == media_type
        or (media_type == "audio/x-wav" and found in {"audio/wav", "audio/vnd.wave"})
    )


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("a.png", HTML), ("a.png", EXE), ("a.png", PDF), ("a.png", WAV), ("a.jpg", TEXT), ("a.wav", HTML), ("a.wav", PNG),
        ("a.wav", EXE), ("a.pdf", HTML), ("a.pdf", PNG), ("a.pdf", EXE), ("a.txt", EXE), ("a.txt", ELF), ("a.txt", PNG),
        ("a.csv", NOISE + b"\0"), ("a.json", PDF), ("a.html", EXE), ("a.zip", EXE), ("a.docx", ELF), ("a.mp3", TEXT),
        ("a.opus", TEXT), ("a.spx", PNG), ("a.png", OPUS), ("a.txt", OPUS), ("a.txt", NOISE), ("a.csv", b"\x01\x02\xff" * 9),
        ("a.pdf", EXE + PDF), ("a.pdf", HTML + PDF), ("a.pdf", b"see %PDF- there"),
        ("a.gif", PDF), ("a.mp4", HTML), ("a.webp", TEXT), ("report.pdf", ELF),
        ("a.csv", ZIP), ("a.txt", ZIP), ("a.json", ZIP),
    ],
)  # fmt: skip
def test_a_file_that_lies_about_itself_is_refused(name: str, head: bytes) -> None:
    with pytest.raises(Rejected) as caught:
        checked_type(name, head)
    assert (caught.value.code, caught.value.field) == ("media_type_mismatch", "name")


def webp(chunk: bytes, data: bytes) -> bytes:
    rest = b"WEBP" + chunk + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(rest)) + rest


LOSSY = webp(b"VP8 ", b"\x30\x01\0\x9d\x01\x2a\x01\0\x01\0" + b"\0" * 20)
LOSSLESS, EXTENDED = webp(b"VP8L", b"\x2f\0\0\0\0" + b"\0" * 15), webp(b"VP8X", b"\0" * 10)
EXIF = b"\xff\xe1\xff\xfe" + b"\0" * 0xFFFC


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (PNG, "image/png"), (JPEG, "image/jpeg"), (GIF, "image/gif"), (LOSSY, "image/webp"), (LOSSLESS, "image/webp"),
        (EXTENDED, "image/webp"), (JFIF + EXIF + FRAME + b"\xff\xda\0\x08", "image/jpeg"),
        (PDF, None), (TEXT, None), (b"", None), (WAV, None), (OPUS, None), (MP4, None), (HTML, None),
        (webp(b"XXXX", b"\0" * 20), None), (webp(b"VP8 ", b"\0" * 20), None), (webp(b"VP8L", b"\0" * 20), None),
        (webp(b"VP8X", b"\0" * 9 + b"\0" * 11), None), (LOSSY[:40], None), (b"XXXX" + LOSSY[4:], None),
        (b"RIFF\x24\0\0\0AVI LIST" + b"\0" * 40, None), (PNG[:20], None), (PNG[:16] + b"\0" * 13, None),
        (PNG[:12] + b"IDAT" + PNG[16:], None), (PNG[:24] + b"\x07" + PNG[25:], None),
        (b"\xff\xd8\xff", None), (JFIF, None), (JFIF + b"\xff\xda\0\x08" + b"\0" * 50, None), (JFIF + TEXT, None),
        (b"\xff\xd8\xff\xe0\0\0" + FRAME, None), (JFIF + FRAME[:5] + b"\0" * 20, None),
        (b"GIF89a" + b"\0" * 50, None), (b"GIF89a\x01\0\x01\0\0\0\0" + TEXT, None), (b"GIF89a is a format", None),
    ],
)  # fmt: skip
def test_only_what_surely_is_a_picture_is_shown(data: bytes, shown: str | None) -> None:
    assert shown_image(data, whole=True) == shown


@pytest.mark.parametrize("data", [PNG, JPEG, GIF, LOSSY + b"\0" * 9000, JFIF + EXIF + FRAME])
def test_a_picture_s_start_may_be_a_picture(data: bytes) -> None:
    assert shown_image(data[:8192]) is not None


@pytest.mark.parametrize(
    ("head", "whole", "text"),
    [
        (b"", True, True),
        (TEXT, True, True),
        ("é".encode()[:1], True, False),
        ("é".encode()[:1], False, True),
        (b"a\0", False, False),
        (NOISE, False, False),
    ],
)
def test_text_is_utf_8_without_nul(head: bytes, whole: bool, text: bool) -> None:
    assert is_text(head, whole=whole) is text
