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
from typing import Any, cast

import anyio
import anyio.to_thread
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

DRAIN_SECONDS = 9.0
"""Time from SIGTERM to the end of the process, at most."""

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


async def run_over_stdio(server: Server[Any]) -> bool:
    """Serve one client over standard input and output until the input ends, or SIGTERM comes; whether it was that.

    Then reads are cut, and a write that was begun is seen through and recorded.
    """
    with anyio.CancelScope() as serving:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_end_on_signal, serving)
            async with stdio_server(stdin=cast("anyio.AsyncFile[str]", RepairedInput())) as (incoming, outgoing):
                await server.run(incoming, outgoing, server.create_initialization_options())
            tasks.cancel_scope.cancel()
    return serving.cancelled_caught


async def _end_on_signal(serving: anyio.CancelScope) -> None:
    if sys.platform == "win32":  # where nothing sends it
        return
    with anyio.open_signal_receiver(signal.SIGTERM) as signals:
        async for _ in signals:
            # What is not through by then is in the journal as asked, and looked for when it is asked again.
            last = threading.Timer(DRAIN_SECONDS, os._exit, (0,))
            last.daemon = True
            last.start()
            serving.cancel()
            return
