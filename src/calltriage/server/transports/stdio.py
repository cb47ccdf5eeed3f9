"""Standard input and output as the transport."""

from __future__ import annotations

import io
import sys
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, cast

import anyio
import anyio.to_thread
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCError

from calltriage.server.app import TriageServer
from calltriage.server.transports.draining import draining
from calltriage.server.transports.frames import read_frame

if TYPE_CHECKING:
    from mcp.shared._stream_protocols import WriteStream

DRAIN_SECONDS = 9.0
"""Time from a signal to the end of the process, at most."""


class FrameInput:
    """Standard input as the SDK reads it: line by line in UTF-8, each a readable message. Other lines are answered here."""

    outgoing: WriteStream[SessionMessage]
    """Where answers go; set before the first line is read."""

    async def __aiter__(self) -> AsyncGenerator[str]:
        text = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", errors="replace")
        try:
            # Waiting for a line may be given up, so that a signal can end the server while its host says nothing.
            while line := await anyio.to_thread.run_sync(text.readline, abandon_on_cancel=True):
                frame = read_frame(line) if line.strip() else ""
                if isinstance(frame, JSONRPCError):
                    await self.outgoing.send(SessionMessage(frame))
                elif frame:
                    yield frame
        finally:
            text.detach()  # the buffer is the process's to close


async def run_over_stdio(server: TriageServer) -> None:
    """Serve one client over standard input and output until the input ends and all that was read is answered."""
    lines = FrameInput()
    async with stdio_server(stdin=cast("anyio.AsyncFile[str]", lines)) as (incoming, outgoing):
        lines.outgoing = outgoing
        async with draining(incoming, outgoing, server.end_streams) as (read, write):
            await server.run(read, write, server.create_initialization_options())
