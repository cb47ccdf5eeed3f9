"""The data folder: made for its owner alone, and what in it others may get at."""

from __future__ import annotations

import os
import shlex
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from calltriage.errors import StoreError
from calltriage.leaves.durable import sync

if TYPE_CHECKING:
    import filelock

OTHERS = stat.S_IRWXG | stat.S_IRWXO
ROOM = 64 * 1024
"""Bytes for which there has to be room: as many as a few writes take."""
NAMED = 5
"""Open files that a complaint names."""


def make_folder(folder: Path) -> None:
    """Make a data folder that is not there, for its owner alone. Raises StoreError with what to do.

    In a folder that is there, the lock files that older versions left open to others are closed to them.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for lock in (*folder.glob("*.lock"), *folder.glob("*.opening")):
            with suppress(FileNotFoundError):  # another process removes its lock file when its turn ends
                if lock.lstat().st_mode & OTHERS and not lock.is_symlink():
                    lock.chmod(0o600)
    except OSError as error:
        raise unusable(folder, error) from error


def check_room(folder: Path) -> None:
    """Raise OSError unless a small file can be written in the folder. Nothing is left of it."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(ROOM))
        sync(file)


def unusable(folder: Path, error: Exception) -> StoreError:
    return StoreError(
        f"The data folder {folder} cannot be used ({type(error).__name__}). Check that it belongs to this user and has "
        "space, or point CALLTRIAGE_DATA_DIR elsewhere."
    )


def file_lock(path: Path, timeout_s: float) -> filelock.BaseFileLock:
    """A lock file for its owner alone, whatever the umask. Raises OSError for a folder that is not there."""
    import filelock  # noqa: PLC0415  not needed until a database is opened, like SQLAlchemy

    path.parent.stat()  # or the library makes the folder
    return filelock.FileLock(path, timeout=timeout_s, mode=0o600)


def try_lock(lock: filelock.BaseFileLock) -> bool:
    """Take a lock; False where another process has it. Raises OSError or NotImplementedError where there can be no lock."""
    try:
        lock.acquire(blocking=False)
    except TimeoutError:
        return False
    return True


def open_to_others(folder: Path) -> list[str]:
    """What of a data folder others than its owner may read, change or enter: `.` for the folder, names for what is in it.

    Windows has no such bits; there the list is empty.
    """
    if os.name == "nt":
        return []
    found = list[str]()
    for path in (folder, *sorted(folder.rglob("*"))):
        with suppress(OSError):  # gone since it was listed
            mode = path.lstat().st_mode
            if mode & OTHERS and not stat.S_ISLNK(mode):
                found.append(path.relative_to(folder).as_posix())
    return found


def complaint(folder: Path) -> str | None:
    """A sentence about a folder that others may read or change; None if only its owner may."""
    found = open_to_others(folder)
    if not found:
        return None
    named = ", ".join("the folder itself" if name == "." else name for name in found[:NAMED])
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    keys = (
        " A key that others could read is no secret any more: make another one."
        if any(name.endswith(".key") for name in found)
        else ""
    )
    return f"others than the owner may get at {named}{more}. Run: chmod -R go= {shlex.quote(str(folder))}{keys}"
