"""Local files that a tool may read or make: regular files below the allowed roots, nothing that a link leads out to."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import BinaryIO
from unicodedata import category

import anyio
import anyio.to_thread

from calltriage.errors import Rejected
from calltriage.leaves.folders import FLAGS
from calltriage.leaves.gate import INVISIBLE
from calltriage.matching.folding import folded

CHUNK = 2**20
"""Bytes that are read or written at once."""
MOST_OF_A_NAME = 99
"""Files of one name, numbered, in one folder."""
MOST_BYTES = 200
"""Bytes of a file's name, which leave room for a number."""
DEVICE = re.compile(r"(?i)(con|prn|aux|nul|(com|lpt)[0-9¹²³]|con(in|out)\$)\s*([.].*)?")
"""Names that mean a device to Windows, whatever ending they have."""
MOST_ENTRIES = 20_000
"""Entries of a folder among which a name is looked for."""
NAMED = 3
"""Open folders that a message names; `allowed` has more."""
NO_ROOTS = "Local files are not enabled here. Pass text instead, or ask the operator to set CALLTRIAGE_ALLOWED_ROOTS."
STEPS_DOWN = os.open in os.supports_dir_fd
"""Whether a folder can be opened from its parent's handle; Windows cannot."""


@dataclass(frozen=True)
class OpenFile:
    """An opened file: what is read later is what was checked."""

    name: str
    size: int
    file: BinaryIO

    async def head(self, size: int) -> bytes:
        """The first bytes."""
        self.file.seek(0)
        return await anyio.to_thread.run_sync(self._read, min(size, self.size))

    def _read(self, size: int) -> bytes:
        try:
            return self.file.read(size)
        except OSError:
            raise Rejected("The file cannot be read to its end.", code="file_not_found", field="path") from None

    def grew(self) -> bool:
        """Whether the file is longer now than when it was opened."""
        return os.fstat(self.file.fileno()).st_size > self.size

    async def chunks(self) -> AsyncIterator[bytes]:
        """The bytes from the start, `size` of them. Raises Rejected when the file shrank meanwhile."""
        self.file.seek(0)
        left = self.size
        while left:
            chunk = await anyio.to_thread.run_sync(self._read, min(CHUNK, left))
            if not chunk:
                raise Rejected(
                    "The file shrank while it was read. Call again once nothing writes to it.",
                    code="file_changed",
                    field="path",
                )
            left -= len(chunk)
            yield chunk


