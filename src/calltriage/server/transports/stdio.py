"""Standard input and output as the transport.

Frames are read and written by the event loop itself, and each once. The SDK's own transport takes a thread for each line
read, each line written and each flush, and two tasks more: most of what a short call cost.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

import anyio
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCError

from calltriage.leaves.lines import MAX_FRAME, write_whole
from calltriage.opening import Opening
from calltriage.server.app import TriageServer
from calltriage.server.transports.draining import draining
from calltriage.server.transports.frames import Frame, read_frame, too_long

DRAIN_SECONDS = 9.0
"""Time from a signal to the end of the process, at most."""
OUTPUT, LOG = 1, 2
"""Descriptors of standard output and standard error."""


class FrameOutput:
    """Standard output: a JSON-RPC message a line, in UTF-8. Once nobody reads any more, `failure` is set and `on_failure`
    called."""

    def __init__(self, descriptor: int, on_failure: Callable[[], None]) -> None:
        self._descriptor = descriptor
        self._on_failure = on_failure
        self._turn = anyio.Lock(fast_acquire=True)
        self.failure: OSError | None = None

    async def send(self, sent: SessionMessage) -> None:
        """Write a message. Raises BrokenResourceError if nobody reads it."""
        line = sent.message.model_dump_json(by_alias=True, exclude_unset=True) + "\n"
        async with self._turn:
            try:
                await write_whole(self._descriptor, line.encode())
            except OSError as error:
                self.failure = error
                self._on_failure()
                raise anyio.BrokenResourceError from error


class FrameInput:
    """Standard input: a JSON-RPC message a line. Lines that are none are answered here.

    A line longer than MAX_FRAME is answered as soon as that is seen, and the rest of it skipped: a host goes on after an
    error.
    """

    def __init__(self, opening: Opening, output: FrameOutput) -> None:
        self._opening = opening
        self._output = output
        self._is_rest = False

    async def receive(self) -> SessionMessage:
        """The next message. Raises EndOfStream at the end of the input, and once nobody reads the output."""
        while line := await self._opening.read():
            is_cut = not line.endswith(b"\n") and len(line) > MAX_FRAME
            is_rest, self._is_rest = self._is_rest, is_cut
            frame = None if is_rest else too_long(line) if is_cut else _read(line)
            if isinstance(frame, Frame):
                return SessionMessage(frame.message)
            if frame is not None and not self._opening.is_answered():
                try:
                    await self._output.send(SessionMessage(frame))
                except anyio.BrokenResourceError as error:
                    raise anyio.EndOfStream from error
        raise anyio.EndOfStream


def _read(line: bytes) -> Frame | JSONRPCError | None:
    """The message of a line, or the answer to a line that is none; None for a blank line. Some hosts on Windows begin with
    a byte order mark, or send bytes that are no UTF-8 within a text."""
    text = line.decode("utf-8-sig", errors="replace").strip()
    return read_frame(text) if text else None


@contextmanager
def _output_alone() -> Generator[int]:
    """A descriptor of standard output for frames alone. What else is written there meanwhile goes to standard error."""
    taken = os.dup(OUTPUT)
    os.dup2(LOG, OUTPUT)
    try:
        yield taken
    finally:
        with suppress(OSError):
            sys.stdout.flush()  # what was printed, and waits, is no frame either
        os.dup2(taken, OUTPUT)
        os.close(taken)


async def run_over_stdio(server: TriageServer, opening: Opening) -> None:
    """Serve one client over standard input and output until the input ends and all that was read is answered. Raises
    OSError if the client reads no more."""
    serving = anyio.CancelScope()
    with _output_alone() as descriptor:
        output = FrameOutput(descriptor, serving.cancel)
        read, write = draining(FrameInput(opening, output), output, server.end_streams, server.answers, opening)
        with serving:
            await server.run(read, write, server.create_initialization_options())
    if output.failure is not None:
        raise output.failure
