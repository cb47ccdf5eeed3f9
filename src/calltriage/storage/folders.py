"""The data folder: made for its owner alone, and what in it others may get at."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from calltriage.errors import StoreError

if TYPE_CHECKING:
    import filelock

OTHERS = stat.S_IRWXG | stat.S_IRWXO


def make_folder(folder: Path) -> None:
    """Make a data folder that is not there, for its owner alone. Raises StoreError with what to do."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise unusable(folder, error) from error


def unusable(folder: Path, error: Exception) -> StoreError:
    return StoreError(
        f"The data folder {folder} cannot be used ({type(error).__name__}). Check that it belongs to this user and has "
        "space, or point CALLTRIAGE_DATA_DIR elsewhere."
    )


def file_lock(path: Path, timeout_s: float) -> filelock.BaseFileLock:
    """A lock file for its owner alone, whatever the umask; one that an older version left open to others is closed to
    them."""
    import filelock  # noqa: PLC0415  not needed until a database is opened, like SQLAlchemy

    with suppress(OSError):
        path.chmod(0o600)
    return filelock.FileLock(path, timeout=timeout_s, mode=0o600)


def open_to_others(folder: Path) -> Iterator[Path]:
    """The folder itself and what lies in it, as far as others than the owner may read, change or enter it."""
    if os.name == "nt":  # rights there are no mode bits; a folder of the user's profile is the user's own
        return
    for path in (folder, *sorted(folder.rglob("*"))):
        with suppress(OSError):  # gone since it was listed
            mode = path.lstat().st_mode
            if mode & OTHERS and not stat.S_ISLNK(mode):
                yield path
