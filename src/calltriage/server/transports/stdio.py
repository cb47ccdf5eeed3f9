"""Standard input and output as the transport, and one repair on the way in.

JSON may write half a surrogate pair (`"\\ud800"`), and hosts written in JavaScript do. The SDK's reader refuses such a line
whole and answers nothing, so that the host's call would wait for ever. Here the half becomes an escaped NUL, which every
argument refuses with a clear error.
"""

from __future__ import annotations

import io
import os
import re
import signal
import sys
import threading
from collections.abc import AsyncGenerator
from typing import cast

import anyio
import anyio.to_thread
from anyio.abc import TaskStatus
from mcp.server.stdio import stdio_server

from calltriage.server.app import TriageServer
from calltriage.server.transports.draining import draining

DRAIN_SECONDS = 9.0
"""Time from a signal to the end of the process, at most."""

ESCAPES = re.compile(
    r"\\\\"  # an escaped backslash, whatever follows it
    r"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a whole pair
    r"|(?P<half>\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)


def repaired(line: str) -> str:
    """A line of JSON whose halves of surrogate pairs are escaped NULs; nothing else changes."""
    return ESCAPES.sub(lambda found: "\\u0000" if found["half"] else found[0], line) if "\\u" in line else line


class RepairedInput:
    """Standard input, line by line, as the SDK reads it: UTF-8, with each line repaired."""

    async def __aiter__(self) -> AsyncGenerator[str]:
        text = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8", errors="replace")
        try:
            # Waiting for a line may be given up, so that a signal can end the server while its host says nothing.
            while line := await anyio.to_thread.run_sync(text.readline, abandon_on_cancel=True):
                yield repaired(line)
        finally:
            text.detach()  # the buffer is the process's to close


async def run_over_stdio(server: TriageServer) -> None:
    """Serve one client over standard input and output until the input ends and all that was read is answered."""
    async with (
        stdio_server(stdin=cast("anyio.AsyncFile[str]", RepairedInput())) as (incoming, outgoing),
        draining(incoming, outgoing, server.end_streams) as (read, write),
    ):
        await server.run(read, write, server.create_initialization_options())


async def end_on_signal(serving: anyio.CancelScope, *, task_status: TaskStatus[None]) -> None:
    """Cancel `serving` at SIGINT or SIGTERM, and end the process DRAIN_SECONDS later if it is still there.

    Further signals change nothing. Reads are cut; a write that was begun is seen through and recorded.
    """
    if sys.platform == "win32":  # the event loop there hears no signals
        task_status.started()
        return
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            if not serving.cancel_called:
                # What is not through by then is in the journal as asked, and looked for when it is asked again.
                last = threading.Timer(DRAIN_SECONDS, os._exit, (0,))
                last.daemon = True
                last.start()
                serving.cancel()
