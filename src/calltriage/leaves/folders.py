"""A folder that is held open. Its files are reached from the folder's descriptor by a bare name, and no link is followed."""

from __future__ import annotations

import os
import secrets
import stat
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from calltriage.leaves.durable import write_whole

BY_DESCRIPTOR = os.open in os.supports_dir_fd
"""Whether files can be reached from a folder's descriptor; Windows cannot."""
FLAGS = sum(getattr(os, flag, 0) for flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
"""For every file, each where the platform has it; O_NONBLOCK does not wait for a pipe."""
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL


class Folder:
    """The files directly in one folder. Raises OSError where the folder is missing, is no folder, or is a link.

    A name is one part of a path; any other name raises ValueError. Without descriptors (Windows) a name is joined to the
    folder's path and looked at before it is opened: a link that is put there in between would be followed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None
        if BY_DESCRIPTOR:
            self._handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        elif path.is_symlink():
            raise NotADirectoryError

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def open(self, name: str, flags: int = os.O_RDONLY) -> int:
        """A descriptor of a regular file, which its owner alone may read if it is new."""
        place = self._place(name)
        if self._handle is None and os.path.islink(place):
            raise FileNotFoundError
        handle = os.open(place, flags | FLAGS, 0o600, dir_fd=self._handle)
        if flags & os.O_EXCL or stat.S_ISREG(os.fstat(handle).st_mode):  # one that was just made is regular
            return handle
        os.close(handle)
        raise FileNotFoundError

    def new(self, name: str) -> BinaryIO:
        """A new file to write. Raises FileExistsError where the name is taken."""
        return os.fdopen(self.open(name, NEW), "wb", buffering=0)

    def put(self, name: str, data: bytes, *, for_good: bool) -> None:
        """Put a file in the place of what has its name: a reader sees the old one or the new one. `for_good`: once this
        returns, the new one survives a power cut. Raises OSError, and then the old one stands."""
        draft = f"{secrets.token_hex(16)}.part"
        try:
            with self.new(draft) as file:
                write_whole(file, data)
                if for_good:
                    os.fsync(file.fileno())
            self.replace(draft, name)
        finally:
            self.remove(draft)
        if for_good:
            self.sync()

    def about(self, name: str) -> os.stat_result | None:
        """What is under a name, a link itself and not what it points at; None for nothing."""
        try:
            return os.stat(self._place(name), dir_fd=self._handle, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def names(self) -> list[str]:
        return os.listdir(self._path if self._handle is None else self._handle)

    def remove(self, name: str) -> None:
        """Remove a file, or a link itself; nothing is there afterwards."""
        with suppress(FileNotFoundError):
            os.unlink(self._place(name), dir_fd=self._handle)

    def sync(self) -> None:
        """Put the names on disk. Where folders cannot be opened (Windows) the file system keeps them by itself."""
        if self._handle is not None:
            os.fsync(self._handle)

    def replace(self, name: str, new: str) -> None:
        """Rename a file over whatever has the new name."""
        os.replace(self._place(name), self._place(new), src_dir_fd=self._handle, dst_dir_fd=self._handle)

    def give(self, name: str, new: str) -> None:
        """Give a file another name. Raises FileExistsError where something has it. The old name may stay."""
        here, there = self._place(name), self._place(new)
        try:
            os.link(here, there, src_dir_fd=self._handle, dst_dir_fd=self._handle, follow_symlinks=False)
        except FileExistsError:
            raise
        except (OSError, NotImplementedError):  # a file system without second names: an empty file is renamed over
            os.close(self.open(new, NEW))
            try:
                self.replace(name, new)
            except OSError:
                self.remove(new)
                raise

    def _place(self, name: str) -> str | Path:
        if name in {"", ".", ".."} or not name.isprintable() or os.path.basename(name) != name or "\\" in name:
            raise ValueError("not the name of a file in a folder")
        return name if self._handle is not None else self._path / name


def lock(handle: int) -> None:
    """Lock an open file until it is closed. Raises OSError where another descriptor has the lock."""
    if sys.platform == "win32":
        import msvcrt  # noqa: PLC0415

        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl  # noqa: PLC0415

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
