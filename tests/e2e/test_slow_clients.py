"""Clients that are slow on purpose, by the hundred, against both servers on real sockets."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import httpx2
import pytest
from anyio.abc import SocketStream
from e2e.processes import PATIENCE, run, started
from mcp.client import Client

pytestmark = pytest.mark.slow

HEADER = (
    "POST {path} HTTP/1.1\r\nHost: localhost:80\r\nAuthorization: {key}\r\nContent-Type: application/json\r\n"
    "Accept: application/json, text/event-stream\r\n"
)


@asynccontextmanager
async def slow_clients(address: str, path: str, key: str = "k") -> AsyncGenerator[list[SocketStream]]:
    """520 connections, more than the server takes: one in three says nothing, half a header, half a body."""
    url, header = urlsplit(address), HEADER.format(path=path, key=key)
    said = ["", header, f"{header}Content-Length: 1000\r\n\r\n{{"]
    async with AsyncExitStack() as stack:
        sockets: list[SocketStream] = []
        for number in range(520):
            stream = await anyio.connect_tcp(url.hostname or "", url.port or 0)
            sockets.append(await stack.enter_async_context(stream))
            if said[number % 3]:
                await stream.send(said[number % 3].encode())
        yield sockets


async def all_are_cut(sockets: list[SocketStream]) -> None:
    with anyio.fail_after(PATIENCE):
        for stream in sockets:
            try:
                while True:
                    await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                continue


async def test_slow_clients_are_cut_and_a_normal_one_is_answered_meanwhile(tmp_path: Path) -> None:
    _, key, _ = await run(tmp_path, "desk", "keys", "show")

    async def of_the_server() -> None:
        async with (
            started(tmp_path, "serve", "--http", "--port", "0") as address,
            slow_clients(address, "/mcp") as sockets,
        ):
            with anyio.fail_after(PATIENCE):
                async with Client(address) as client:
                    assert (await client.list_tools()).tools
            await all_are_cut(sockets)

    async def of_the_desk() -> None:
        async with (
            started(tmp_path, "desk", "serve", "--port", "0") as address,
            slow_clients(address, "/v1/triage/issues", key.strip()) as sockets,
            httpx2.AsyncClient(base_url=address, headers={"authorization": key.strip()}, timeout=PATIENCE) as http,
        ):
            assert (await http.get("/v1/triage/issues")).status_code == 200
            await all_are_cut(sockets)

    async with anyio.create_task_group() as group:  # side by side: most of it is waiting for ten seconds
        group.start_soon(of_the_server)
        group.start_soon(of_the_desk)
