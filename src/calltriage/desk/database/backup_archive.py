"""The file that a backup is: a plain tar archive, written and read by one set of rules.

An archive holds whole files under known names and nothing else. It is read as a stranger's file: nothing is written
outside the target folder, no member unpacks to more than the archive's own size, and no header may ask for much memory.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import stat
import tarfile
from collections.abc import Collection, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from calltriage.desk.bytes.blobs import CHUNK, is_name
from calltriage.errors import StoreError
from calltriage.leaves.durable import sync

BLOBS = "blobs/"
"""Prefix of the names of members that hold bytes of files."""
BLOCK = tarfile.BLOCKSIZE
LONGEST_END = tarfile.RECORDSIZE + BLOCK
"""Most bytes of an archive's end: two empty blocks, and empty ones up to a whole record."""
NO_ARCHIVE = (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError)
"""What `tarfile` raises for an archive that is damaged or made to do harm."""


@dataclass(frozen=True)
class Kept:
    """Size in bytes and SHA-256 of a member. `twin_of`: for a link, which is not unpacked yet, the member with the same
    bytes."""

    size: int
    sha256: str
    twin_of: str | None = field(default=None, compare=False)


def pack(archive: tarfile.TarFile, path: Path, name: str) -> None:
    """Write a file as a whole member, also if it has other names. Raises FileNotFoundError, and StoreError for what is no
    regular file."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise StoreError(f"{path} is no regular file. Nothing was written.")
        member = tarfile.TarInfo(name)
        member.size, member.mtime, member.mode = found.st_size, int(found.st_mtime), 0o600
        archive.addfile(member, file)


def unpack(source: Path, folder: Path, names: Collection[str], *, keep_bytes: bool) -> dict[str, Kept]:
    """Write the members of `source` to `folder`. Returns them by name. Raises StoreError.

    The archive may hold `names` and bytes of files, nothing else. `keep_bytes=False` reads the bytes and does not write
    them. Members that are links are left to `write_twins`.
    """
    if not source.is_file():
        raise StoreError(f"There is no file {source}.")
    damaged = f"{source} is damaged, or not a backup of a desk. Nothing was changed."
    found: dict[str, Kept] = {}
    try:
        with _SmallHeaders(source.open("rb", buffering=0)) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            room = source.stat().st_size
            for member in archive:
                room -= member.size
                if member.name in found or room < 0 or not _may_stand(member, names, found):
                    raise StoreError(damaged)
                if member.islnk():
                    first = found[member.linkname]
                    found[member.name] = replace(first, twin_of=first.twin_of or member.linkname)
                    continue
                content = archive.extractfile(member) or io.BytesIO()
                written = keep_bytes or not member.name.startswith(BLOBS)
                found[member.name] = _write(content, _place(folder, member.name) if written else None)
            file.seek(archive.offset)
            end = file.read(LONGEST_END + 1)  # a truncated archive has no end, and nothing may follow the end
            if any(end) or not 2 * BLOCK <= len(end) <= LONGEST_END:
                raise StoreError(damaged)
    except NO_ARCHIVE as error:
        raise StoreError(damaged) from error
    return found


def _may_stand(member: tarfile.TarInfo, names: Collection[str], found: Collection[str]) -> bool:
    """Whether a backup may hold the member. Backups from older versions hold equal files as links to the first of them."""
    if member.size < 0:
        return False
    if member.name in names:
        return member.isreg()
    is_link = member.islnk() and member.linkname in found and member.linkname.startswith(BLOBS)
    return member.name.startswith(BLOBS) and is_name(member.name.removeprefix(BLOBS)) and (member.isreg() or is_link)


def _place(folder: Path, name: str) -> Path:
    """The path of a member. Makes the folders on the way, for their owner alone."""
    target = folder / name
    make_folders(folder, target)
    return target


def make_folders(root: Path, target: Path) -> None:
    """Make the folders between `root` and `target`, for their owner alone."""
    for folder in reversed(target.relative_to(root).parents):
        (root / folder).mkdir(exist_ok=True, mode=0o700)


def _write(content: IO[bytes], target: Path | None) -> Kept:
    """Read a member to its end. Writes it to `target` and syncs it, if given. Returns its size and hash."""
    digest, size = hashlib.sha256(), 0
    with nullcontext() if target is None else _made(target) as write:
        while piece := content.read(CHUNK):
            digest.update(piece)
            size += len(piece)
            if write is not None:
                write.write(piece)
        if write is not None:
            sync(write)
    return Kept(size, digest.hexdigest())


def write_twins(folder: Path, members: Mapping[str, Kept], names: Collection[str]) -> None:
    """Write those of `names` that are links: as hard links, or as copies where the file system has none. Raises
    StoreError if there is no room for the copies."""
    twins = {name: members[name].twin_of for name in names if members[name].twin_of is not None}
    copied = {
        name: first for name, first in twins.items() if first and not _linked(folder / first, _place(folder, name))
    }
    need = sum(members[name].size for name in copied)
    if need > shutil.disk_usage(folder).free:
        raise StoreError(
            f"This file system has no hard links, so the backup's equal files need {need} bytes, which are not free. "
            "Nothing was changed."
        )
    for name, first in copied.items():
        with (folder / first).open("rb") as read:
            _write(read, folder / name)


def _linked(first: Path, target: Path) -> bool:
    with suppress(OSError):  # not every file system has links
        os.link(first, target)
        return True
    return False


def _made(target: Path) -> IO[bytes]:
    """A new file, for its owner alone."""
    return os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600), "wb")


class _SmallHeaders(io.BufferedReader):
    """A file that refuses reads of more than CHUNK bytes: `tarfile` reads an extended header whole, whatever size it
    claims."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= CHUNK:
            raise tarfile.ReadError("a header is too large")
        return super().read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        if offset < 0:
            raise tarfile.ReadError("a header points before the file")
        return super().seek(offset, whence)
