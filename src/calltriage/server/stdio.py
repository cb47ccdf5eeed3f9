"""Standard input and output as the transport, and one repair on the way in.

JSON may write half a surrogate pair (`"\\ud800"`), and hosts written in JavaScript do. The SDK's reader refuses such a line
whole and answers nothing, so that the host's call would wait for ever. Here the half becomes an escaped NUL, which every
argument refuses with a clear error.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import AsyncGenerator
from typing import Any, cast

import anyio
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

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
            async for line in anyio.wrap_file(text):
                yield repaired(line)
        finally:
            text.detach()  # the buffer is the process's to close


async def run_over_stdio(server: Server[Any]) -> None:
    """Serve one client over standard input and output until the input ends."""
    async with stdio_server(stdin=cast("anyio.AsyncFile[str]", RepairedInput())) as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())
