"""Lines of a descriptor, read as they come: how many have come is known without waiting for one. And data written to one."""

from __future__ import annotations

import os
import select

import anyio
import anyio.to_thread

MAX_FRAME = 4 * 2**20
"""Bytes of one message of a host's. The longest arguments are far shorter."""
CHUNK = 64 * 1024


async def wait_readable(descriptor: int) -> None:
    """Wait until a read does not block. Raises OSError for a descriptor that cannot be waited for."""
    if os.name == "nt":
        raise OSError("Windows waits for sockets only")
    await anyio.wait_readable(descriptor)


async def write_whole(descriptor: int, data: bytes) -> None:
    """Write all of the data while other tasks go on. A cancellation is held back once a part is written. Not for two
    writers at once. Raises OSError if nobody reads any more."""
    if os.name == "nt" or os.isatty(descriptor):  # Windows waits for no pipe, and a terminal may have room for less
        await anyio.to_thread.run_sync(_write_blocking, descriptor, data)
        return
    rest = memoryview(data)
    while rest:
        if not select.select([], [descriptor], [], 0)[1]:
            with anyio.CancelScope(shield=len(rest) < len(data)):
                await anyio.wait_writable(descriptor)
        rest = rest[os.write(descriptor, rest[: select.PIPE_BUF]) :]  # what is this short does not block now


def _write_blocking(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


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

    async def next(self, most: int) -> bytes:
        """Like `read`, while other tasks go on. A cancellation takes no byte of the next line.

        A thread reads only where the descriptor cannot be waited for: a file, and any input on Windows.
        """
        while self._end(most) is None and not self._is_over:
            try:
                await wait_readable(self._descriptor)
            except OSError:
                return await anyio.to_thread.run_sync(self.read, most, abandon_on_cancel=True)
            self._take()
        return self.read(most)

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