@dataclass(frozen=True)
class FileRoots:
    """Folders below which a path argument may lie. Empty: no local file may be read or made.

    `private` folders are closed even inside a root. `limit` is the largest file in bytes. `writable=False` forbids saving.
    `asks=True` adds the folders that the host declares.
    `closed` says why there are none, where no setting opens any.
    """

    roots: tuple[Path, ...] = ()
    private: tuple[Path, ...] = ()
    limit: int = 100 * 2**20
    writable: bool = True
    asks: bool = False
    closed: str | None = None

    def and_of_host(self, folders: Iterable[Path]) -> FileRoots:
        """These roots, and after them the folders that a host declared, homes and what holds them left out."""
        return replace(self, roots=(*self.roots, *without_homes(folders)))

    def reach(self, path: str) -> bool:
        """Whether a path lies below a root, also if there is no file."""
        try:
            return bool(self._below_root(path))
        except Rejected:
            return False

    @asynccontextmanager
    async def open(self, path: str) -> AsyncGenerator[OpenFile]:
        """Open a file for reading. Raises Rejected, without saying whether anything outside the roots exists."""
        if not self.roots:
            raise Rejected(self.closed or NO_ROOTS, code="path_not_allowed", field="path")
        opened = await anyio.to_thread.run_sync(self._open, path)
        try:
            yield opened
        finally:
            opened.file.close()

    async def save(self, folder: str, name: str, pieces: AsyncIterator[bytes]) -> Saved:
        """Make a new file of the pieces in a folder below a root, whole or not at all, over nothing that is there: a name
        that is taken gets a number. Raises Rejected like `open`, and whatever the pieces raise."""
        if not self.roots or not self.writable:
            raise Rejected(
                "Nothing is saved to local files here. Leave save_to out.", code="path_not_allowed", field="save_to"
            )
        opened = await anyio.to_thread.run_sync(self._open_folder, folder)
        draft: Draft | None = None
        try:
            draft = await anyio.to_thread.run_sync(lambda: Draft(*opened))
            async for piece in pieces:
                await anyio.to_thread.run_sync(draft.write, piece)
            return await anyio.to_thread.run_sync(draft.keep, file_name(name))
        except OSError as error:
            raise Rejected(
                f"The file cannot be written there ({error.strerror or type(error).__name__}).",
                code="cannot_save",
                field="save_to",
            ) from None
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(_closed, draft, opened[1])

    def _open_folder(self, path: str) -> tuple[Path, int | None]:
        """A folder below a root, and its handle where the platform has such."""
        real = self._below_root(path, "save_to")
        if not real.is_dir():
            raise Rejected("The folder does not exist. Make it first.", code="file_not_found", field="save_to")
        try:
            return real, _open_without_links(real, os.O_DIRECTORY) if STEPS_DOWN else None
        except OSError:
            raise _outside(self.roots, "save_to") from None

    def _below_root(self, path: str, field: str = "path") -> Path:
        """The path without links. Raises Rejected when it is not below a root."""
        try:
            given = Path(path).expanduser()
            if not given.is_absolute() and self.roots:
                given = self.roots[0] / given
            real = Path(os.path.realpath(given))  # a loop of links stays in it and is refused when it is opened
        except (OSError, RuntimeError, ValueError):
            raise _outside(self.roots, field) from None
        self._check(real, field)
        if os.path.lexists(real):
            return real
        real = Path(os.path.realpath(_as_named(real, [folder.resolve() for folder in self.roots])))
        self._check(real, field)
        return real

    def _check(self, real: Path, field: str) -> None:
        """Raise Rejected for a path without links that is not below a root, or is in a private folder."""
        inside = any(real.is_relative_to(folder.resolve()) for folder in self.roots)
        if not inside:
            raise _outside(self.roots, field)
        if _lies_in(real, self.private):
            raise Rejected(
                "The path lies in the server's own data folder, which is closed even where a folder around it is open. Copy "
                "the file to another place below an open folder.",
                code="path_not_allowed",
                field=field,
                allowed=_named(self.roots),
            )

    def _open(self, path: str) -> OpenFile:
        real = self._below_root(path)
        try:
            handle = _open_without_links(real)
        except (OSError, ValueError):
            raise Rejected(
                "The file does not exist or cannot be read. Check the path.", code="file_not_found", field="path"
            ) from None
        file = os.fdopen(handle, "rb")
        try:
            about = os.fstat(handle)
            _check_regular(about)
            if about.st_size > self.limit:
                raise Rejected(f"The file is larger than {self.limit} bytes.", code="file_too_large", field="path")
        except BaseException:
            file.close()
            raise
        return OpenFile(real.name, about.st_size, file)


@dataclass(frozen=True)
class Saved:
    """A file that was made: where, its size and its SHA-256 in hex."""

    path: Path
    size: int
    sha256: str


class Draft:
    """A new file under a hidden random name, until `keep` gives it its own."""

    def __init__(self, folder: Path, handle: int | None) -> None:
        self._folder, self._handle = folder, handle
        self._name = f".{secrets.token_hex(8)}.part"
        self._size, self._digest = 0, hashlib.sha256()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | FLAGS
        self._file = os.fdopen(os.open(self._place(self._name), flags, 0o600, dir_fd=handle), "wb")

    def _place(self, name: str) -> str | Path:
        return name if self._handle is not None else self._folder / name

    def write(self, piece: bytes) -> None:
        self._file.write(piece)
        self._digest.update(piece)
        self._size += len(piece)

    def keep(self, name: str) -> Saved:
        self._file.close()
        stem, dot, ending = name.rpartition(".")
        for number in range(1, MOST_OF_A_NAME + 1):
            numbered = name if number == 1 else f"{stem} ({number}).{ending}" if dot else f"{name} ({number})"
            try:
                self._give_name(numbered)
            except FileExistsError:
                continue
            return Saved(self._folder / numbered, self._size, self._digest.hexdigest())
        raise FileExistsError(errno.EEXIST, "too many files of this name")

    def _give_name(self, name: str) -> None:
        """Give the draft its name. Raises FileExistsError if the name is taken, as a second link does. On a file system
        without links an empty file takes the name, and the draft is renamed over it."""
        here, there = self._place(self._name), self._place(name)
        try:
            os.link(here, there, src_dir_fd=self._handle, dst_dir_fd=self._handle, follow_symlinks=False)
        except FileExistsError:
            raise
        except (OSError, NotImplementedError):
            os.close(os.open(there, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=self._handle))
            try:
                os.replace(here, there, src_dir_fd=self._handle, dst_dir_fd=self._handle)
            except OSError:
                os.unlink(there, dir_fd=self._handle)
                raise

    def close(self) -> None:
        with suppress(OSError):  # what a full disk did not take
            self._file.close()
        with suppress(OSError):
            os.unlink(self._place(self._name), dir_fd=self._handle)
        if self._handle is not None:
            os.close(self._handle)


