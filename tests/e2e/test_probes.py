"""/healthz and /readyz of real servers: they need no credentials, tell nothing else, and ask no vendor."""

from __future__ import annotations

import shutil
from pathlib import Path

import anyio
import httpx2
import pytest
from anyio.abc import SocketStream
from e2e.processes import PATIENCE, run, started

pytestmark = pytest.mark.slow

TOKEN = "t" * 40


async def probe(base: str, path: str) -> tuple[int, str]:
    async with httpx2.AsyncClient(base_url=base, timeout=PATIENCE, trust_env=False) as client:
        answer = await client.get(path, headers={"host": "10.1.2.3:8000"})
    assert set(answer.headers) <= {"date", "content-type", "content-length", "cache-control"}
    return answer.status_code, answer.text


@pytest.mark.parametrize("arguments", [("serve", "--http"), ("desk", "serve")])
async def test_a_server_on_its_own_desk_is_ready(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    async with started(tmp_path, *arguments, "--port", "0", CALLTRIAGE_HTTP_TOKEN=TOKEN) as address:
        base = address.removesuffix("/mcp")
        assert await probe(base, "/healthz") == (200, "ok\n")
        assert await probe(base, "/readyz") == (200, "ok\n")


async def test_each_answer_of_a_desk_on_a_port_has_one_date(tmp_path: Path) -> None:
    async with (
        started(tmp_path, "desk", "serve", "--port", "0") as base,
        httpx2.AsyncClient(base_url=base, timeout=PATIENCE, trust_env=False) as client,
    ):
        for path in ("/openapi.json", "/v1/me", "/nothing", "/healthz", "/blobs/x"):
            assert len((await client.get(path)).headers.get_list("date")) == 1, path


async def test_a_server_whose_folder_cannot_be_used_lives_and_is_not_ready(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "journal.sqlite3").write_bytes(b"this is no database" * 100)
    async with started(tmp_path, "serve", "--http", "--port", "0", CALLTRIAGE_HTTP_TOKEN=TOKEN) as address:
        base = address.removesuffix("/mcp")
        assert await probe(base, "/healthz") == (200, "ok\n")
        assert await probe(base, "/readyz") == (503, "not ready\n")
    shutil.rmtree(tmp_path / "data")


@pytest.mark.parametrize("arguments", [("serve", "--http"), ("desk", "serve")])
async def test_a_server_whose_files_are_gone_is_not_ready(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    lines = tmp_path / "files.jsonl"
    lines.write_text('{"kind": "file", "name": "a.txt", "base64": "eA==", "type": "text/plain"}')
    status, _, said = await run(tmp_path, "desk", "import", str(lines))
    assert status == 0, said
    async with started(tmp_path, *arguments, "--port", "0", CALLTRIAGE_HTTP_TOKEN=TOKEN) as address:
        base = address.removesuffix("/mcp")
        assert await probe(base, "/readyz") == (200, "ok\n")
        shutil.rmtree(tmp_path / "data" / "blobs")
        with anyio.fail_after(PATIENCE):
            while await probe(base, "/readyz") != (503, "not ready\n"):  # the answer before is good for a second
                await anyio.lowlevel.checkpoint()


async def test_the_vendors_last_answer_counts_and_no_probe_asks_for_one(tmp_path: Path) -> None:
    asked = 0

    async def vendor(stream: SocketStream) -> None:
        nonlocal asked
        async with stream:
            await stream.receive()
            asked += 1
            await stream.send(b"HTTP/1.1 401 No\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    settings = {"CALLTRIAGE_BLAND_API_KEY": "k" * 20, "CALLTRIAGE_BLAND_BASE_URL": f"http://127.0.0.1:{port}"}
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, vendor)
        async with started(tmp_path, "serve", "--http", "--port", "0", **settings) as address:
            base = address.removesuffix("/mcp")
            assert await probe(base, "/readyz") == (200, "ok\n")
            assert asked == 0
            params = {"name": "list_issues", "arguments": {}}
            call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
            async with httpx2.AsyncClient(timeout=PATIENCE, trust_env=False) as client:
                accept = {"accept": "application/json, text/event-stream"}
                assert "error" in (await client.post(address, json=call, headers=accept)).text
            before = asked
            with anyio.fail_after(PATIENCE):
                while await probe(base, "/readyz") != (503, "not ready\n"):  # the answer before is good for a second
                    await anyio.lowlevel.checkpoint()
            assert await probe(base, "/healthz") == (200, "ok\n")
            assert asked == before > 0
        group.cancel_scope.cancel()
