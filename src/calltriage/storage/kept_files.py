"""Small files of a folder in the data folder that may be lost: each for a time, all of them within a bound."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from calltriage.leaves.folders import Folder
from calltriage.leaves.instants import utc_now
from calltriage.storage.folders import make_folder


@dataclass
class KeptFiles:
    """The files of one folder, for its owner alone; several processes may use it at once.

    Attributes:
        folder: theirs alone.
        kept_for: how long a file is kept at most.
        most_bytes: what all of them may take. The oldest leave first; each process looks once for every sixteenth that it
            adds.
        clock: now.
    """

    folder: Path
    kept_for: timedelta
    most_bytes: int
    clock: Callable[[], datetime] = field(default=utc_now, repr=False)
    _added: int | None = field(default=None, init=False)
    """Bytes added since all of them were last looked at; None before that."""

    def read(self, name: str) -> bytes | None:
        """A file; None where there is none, or it is too old. Raises OSError where that cannot be told."""
        try:
            with Folder(self.folder) as folder:
                about = folder.about(name)
                if about is None or about.st_mtime < self._oldest():
                    return None
                with os.fdopen(folder.open(name), "rb") as file:
                    return file.read()
        except FileNotFoundError:
            return None

    def keep(self, name: str, data: bytes) -> None:
        """Keep a file, instead of one of that name. Raises OSError or StoreError where the folder cannot be used."""
        make_folder(self.folder.parent)
        make_folder(self.folder)
        with Folder(self.folder) as folder:
            folder.put(name, data, for_good=False)
            self._added = None if self._added is None else self._added + len(data)
            if self._added is None or self._added > self.most_bytes // 16:
                self._sweep(folder)
                self._added = 0

    def _oldest(self) -> float:
        return (self.clock() - self.kept_for).timestamp()

    def _sweep(self, folder: Folder) -> None:
        """Remove what is too old, and then the oldest until the rest is within the bound."""
        found = [(about.st_mtime, about.st_size, name) for name in folder.names() if (about := folder.about(name))]
        total = 0
        for written, size, name in sorted(found, reverse=True):
            total += size
            if total > self.most_bytes or written < self._oldest():
                folder.remove(name)
