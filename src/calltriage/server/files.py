"""Local files that a tool may read: regular files below the allowed roots, nothing that a link leads out to."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import anyio
import anyio.to_thread

from calltriage.errors import Rejected

CHUNK = 256 * 1024
OPEN_FLAGS = os.O_RDONLY | sum(
    getattr(os, flag, 0)  # each where the platform has it
    for flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY")
)
STEPS_DOWN = os.open in os.supports_dir_fd
"""Whether a folder can be opened from its parent's handle; Windows cannot."""


@dataclass(frozen=True)
class OpenFile:
    """An opened file: what is read later is what was checked."""

    name: str
    size: int
    file: BinaryIO

    async def chunks(self) -> AsyncIterator[bytes]:
        """The bytes from the start, `size` of them. Raises Rejected when the file shrank meanwhile."""
        self.file.seek(0)
        left = self.size
        while left:
            chunk = await anyio.to_thread.run_sync(self.file.read, min(CHUNK, left))
            if not chunk:
                raise Rejected("The file shrank while it was read.", code="file_changed", field="path")
            left -= len(chunk)
            yield chunk


@dataclass(frozen=True)
class FileRoots:
    """Folders below which a path argument may lie. Empty: no local file may be read.

    `private` folders are closed even inside a root; `limit` is the largest file in bytes.
    """

    roots: tuple[Path, ...] = ()
    private: tuple[Path, ...] = ()
    limit: int = 100 * 2**20

    @asynccontextmanager
    async def open(self, path: str) -> AsyncGenerator[OpenFile]:
        """Open a file for reading. Raises Rejected, without saying whether anything outside the roots exists."""
        if not self.roots:
            raise Rejected(
                "Local files are not enabled here. Pass text instead, or ask the operator to set CALLTRIAGE_ALLOWED_ROOTS.",
                code="path_not_allowed",
                field="path",
            )
        opened = await anyio.to_thread.run_sync(self._open, path)
        try:
            yield opened
        finally:
            opened.file.close()

    def _open(self, path: str) -> OpenFile:
        try:
            given = Path(path).expanduser()
            if not given.is_absolute():
                given = self.roots[0] / given
            real = given.resolve()
        except (OSError, RuntimeError, ValueError):
            raise _outside(self.roots) from None
        inside, closed = (
            any(real.is_relative_to(folder.resolve()) for folder in folders) for folders in (self.roots, self.private)
        )
        if closed or not inside:
            raise _outside(self.roots)
        try:
            handle = _open_without_links(real)
        except OSError:
            raise Rejected(
                "The file does not exist or cannot be read. Check the path.", code="file_not_found", field="path"
            ) from None
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode) or about.st_size > self.limit:
            os.close(handle)
            if stat.S_ISREG(about.st_mode):
                raise Rejected(f"The file is larger than {self.limit} bytes.", code="file_too_large", field="path")
            raise Rejected("Only regular files can be attached.", code="not_a_file", field="path")
        return OpenFile(real.name, about.st_size, os.fdopen(handle, "rb"))


def _open_without_links(real: Path) -> int:
    """Open a resolved path. It has no links, so whatever is a link on the way was put in since and is refused; O_NONBLOCK
    refuses to wait for a fifo."""
    if not STEPS_DOWN:
        return os.open(real, OPEN_FLAGS)
    folder = os.open(real.anchor, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in real.parts[1:-1]:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        return os.open(real.name, OPEN_FLAGS, dir_fd=folder)
    finally:
        os.close(folder)


def _outside(roots: tuple[Path, ...]) -> Rejected:
    return Rejected(
        "The path lies outside the folders that files may be read from.",
        code="path_not_allowed",
        field="path",
        allowed=[str(root) for root in roots],
    )