def _closed(draft: Draft | None, handle: int | None) -> None:
    """Close a draft; without one, close the folder's handle."""
    if draft is not None:
        draft.close()
    elif handle is not None:
        os.close(handle)


def without_homes(folders: Iterable[Path]) -> tuple[Path, ...]:
    """The given folders, except the user's home and folders above it: hosts start servers in, and declare, `/` or a folder
    of the system, which nobody meant to open."""
    try:
        home = Path.home().resolve()
    except (OSError, RuntimeError):  # a user without a home
        return ()
    return tuple(folder for folder in folders if not home.is_relative_to(os.path.realpath(folder)))


def attachment_name(name: str) -> str:
    """A name as an attachment's: no path in front, nothing invisible. Empty when nothing is left."""
    last = re.sub(r"[\t\n\r]", "_", INVISIBLE.sub(_joining, re.split(r"[/\\]", name)[-1])).strip()
    return "" if last in {".", ".."} else last


def _joining(found: re.Match[str]) -> str:
    """The replacement of an invisible character in a name: itself where it joins letters, as in Persian, or the parts of an
    emoji; otherwise an underscore."""
    before, after = found.string[: found.start()][-1:], found.string[found.end() :][:1]
    within = (before > "\x7f" and category(before)[0] in "LMS") and (after and category(after)[0] in "LMNS")
    return found[0] if found[0] in "\u200c\u200d" and within else "_"


def file_name(name: str) -> str:
    """An attachment's name as a file's: not hidden, not too long, nothing that a system gives a meaning to."""
    last = re.sub(r'[<>:"|?*]', "_", attachment_name(name)).strip(" .")
    while len(last.encode("utf-8", "replace")) > MOST_BYTES:
        stem, dot, ending = last.rpartition(".")
        last = f"{stem[:-1]}{dot}{ending}" if stem and len(ending) <= 16 else last[:-1]
    if DEVICE.fullmatch(last):
        last = f"_{last}"
    return last or "attachment"


def _as_named(real: Path, roots: list[Path]) -> Path:
    """The path on disk whose parts differ from the given ones only in the form of their characters (composed or not, other
    blanks, another case); the given path if none or several do. Folders above the roots are not looked at."""
    found = Path(real.anchor)
    for part in real.parts[1:]:
        here, found = found, found / part
        if os.path.lexists(found) or not any(here.is_relative_to(root) for root in roots):
            continue
        try:
            with os.scandir(here) as entries:
                named = [one.name for one in islice(entries, MOST_ENTRIES) if folded(one.name) == folded(part)]
        except OSError:
            return real
        if len(named) != 1:
            return real
        found = here / named[0]
    return found


def _lies_in(real: Path, folders: Iterable[Path]) -> bool:
    """Whether a path lies in one of the folders, also if it names them in another case or by another mount. A folder that
    does not exist holds nothing."""
    for folder in folders:
        for above in (real, *real.parents):
            with suppress(OSError, ValueError):
                if above.samefile(folder):
                    return True
    return False


def _open_without_links(real: Path, kind: int = 0) -> int:
    """Open a resolved path. Any link on the way was put there after it was resolved, and is refused. O_NONBLOCK avoids
    waiting for a fifo. Raises OSError, and Rejected for what is no regular file."""
    if not STEPS_DOWN:
        return os.open(real, os.O_RDONLY | FLAGS | kind)
    folder = os.open(real.anchor, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in real.parts[1:-1]:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        last = real.name or "."
        if not kind:  # opening a device may do something already
            _check_regular(os.stat(last, dir_fd=folder, follow_symlinks=False))
        return os.open(last, os.O_RDONLY | FLAGS | kind, dir_fd=folder)
    finally:
        os.close(folder)


def _check_regular(about: os.stat_result) -> None:
    """Raise Rejected for what is no regular file. A link is not judged: opening refuses it."""
    if not stat.S_ISREG(about.st_mode) and not stat.S_ISLNK(about.st_mode):
        raise Rejected("Only regular files can be attached.", code="not_a_file", field="path")


def _outside(roots: tuple[Path, ...], field: str = "path") -> Rejected:
    named = _named(roots)
    return Rejected(
        f"The path lies outside the folders that are open here: {', '.join(named[:NAMED])}.",
        code="path_not_allowed",
        field=field,
        allowed=named,
    )


def _named(roots: tuple[Path, ...]) -> list[str]:
    return [str(root) for root in roots[:20]]
