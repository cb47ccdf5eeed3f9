"""Writes whose answers have not gone out yet, told to the other processes on a data folder by an empty file for each.

Whoever asks for an equal write meanwhile has not heard of the first one. A process that is killed leaves its files, and so
does a call that is cancelled or whose client is gone: nobody heard of these writes either. They are no record, so nothing
waits until they are on disk for good.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = "unanswered"
OLD_S = 3600.0
"""Seconds after which a file is of no use: no call takes so long, and no write is taken for a repeat after that."""
SWEEP_S = 600.0
"""Seconds after which old files are looked for again."""


When = Callable[[Callable[[], None]], None]
"""Does what it is given once an answer has gone out."""


def at_once(act: Callable[[], None]) -> None:
    act()


@dataclass
class Unanswered:
    """The calls of this process that have not ended, and in `folder` the writes of all processes that were not answered.

    The folder is made at the first of them; the one around it is not.
    """

    folder: Path
    _calls: list[set[str]] = field(default_factory=list[set[str]], init=False, repr=False)
    _swept: float = field(default=-math.inf, init=False, repr=False)

    @contextmanager
    def call(self, when: When) -> Generator[tuple[set[str], tuple[set[str], ...], frozenset[str]]]:
        """Around a tool call: where the ids of its writes go, those of this process's calls that have not ended when it
        comes, and those that no process has answered. `when` is given what is to be done once it is answered itself."""
        self._drop_old()
        writes, beside = set[str](), tuple(self._calls)
        self._calls.append(writes)
        try:
            yield writes, beside, self._ids()
        finally:
            self._calls = [other for other in self._calls if other is not writes]
            when(lambda: self.drop(writes))

    def add(self, write_id: str) -> None:
        """Raises OSError where that cannot be told."""
        with suppress(FileExistsError):
            self.folder.mkdir(mode=0o700)
        os.close(os.open(self.folder / write_id, os.O_WRONLY | os.O_CREAT, 0o600))

    def drop(self, write_ids: Iterable[str]) -> None:
        """The answers have gone out. A file that stays makes an equal write of the next minutes a repeat."""
        for write_id in write_ids:
            with suppress(OSError):
                (self.folder / write_id).unlink()

    def _ids(self) -> frozenset[str]:
        try:
            return frozenset(os.listdir(self.folder))
        except OSError:  # none yet
            return frozenset()

    def _drop_old(self) -> None:
        """Drop now and then what was left long ago: by processes that were killed, and by calls that nobody waited for."""
        if time.monotonic() - self._swept < SWEEP_S:
            return
        self._swept, before = time.monotonic(), time.time() - OLD_S
        with suppress(OSError):
            self.drop(entry.name for entry in os.scandir(self.folder) if entry.stat().st_mtime < before)
