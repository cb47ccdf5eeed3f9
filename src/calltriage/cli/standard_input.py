"""Standard input as the file of a command that serves nothing. Ctrl-C ends its reading whenever it comes.

A signal that comes just before a read that blocks is not heard by Python until that read has ended. So nothing is read
here before something has come: input, or the byte that Python's own handler writes for a signal.
Windows can wait for sockets only, and its terminals hear Ctrl-C in Python's own reading, which is used there.
"""

from __future__ import annotations

import io
import os
import select
import signal
import socket
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

STANDARD_INPUT = Path("-")
"""How a command line names it."""
SIGNALS = 4096
"""Signals that are taken note of at once."""


@contextmanager
def standard_input() -> Generator[BinaryIO]:
    """Standard input, for the main thread and no event loop. Raises KeyboardInterrupt where it is read."""
    if os.name == "nt":
        yield sys.stdin.buffer
        return
    told, tells = socket.socketpair()
    with told, tells:
        told.settimeout(0)
        tells.settimeout(0)
        before = signal.set_wakeup_fd(tells.fileno(), warn_on_full_buffer=False)
        try:
            yield io.BufferedReader(_Input(sys.stdin.fileno(), told))
        finally:
            signal.set_wakeup_fd(before)


def start_of(path: Path, size: int) -> bytes:
    """The first `size` bytes of a file, or of standard input where a command line names it."""
    with standard_input() if path == STANDARD_INPUT else path.open("rb") as file:
        return file.read(size)


class _Input(io.RawIOBase):
    """A descriptor that is read when something has come."""

    def __init__(self, descriptor: int, signals: socket.socket) -> None:
        self._descriptor = descriptor
        self._signals = signals

    def readable(self) -> Literal[True]:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        while self._descriptor not in select.select([self._descriptor, self._signals], [], [])[0]:
            self._signals.recv(SIGNALS)
        return os.readv(self._descriptor, [buffer])
