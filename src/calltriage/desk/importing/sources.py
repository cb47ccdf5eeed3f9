"""Where an import comes from: files, folders, standard input, a request's body; as gzip or not, in any encoding."""

from __future__ import annotations

import gzip
import io
import os
import re
import shutil
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, BinaryIO, Literal, TextIO, cast

from calltriage.errors import ImportFileError
from calltriage.leaves.encodings import detected, marked, wide
from calltriage.leaves.gate import gate
from calltriage.operations.fields import is_opaque_id

GZIP = b"\x1f\x8b"
SAMPLE = 64 * 1024
"""Bytes by which the encoding of a file that is not UTF-8 is detected."""
LONE = re.compile("[\udc80-\udcff]")
"""The character that stands for a byte that is no text in the file's encoding."""


@dataclass(frozen=True)
class Source:
    """One file to import.

    Attributes:
        name: its name in messages about a place in it; empty if it is the only one.
        file: opens it from its start. Gzip is not unpacked.
        folder: where the files are that its lines name.
        stem: the id of a call that has none; None if the source has no name.
        changed: when it was last written, or arrived: the time of a call that has none.
        title: what messages about the whole of it call it: a file's path as it was given.
    """

    name: str
    file: Callable[[], BinaryIO]
    folder: Path | None = None
    stem: str | None = None
    changed: datetime | None = None
    title: str = ""

    @property
    def is_file(self) -> bool:
        return self.stem is not None or self.folder is not None

    @property
    def whole(self) -> str:
        """Its name in messages about the whole of it."""
        return self.name or self.title

    def at(self, place: str) -> str:
        """A place in it, for messages."""
        return f"{self.name}, {place}" if self.name else place


def find_sources(paths: Iterable[Path]) -> list[Source]:
    """Every named file, and every file in a named folder, in the order of their names, without hidden ones. Raises
    ImportFileError if there is none."""
    found: list[tuple[Path, Path]] = []
    for path in paths:
        if path.is_dir():
            found += ((file, path) for file in sorted(path.rglob("*")) if _is_meant(file, path))
        else:
            found.append((path, path.parent))
    if not found:
        raise ImportFileError("There is no file to import: the folder holds none.")
    names = Counter(file.relative_to(base) for file, base in found)
    return [_of_file(file, base, alike=names[file.relative_to(base)], of=len(found)) for file, base in found]


def _is_meant(file: Path, base: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(base).parts)
    return not hidden and not file.is_symlink() and file.is_file()


def _of_file(file: Path, base: Path, *, alike: int, of: int) -> Source:
    """The source of one of several files, of which `alike` have its name."""
    name, path = gate(str(file.relative_to(base)))[0], gate(str(file))[0]
    shown = "" if of == 1 else path if alike > 1 else name
    changed = datetime.fromtimestamp(os.stat(file).st_mtime, UTC)
    return Source(shown, lambda: file.open("rb"), file.absolute().parent, _stem(name), changed, path)


def _stem(name: str) -> str | None:
    """An id made of a file's name, without its endings."""
    plain = re.sub(r"(\.gz)?$", "", name)
    plain = re.sub(r"\.(jsonl?|ndjson|vtt|srt|csv|tsv|txt)$", "", plain, flags=re.IGNORECASE)
    stem = re.sub(r"[^A-Za-z0-9_.@+-]+", "-", plain).strip("-.")[:96]
    return stem if is_opaque_id(stem) else None


@contextmanager
def kept(stream: IO[bytes]) -> Generator[Source]:
    """A source that can be read only once, such as standard input, copied to a temporary file."""
    with tempfile.TemporaryFile() as copy:
        shutil.copyfileobj(stream, copy)

        def again() -> BinaryIO:
            copy.seek(0)
            return cast("BinaryIO", Borrowed(copy))

        yield Source("", again, changed=datetime.now(UTC), title="standard input")


class Borrowed(io.RawIOBase):
    """A file that its reader does not close."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def readable(self) -> Literal[True]:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        piece = self._file.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)


class Text:
    """The text of a source, which can be read as often as needed.

    Making one raises ValueError for a source that is no text, or is broken gzip.
    """

    def __init__(self, source: Source) -> None:
        self.source, self.encoding = source, "utf-8"
        with self._whole(), _unpacked(source) as file:
            encoding = _encoding(file)
        self._codec = encoding
        self.encoding = encoding.removesuffix("-sig")

    @contextmanager
    def open(self) -> Generator[TextIO]:
        """The text from its start. A byte that is no text in its encoding becomes a lone surrogate."""
        with (
            self._whole(),
            _unpacked(self.source) as file,
            io.TextIOWrapper(cast("BinaryIO", file), self._codec, errors="surrogateescape", newline="\n") as text,
        ):
            yield text

    @contextmanager
    def _whole(self) -> Generator[None]:
        try:
            yield
        except (EOFError, zlib.error, gzip.BadGzipFile):
            raise ValueError("is packed with gzip, and broken") from None
        except UnicodeDecodeError:  # half a character of two bytes
            raise ValueError(f"is not text in {self.encoding.upper()}: expected JSON, WebVTT, SRT or CSV") from None


@contextmanager
def _unpacked(source: Source) -> Generator[IO[bytes]]:
    with source.file() as raw, io.BufferedReader(cast("io.RawIOBase", raw)) as file:
        if file.peek(2)[:2] != GZIP:
            yield file
            return
        with gzip.GzipFile(fileobj=file) as unpacked:
            yield cast("IO[bytes]", unpacked)


def _encoding(file: IO[bytes]) -> str:
    """The encoding of a text. It is UTF-8 if any of it is UTF-8 beyond ASCII: other bytes are then faults."""
    head = file.read(SAMPLE)
    if (encoding := marked(head) or wide(head)) is not None:
        return encoding
    sample, is_utf8 = bytearray(), False
    for line in _pieces(head, file):
        if line.isascii() and b"\0" not in line:
            continue
        try:
            line.decode()
            is_utf8 = is_utf8 or b"\0" not in line
        except UnicodeDecodeError:
            pass
        if is_utf8:
            return "utf-8"
        sample += line
        if len(sample) >= SAMPLE:
            break
    return _told(bytes(sample)) if sample else "utf-8"


def _told(sample: bytes) -> str:
    encoding = detected(sample)
    if encoding is None:
        raise ValueError("is not text: expected JSON, WebVTT, SRT or CSV")
    return encoding


def _pieces(head: bytes, file: IO[bytes]) -> Iterator[bytes]:
    yield from (head + file.readline(SAMPLE)).splitlines(keepends=True)
    while line := file.readline(SAMPLE):
        yield line
