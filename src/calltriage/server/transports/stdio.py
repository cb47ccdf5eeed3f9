"""Standard input and output as the transport."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, cast

import anyio
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCError

from calltriage.leaves.lines import MAX_FRAME
from calltriage.opening import Opening
from calltriage.server.app import TriageServer
from calltriage.server.transports.draining import draining
from calltriage.server.transports.frames import read_frame, too_long

if TYPE_CHECKING:
    from mcp.shared._stream_protocols import WriteStream

DRAIN_SECONDS = 9.0
"""Time from a signal to the end of the process, at most."""


class FrameInput:
    """Standard input as the SDK reads it: line by line in UTF-8, each a readable message. Other lines are answered here.

    A line longer than MAX_FRAME is answered as soon as that is seen, and the rest of it skipped: a host goes on after an
    error.
    """

    outgoing: WriteStream[SessionMessage]
    """Where answers go; set before the first line is read."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening

    async def __aiter__(self) -> AsyncGenerator[str]:
        is_rest = False
        while line := await self._opening.read():
            is_cut = not line.endswith(b"\n") and len(line) > MAX_FRAME
            if not is_rest:
                frame = too_long(line) if is_cut else _read(line)
                if isinstance(frame, JSONRPCError):
                    await self.outgoing.send(SessionMessage(frame))
                elif frame:
                    yield frame
            is_rest = is_cut


def _read(line: bytes) -> str | JSONRPCError:
    """The message of a line, or the answer to a line that is none; empty for a blank line. Some hosts on Windows begin with
    a byte order mark, or send bytes that are no UTF-8 within a text."""
    text = line.decode("utf-8-sig", errors="replace").strip()
    return read_frame(text) if text else ""


async def run_over_stdio(server: TriageServer, opening: Opening) -> None:
    """Serve one client over standard input and output until the input ends and all that was read is answered."""
    lines = FrameInput(opening)
    async with stdio_server(stdin=cast("anyio.AsyncFile[str]", lines)) as (incoming, outgoing):
        lines.outgoing = outgoing
        async with draining(incoming, outgoing, server.end_streams, server.answers, opening) as (read, write):
            await server.run(read, write, server.create_initialization_options())
