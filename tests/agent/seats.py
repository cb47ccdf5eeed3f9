"""The three surfaces that an agent can be given on the same desk."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import cache
from pathlib import Path

import anyio.to_thread
import httpx2
from agent.passthrough import Passthrough
from agent.ports import served
from agent.seat import Seat
from agent.stage import Stage
from agent.staging import Start
from conftest import DESK_URL, KEY
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters

from calltriage.desk.http.access import CLIENT_ID
from calltriage.server.app import build_server
from calltriage.serving import address_of, listen

FASTMCP = ["uv", "run", "--quiet", "--no-project", "--python", sys.executable, "--with", "fastmcp>=4,<5", "python"]
"""Python in an environment of its own that has FastMCP."""

Opened = tuple[Seat, Start]


UNREACHABLE = ("client error (Connect)", "operation timed out", "network was disabled")
"""What uv says of an index that cannot be reached."""


class NotInstalled(Exception):
    """A surface cannot be had here. The text says why."""


class OutOfReach(NotInstalled):
    """There is no way to the index that it comes from."""


@asynccontextmanager
async def calltriage(stage: Stage) -> AsyncGenerator[Opened]:
    """This server, with its default tools."""
    async with stage.opened("calltriage") as start, Client(build_server(start.client, version="0")) as connected:
        yield Seat(connected), start


@asynccontextmanager
async def passthrough(stage: Stage) -> AsyncGenerator[Opened]:
    """One tool that sends any request to the desk's API, and one that shows its document."""
    async with stage.opened("passthrough") as start:
        transport = httpx2.ASGITransport(start.desk, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url=DESK_URL) as http:
            yield Seat(Passthrough(http)), start


@asynccontextmanager
async def from_openapi(stage: Stage) -> AsyncGenerator[Opened]:
    """What FastMCP generates from the desk's OpenAPI document. Raises NotInstalled where FastMCP cannot be had."""
    await anyio.to_thread.run_sync(check_fastmcp)
    listening = listen("127.0.0.1", 0)
    address = address_of(listening)
    settings = {"DESK_URL": address, "DESK_CLIENT": CLIENT_ID, "DESK_KEY": KEY, "FASTMCP_LOG_LEVEL": "ERROR"}
    script = str(Path(__file__).with_name("generated_server.py"))
    child = StdioServerParameters(command=FASTMCP[0], args=[*FASTMCP[1:], script], env=os.environ | settings)
    async with AsyncExitStack() as stack:
        start = await stack.enter_async_context(stage.opened("from_openapi", address))
        await stack.enter_async_context(served(start.desk, listening))
        connected = await stack.enter_async_context(Client(child))
        yield Seat(connected), start


@cache
def check_fastmcp() -> None:
    """Install FastMCP in an environment of its own. Raises NotInstalled, OutOfReach where there is no network."""
    try:
        done = subprocess.run(
            [*FASTMCP, "-c", "import fastmcp"], capture_output=True, text=True, timeout=600, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalled(f"uv could not be run ({type(error).__name__})") from None
    if done.returncode:
        kind = OutOfReach if any(words in done.stderr for words in UNREACHABLE) else NotInstalled
        raise kind((done.stderr.strip().splitlines() or ["it could not be installed"])[-1][:200])


SURFACES: dict[str, Callable[[Stage], AbstractAsyncContextManager[Opened]]] = {
    "calltriage": calltriage,
    "passthrough": passthrough,
    "from_openapi": from_openapi,
}
