"""Agents that store and fetch files, and the HTTP side that takes their bytes."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
from conftest import endpoints_to
from faults import Scripted
from mcp.client import Client as McpClient
from pydantic import SecretStr
from starlette.applications import Starlette
from tool_calls import ok

from calltriage.client.client import open_client
from calltriage.desk.app import Desk
from calltriage.leaves.seals import Seals
from calltriage.server.app import build_server
from calltriage.server.files.handover import Handover
from calltriage.server.files.local import FileRoots
from calltriage.server.toolsets import select
from calltriage.server.transports.http import build_http_app

TOKEN = "token-of-the-http-side"
LIMIT = 5 * 2**20


class Time:
    """The seals' clock."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def agent_on(
    desk: Desk,
    *roots: Path,
    network: Scripted | None = None,
    clock: Time | None = None,
    writable: bool = True,
    closed: str | None = None,
) -> AsyncGenerator[tuple[McpClient, httpx2.AsyncClient]]:
    """An agent with every tool, and plain HTTP to its server's own side."""
    transport = network or httpx2.ASGITransport(desk, raise_app_exceptions=False)
    async with open_client(endpoints_to(transport)) as client:
        seals = Seals(lambda: b"k" * 32, clock or Time())
        handover = Handover("http://127.0.0.1", desk.folder / "uploads", seals, LIMIT, client)
        server = build_server(
            client,
            version="0",
            tools=select(("all",)),
            files=FileRoots(roots, private=(desk.folder,), limit=LIMIT, writable=writable, closed=closed),
            handover=handover,
            seals=seals,
            confirm="allow",
        )
        app: Starlette = build_http_app(server, host="127.0.0.1", token=SecretStr(TOKEN), handover=handover)
        side = httpx2.ASGITransport(app, raise_app_exceptions=False)
        async with McpClient(server) as agent, httpx2.AsyncClient(transport=side, base_url="http://127.0.0.1") as http:
            yield agent, http


async def stored(agent: McpClient, name: str, data: bytes) -> dict[str, Any]:
    return await ok(agent, "create_attachment", name=name, base64=base64.b64encode(data).decode())
