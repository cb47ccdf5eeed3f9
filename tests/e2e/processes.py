"""Real processes to test against: the server over stdio, over HTTP, and the desk on a port."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters

PATIENCE = 60
"""Seconds after which something that should have happened has not."""
SERVED_AT = r"at (http://\S+)"
"""Where a server says that it serves."""


def environment(**more: str) -> dict[str, str]:
    """The caller's environment without any setting of the caller's own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CALLTRIAGE_")}
    return kept | {"PYTHONWARNINGS": "error"} | more


def over_stdio(folder: Path, **settings: str) -> StdioServerParameters:
    """How an MCP client starts the server with a data folder below `folder`, which is its working folder too."""
    data = {"CALLTRIAGE_DATA_DIR": str(folder / "data")}
    return StdioServerParameters(
        command=sys.executable, args=["-m", "calltriage"], env=environment(**data, **settings), cwd=folder
    )


@asynccontextmanager
async def started(folder: Path, *arguments: str, pattern: str = SERVED_AT, **settings: str) -> AsyncGenerator[str]:
    """Run `calltriage ARGUMENTS` until the block ends; yields the address it says it serves at."""
    async with ended_by([signal.SIGTERM], folder, *arguments, pattern=pattern, **settings) as address:
        yield address


@asynccontextmanager
async def ended_by(
    signals: Sequence[signal.Signals], folder: Path, *arguments: str, pattern: str = SERVED_AT, **settings: str
) -> AsyncGenerator[str]:
    """Like `started`; the process is ended by these signals, one right after the other."""
    data = {"CALLTRIAGE_DATA_DIR": str(folder / "data")}
    command = [sys.executable, "-m", "calltriage", *arguments]
    async with await anyio.open_process(command, env=environment(**data, **settings), cwd=folder) as process:
        status = None
        try:
            yield await _address(process, pattern)
        finally:
            for number in signals:
                process.send_signal(number)
            with anyio.move_on_after(PATIENCE):
                status = await process.wait()
            if status is None:
                process.kill()  # or leaving it waits for ever
        assert status == 0, "a signal ends a server cleanly"


async def _address(process: Process, pattern: str) -> str:
    assert process.stderr is not None
    stream = BufferedByteReceiveStream(process.stderr)
    with anyio.fail_after(PATIENCE):
        while True:
            line = (await stream.receive_until(b"\n", 65536)).decode()
            if found := re.search(pattern, line):
                return found[1]


async def run(folder: Path, *arguments: str, stdin: str = "", **settings: str) -> tuple[int, str, str]:
    """Run `calltriage ARGUMENTS` to its end; exit status, standard output, standard error."""
    data = {"CALLTRIAGE_DATA_DIR": str(folder / "data")}
    with anyio.fail_after(PATIENCE):
        done = await anyio.run_process(
            [sys.executable, "-m", "calltriage", *arguments],
            input=stdin.encode(), env=environment(**data, **settings), cwd=folder, check=False,
        )  # fmt: skip
    return done.returncode, done.stdout.decode(), done.stderr.decode()


async def load(folder: Path, *lines: str) -> None:
    """Import lines into the desk of a data folder, by the command line."""
    status, _, complaints = await run(folder, "desk", "import", "-", stdin="\n".join(lines))
    assert status == 0, complaints


async def ask(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """The result of a tool that succeeds."""
    with anyio.fail_after(PATIENCE):
        result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.structured_content
    return result.structured_content or {}


async def complaint(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """The error of a tool that fails."""
    with anyio.fail_after(PATIENCE):
        result = await client.call_tool(tool, arguments)
    assert result.is_error, result.structured_content
    return (result.structured_content or {})["error"]
