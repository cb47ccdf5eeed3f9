"""600 sockets that are held open on purpose, from one address or several, and a client with a valid key beside them."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import httpx2
import pytest
from e2e.processes import PATIENCE, run, started
from mcp.client import Client

pytestmark = pytest.mark.slow

HELD = 600
TOKEN = "t" * 40
ONE, MANY = ["127.0.0.2"], [f"127.0.0.{number}" for number in range(2, 12)]
MODERN = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}


@asynccontextmanager
async def held(address: str, said: bytes, sources: list[str]) -> AsyncGenerator[list[socket.socket]]:
    """HELD sockets from these addresses in turn, each of which has said this and reads nothing."""
    url = urlsplit(address)

    def open_all(stack: ExitStack) -> list[socket.socket]:
        sockets: list[socket.socket] = []
        for number in range(HELD):
            source = (sources[number % len(sources)], 0)
            one = socket.create_connection((url.hostname or "", url.port or 0), PATIENCE, source_address=source)
            sockets.append(stack.enter_context(one))
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.sendall(said)
        return sockets

    with ExitStack() as stack:
        yield await anyio.to_thread.run_sync(open_all, stack)


def http(line: str, body: bytes = b"", /, **headers: str) -> bytes:
    fields = {"host": "127.0.0.1:80"} | {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{line} HTTP/1.1\r\n{head}\r\n".encode() + body


ACCEPT = {"content_type": "application/json", "accept": "application/json, text/event-stream"}
LISTEN = json.dumps(
    {
        "jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen",
        "params": {"notifications": {"toolsListChanged": True}, "_meta": MODERN},
    }
).encode()  # fmt: skip

TO_THE_SERVER = {
    "GET stream": lambda key: http("GET /mcp", authorization=key, **ACCEPT),
    "half a body": lambda key: http("POST /mcp", b"{", authorization=key, content_length="1000", **ACCEPT),
    "subscription": lambda key: http(
        "POST /mcp", LISTEN, authorization=key, content_length=str(len(LISTEN)), mcp_protocol_version="2026-07-28",
        mcp_method="subscriptions/listen", **ACCEPT,
    ),
    "unknown path with a body": lambda key: http("POST /nothing", b"{", authorization=key, content_length="1000"),
}  # fmt: skip


@pytest.mark.parametrize("sources", [ONE, MANY], ids=["one address", "ten addresses"])
async def test_the_server_answers_beside_600_held_sockets(tmp_path: Path, sources: list[str]) -> None:
    keys = {"CALLTRIAGE_HTTP_TOKEN": TOKEN}
    async with started(tmp_path, "serve", "--http", "--port", "0", **keys) as address:
        for said in TO_THE_SERVER.values():
            for key in (f"Bearer {TOKEN}", "Bearer wrong"):
                async with held(address, said(key), sources):
                    await is_answered(address)


async def is_answered(address: str) -> None:
    """Probes and a client with the token are answered, on new connections."""
    base = address.removesuffix("/mcp")
    with anyio.fail_after(PATIENCE):
        async with httpx2.AsyncClient(timeout=PATIENCE, trust_env=False) as probe:
            assert (await probe.get(f"{base}/healthz")).status_code == 200
            assert (await probe.get(f"{base}/readyz")).status_code == 200
        async with httpx2.AsyncClient(headers={"authorization": f"Bearer {TOKEN}"}, timeout=PATIENCE) as with_token:
            body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
            answer = await with_token.post(address, json=body, headers={"accept": ACCEPT["accept"]})
            assert answer.status_code == 200
            assert "create_issue" in answer.text


def to_the_desk(key: str, download: str) -> dict[str, bytes]:
    form = {"content_type": "application/x-www-form-urlencoded"}
    return {
        "one byte of a form": http("POST /oauth/token", b"g", content_length="40", **form),
        "a form without its type": http("POST /oauth/token", b"g", content_length="40"),
        "half a body": http("POST /v1/triage/issues", b"{", authorization=key, content_length="40"),
        "half a body without a key": http("POST /v1/triage/issues", b"{", content_length="40"),
        "unread download": http(f"GET {download}"),
        "silence": b"",
    }


@pytest.mark.parametrize("sources", [ONE, MANY], ids=["one address", "ten addresses"])
async def test_the_desk_answers_beside_600_held_sockets(tmp_path: Path, sources: list[str]) -> None:
    key = (await run(tmp_path, "desk", "keys", "show"))[1].strip()
    async with (
        started(tmp_path, "desk", "serve", "--port", "0") as address,
        httpx2.AsyncClient(base_url=address, timeout=PATIENCE, trust_env=False) as client,
    ):
        download = await stored(client, key, bytes(4 * 2**20))
        for what, said in to_the_desk(key, download.removeprefix(address)).items():
            async with held(address, said, sources):
                with anyio.fail_after(PATIENCE):
                    await is_answered_by_the_desk(address, key, what)


async def is_answered_by_the_desk(address: str, key: str, what: str) -> None:
    for path in ("/healthz", "/readyz"):
        async with httpx2.AsyncClient(base_url=address, timeout=PATIENCE) as probe:
            answer = await probe.get(path)
            assert answer.status_code == 200, (what, answer.text)
    async with httpx2.AsyncClient(base_url=address, timeout=PATIENCE) as fresh:
        listed = await fresh.get("/v1/triage/issues", headers={"authorization": key})
        assert listed.status_code == 200, what
        assert await token_of(fresh, key)


async def token_of(client: httpx2.AsyncClient, key: str) -> dict[str, str]:
    form = {"grant_type": "client_credentials"}
    answer = await client.post("/oauth/token", data=form, auth=("desk", key))
    assert answer.status_code == 200, answer.text
    return {"authorization": f"Bearer {answer.json()['access_token']}"}


async def stored(client: httpx2.AsyncClient, key: str, data: bytes) -> str:
    """Store an attachment; the URL of its bytes."""
    bearer = await token_of(client, key)
    link = (await client.post("/attachments/2023-03/upload-link", headers=bearer)).json()
    await client.put(link["url"], content=data)
    new = {"name": "large.bin", "request_id": link["request_id"]}
    made = (await client.post("/attachments/2023-03", json=new, headers=bearer)).json()
    path = f"/attachments/2023-03/{made['id']}/download-link"
    return (await client.get(path, headers=bearer)).json()["url"]


async def test_a_client_that_works_keeps_its_connection_while_others_hold_theirs(tmp_path: Path) -> None:
    async with (
        started(tmp_path, "serve", "--http", "--port", "0") as address,
        Client(address) as client,
        held(address, http("POST /mcp", b"{", content_length="1000", **ACCEPT), ONE),
    ):
        for _ in range(3):
            with anyio.fail_after(PATIENCE):
                assert (await client.list_tools()).tools
