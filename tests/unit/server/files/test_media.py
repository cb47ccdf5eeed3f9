"""What bytes are, whatever their name says."""

from __future__ import annotations

import struct
import zlib

import pytest

from calltriage.errors import Rejected
from calltriage.server.files.media import checked_type, is_text, shown_image

PNG = (
    b"\x89PNG\r\n\x1a\n"
    + struct.pack(">I", 13)
    + b"IHDR"
    + struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    + zlib.compress(b"\0" * 4)
)
WAV = b"RIFF\x24\0\0\0WAVEfmt " + b"\0" * 40
PDF, HTML, ZIP = b"%PDF-1.7\n%\xe2\xe3\n1 0 obj", b"<html><script>x</script></html>", b"PK\x03\x04" + b"\0" * 60
EXE, ELF = b"MZ\x90\0" + b"\0" * 200, b"\x7fELF\x02\x01\x01" + b"\0" * 100
JPEG, GIF, MP3 = b"\xff\xd8\xff\xe0\0\x10JFIF\0" + b"\0" * 50, b"GIF89a" + b"\0" * 50, b"ID3\x03" + b"\0" * 100
MP4, OGG = b"\0\0\0\x18ftypmp42" + b"\0" * 50, b"OggS\0\x02" + b"\0" * 60
TEXT, NOISE = b"caller: where is my card?\n", bytes(range(128, 256)) * 4


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
        ("a.gif", PDF), ("a.mp4", HTML), ("a.webp", TEXT), ("report.pdf", ELF),
    ],
)  # fmt: skip
def test_a_file_that_lies_about_itself_is_refused(name: str, head: bytes) -> None:
    with pytest.raises(Rejected) as caught:
        checked_type(name, head)
    assert (caught.value.code, caught.value.field) == ("media_type_mismatch", "name")


@pytest.mark.parametrize(
    ("head", "shown"),
    [(PNG, "image/png"), (JPEG, "image/jpeg"), (GIF, "image/gif"), (PDF, None), (TEXT, None), (b"", None)],
)
def test_pictures_that_can_be_shown(head: bytes, shown: str | None) -> None:
    assert shown_image(head) == shown


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
