"""The first bytes of files of many kinds."""

from __future__ import annotations

import struct
import zlib

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
FRAME = b"\xff\xc0\0\x0b\x08\0\x01\0\x01\x01\x01\x11\0"
JFIF = b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0"
JPEG, MP3 = JFIF + FRAME + b"\xff\xda\0\x08" + b"\0" * 50, b"ID3\x03" + b"\0" * 100
GIF = b"GIF89a\x01\0\x01\0\x80\0\0" + b"\0" * 6 + b"\x2c" + b"\0" * 20
OPUS, SPEEX = (
    b"OggS\0\2" + b"\0" * 20 + kind + b"\0" * 200 for kind in (b"\x01\x13OpusHead\x01", b"\x01\x50Speex   1.2")
)
MP4, OGG = b"\0\0\0\x18ftypmp42" + b"\0" * 50, b"OggS\0\x02" + b"\0" * 60
TEXT, NOISE = b"caller: where is my card?\n", bytes(range(128, 256)) * 4
