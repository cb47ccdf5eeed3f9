"""Lines of a descriptor, read as they come: how many have come is known without waiting for one."""

from __future__ import annotations

import os
import select

MAX_FRAME = 4 * 2**20
"""Bytes of one message of a host's. The longest arguments are far shorter."""
CHUNK = 64 * 1024


class Lines:
    """The lines of a pipe, a socket, a file or a terminal. Not for two readers at once."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._held = bytearray()
        self._searched = 0
        self._is_over = False

    def read(self, most: int) -> bytes:
        """The next line with its end, or `most` bytes of a longer one; what is left at the end, then nothing. Blocks."""
        while (end := self._end(most)) is None and not self._is_over:
            self._take()
        line = bytes(self._held[: len(self._held) if end is None else end])
        del self._held[: len(line)]
        self._searched = 0
        return line

    def has_line(self, within_s: float, most: int) -> bool:
        """Whether `read` will not block, once data comes within so many seconds, or the input ends. Not for Windows, whose
        pipes cannot be waited for so."""
        while self._end(most) is None and not self._is_over:
            if not select.select([self._descriptor], [], [], within_s)[0]:
                return False
            self._take()
        return True

    def _end(self, most: int) -> int | None:
        """Where the next line ends, within `most` bytes."""
        found = self._held.find(b"\n", self._searched, most)
        self._searched = len(self._held)
        if found >= 0:
            self._searched = found
            return found + 1
        return most if len(self._held) >= most else None

    def _take(self) -> None:
        chunk = os.read(self._descriptor, CHUNK)
        self._is_over = not chunk
        self._held += chunk
