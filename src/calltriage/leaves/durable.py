"""Files that are on disk for good: their bytes first, then the name that readers know them by."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import IO, BinaryIO


def sync(file: IO[bytes]) -> None:
    """Put what was written to a file on disk. Raises OSError where there is no room."""
    file.flush()
    os.fsync(file.fileno())


def write_whole(file: BinaryIO, data: bytes) -> None:
    """Write all of it: an unbuffered file may take a part at a time."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def sync_folder(folder: Path) -> None:
    """Put a folder's names on disk. Windows cannot open a folder; its file system keeps renames by itself."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def settle(draft: Path, target: Path) -> None:
    """Give a finished file its name: its bytes are on disk before, the name after."""
    with draft.open("rb") as written:
        os.fsync(written.fileno())
    draft.replace(target)
    sync_folder(target.parent)


def write(path: Path, data: bytes, like: os.stat_result | None = None) -> None:
    """Put a file in the place of what has its name, for its owner alone or with the mode and owner of another one.

    A reader sees the old file or the new one, never a part. Raises OSError, and then the old one stands.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        if like is not None and os.name != "nt":
            _take_after(draft, like)
        settle(draft, path)
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def _take_after(path: Path, like: os.stat_result) -> None:
    if (like.st_uid, like.st_gid) != (os.geteuid(), os.getegid()):
        os.chown(path, like.st_uid, like.st_gid)  # or the file would change hands, and its owner be locked out
    path.chmod(like.st_mode & 0o7777)
