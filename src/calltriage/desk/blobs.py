"""File bytes in a local folder: named by their SHA-256, on disk for good before any row speaks of them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkstemp
from typing import BinaryIO

import anyio
import anyio.to_thread


@dataclass(frozen=True)
class Blob:
    """Stored bytes: size in bytes, SHA-256 and MD5 in hex."""

    size: int
    sha256: str
    md5: str


class TooLargeError(Exception):
    """More bytes came than the limit allows; nothing was kept."""


@dataclass(frozen=True)
class BlobFolder:
    """Blobs below `folder`, at `ab/cdef…`. Equal bytes are stored once."""

    folder: Path

    async def put(self, content: AsyncIterator[bytes], limit: int) -> Blob:
        """Store a stream without holding it in memory: temporary file, fsync, rename, fsync of the folder.

        Raises TooLargeError past `limit` bytes. Whatever breaks, the temporary file is removed.
        """
        sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, name = await anyio.to_thread.run_sync(lambda: mkstemp(dir=self.folder, prefix="part-"))
        try:
            with os.fdopen(handle, "wb") as part:
                async for chunk in content:
                    size += len(chunk)
                    if size > limit:
                        raise TooLargeError
                    sha256.update(chunk)
                    md5.update(chunk)
                    await anyio.to_thread.run_sync(part.write, chunk)
                await anyio.to_thread.run_sync(_settle, part, Path(name), self.path(sha256.hexdigest()))
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.Path(name).unlink(missing_ok=True)
        return Blob(size, sha256.hexdigest(), md5.hexdigest())

    def path(self, sha256: str) -> Path:
        return self.folder / sha256[:2] / sha256[2:]


def _settle(part: BinaryIO, written_to: Path, target: Path) -> None:
    part.flush()
    os.fsync(part.fileno())
    target.parent.mkdir(exist_ok=True, mode=0o700)
    written_to.replace(target)
    for folder in (target.parent, target.parent.parent):
        _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # a directory cannot be opened there; NTFS journals the rename
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
