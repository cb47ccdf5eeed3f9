"""The server's HTTP side in process, spoken to in raw JSON-RPC."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2

from calltriage.client.client import Client
from calltriage.server.app import build_server
from calltriage.server.transports.http import build_http_app

ACCEPT = {"accept": "application/json, text/event-stream"}
NEWEST = "2026-07-28"


@asynccontextmanager
async def served(
    client: Client, base: str = "http://127.0.0.1:8000", **more: Any
) -> AsyncGenerator[httpx2.AsyncClient]:
    settings: dict[str, Any] = {"host": "127.0.0.1", **more}
    app = build_http_app(build_server(client, version="1.2.3", duplex=False), **settings)
    transport = httpx2.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx2.AsyncClient(transport=transport, base_url=base) as http:
        with anyio.fail_after(20):
            yield http


async def ask(http: httpx2.AsyncClient, method: str, params: dict[str, Any], **headers: str) -> dict[str, Any]:
    named = ACCEPT | {name.replace("_", "-"): value for name, value in headers.items()}
    answer = await http.post(
        "/mcp", headers=named, json={"jsonrpc": "2.0", "id": 7, "method": method, "params": params}
    )
    assert answer.status_code == 200, answer.text
    data = next((line[5:] for line in answer.text.splitlines() if line.startswith("data:")), answer.text)
    message = json.loads(data)
    assert message["id"] == 7
    return message["result"]


def newest(**params: Any) -> dict[str, Any]:
    """Parameters of a request that carries what initialize used to."""
    about = {"protocolVersion": NEWEST, "clientInfo": {"name": "t", "version": "1"}, "clientCapabilities": {}}
    return {"_meta": {f"io.modelcontextprotocol/{name}": value for name, value in about.items()}, **params}
