"""Files over real sockets and processes: uploads that are cut off, folders that a host declares, URLs beside the token."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import httpx2
import mcp_types
import pytest
from anyio.abc import ByteReceiveStream, SocketAttribute, SocketStream
from e2e.processes import PATIENCE, ask, complaint, over_stdio, run, started
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

pytestmark = pytest.mark.slow


class Line:
    """The way to a server, which is cut in the middle of a body as often as `cuts` says."""

    CUT_AFTER = 3 * 2**20

    def __init__(self, port: int) -> None:
        self.url, self.target, self.cuts = f"http://127.0.0.1:{port}", "", 0

    async def serve(self, here: SocketStream) -> None:
        url = urlsplit(self.target)
        async with (
            here,
            await anyio.connect_tcp(url.hostname or "", url.port or 0) as there,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(self._pass_on, here, there, tasks.cancel_scope)
            tasks.start_soon(self._pass_on, there, here, tasks.cancel_scope)

    async def _pass_on(self, source: ByteReceiveStream, to: SocketStream, both: anyio.CancelScope) -> None:
        size = 0
        try:
            async for piece in source:
                size += len(piece)
                if self.cuts and size > self.CUT_AFTER:
                    self.cuts -= 1
                    break
                await to.send(piece)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass
        both.cancel()


@asynccontextmanager
async def line() -> AsyncGenerator[Line]:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        made = Line(listener.extra(SocketAttribute.local_port))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, made.serve)
            yield made
            tasks.cancel_scope.cancel()


async def test_an_upload_that_is_cut_in_half_is_sent_again_or_said_with_what_to_do(tmp_path: Path) -> None:
    _, key, _ = await run(tmp_path, "desk", "keys", "show")
    data, elsewhere = os.urandom(8 * 2**20), tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "a.bin").write_bytes(data)
    async with line() as way, started(tmp_path, "desk", "serve", "--port", "0", "--public-url", way.url) as way.target:
        vendor = {
            "CALLTRIAGE_TALKDESK_CLIENT_ID": "desk",
            "CALLTRIAGE_TALKDESK_CLIENT_SECRET": key.strip(),
            "CALLTRIAGE_TALKDESK_BASE_URL": way.url,
            "CALLTRIAGE_TALKDESK_TOKEN_URL": f"{way.url}/oauth/token",
            "CALLTRIAGE_TOOLSETS": "core,attachments",
        }
        async with Client(over_stdio(elsewhere, **vendor)) as client:
            way.cuts = 1
            made = await ask(client, "create_attachment", path="a.bin")
            assert (made["outcome"], made["sha256"]) == ("committed", hashlib.sha256(data).hexdigest())
            assert way.cuts == 0
            way.cuts = 1000
            error = await complaint(client, "create_attachment", path="a.bin", name="b.bin")
            assert (error["code"], error["outcome"]) == ("unreachable", "not_committed")
            assert "call again" in error["message"]
            assert way.cuts < 1000
            way.cuts = 0
            assert (await ask(client, "list_attachments"))["returned"] == 1
            assert (await ask(client, "create_attachment", path="a.bin", name="b.bin"))["size"] == len(data)
            way.cuts = 1
            saved = await ask(client, "download_attachment", attachment_id=made["id"], save_to=".")
            assert (way.cuts, saved["sha256"]) == (0, made["sha256"])
    assert list((tmp_path / "data" / "blobs" / "incoming").iterdir()) == [], "nothing is left of what was cut"


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_over_stdio_a_host_s_folders_are_open_unless_the_operator_named_some(tmp_path: Path, mode: str) -> None:
    project, here = tmp_path / "project", tmp_path / "here"
    for folder in (project, here):
        folder.mkdir()
    (project / "report.md").write_text("# Findings\n")
    asked = list[str]()

    async def declared(context: Any) -> mcp_types.ListRootsResult:
        asked.append(mode)
        return mcp_types.ListRootsResult.model_validate({"roots": [{"uri": project.as_uri()}]})

    async with Client(over_stdio(here), list_roots_callback=declared, mode=mode) as client:
        await client.list_tools()
        assert asked == []
        assert (await ask(client, "create_attachment", path=str(project / "report.md")))["size"] == 11
        assert (await complaint(client, "create_attachment", path="/etc/passwd"))["code"] == "path_not_allowed"
    assert asked == [mode, mode]
    for named in ("none", str(here)):
        server = over_stdio(here, CALLTRIAGE_ALLOWED_ROOTS=named)
        async with Client(server, list_roots_callback=declared, mode=mode) as client:
            error = await complaint(client, "create_attachment", path=str(project / "report.md"))
            assert error["code"] == "path_not_allowed"
    assert asked == [mode, mode]


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_over_http_files_go_past_the_token_by_their_urls_and_no_local_file_is_open(
    tmp_path: Path, mode: str
) -> None:
    token, data = "t" * 32, bytes(range(256)) * 40_000
    (tmp_path / "report.md").write_text("the server's")

    async def declared(context: Any) -> mcp_types.ListRootsResult:
        raise AssertionError("nobody is asked over HTTP")

    command = ("serve", "--http", "--port", "0", "--toolsets", "core,attachments")
    settings = {"CALLTRIAGE_HTTP_TOKEN": token, "CALLTRIAGE_ALLOWED_ROOTS": str(tmp_path)}
    async with (
        started(tmp_path, *command, **settings) as address,
        httpx2.AsyncClient(headers={"authorization": f"Bearer {token}"}, timeout=PATIENCE) as known,
        httpx2.AsyncClient(timeout=PATIENCE) as stranger,
        Client(streamable_http_client(address, http_client=known), list_roots_callback=declared, mode=mode) as client,
    ):
        for path in ("report.md", str(tmp_path / "report.md")):
            assert (await complaint(client, "create_attachment", path=path))["code"] == "path_not_allowed"
        offer = (await ask(client, "create_attachment", upload="new"))["upload"]
        base, handle = address.removesuffix("/mcp"), offer["handle"]
        assert offer["url"] == f"{base}/uploads/{handle}"
        await half_sent(offer["url"], data)
        assert (await stranger.put(offer["url"], content=data)).status_code == 200, "half a body used nothing up"
        assert (await stranger.put(offer["url"], content=data)).status_code == 409
        altered = handle[:-4] + ("AAAA" if not handle.endswith("AAAA") else "BBBB")
        for url, status in ((f"{base}/uploads/{altered}", 403), (f"{base}/uploads/x", 403), (address, 401)):
            assert (await stranger.put(url, content=data)).status_code == status
        assert (await stranger.get(f"{base}/downloads/{handle}")).status_code == 403
        made = await ask(client, "create_attachment", upload=handle, name="a.bin")
        assert (made["size"], made["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
        link = (await ask(client, "download_attachment", attachment_id=made["id"]))["link"]["url"]
        got = await stranger.get(link)
        assert (got.status_code, got.content) == (200, data)
        assert (await stranger.get(link[:-4] + ("AAAA" if not link.endswith("AAAA") else "BBBB"))).status_code == 403


async def half_sent(url: str, data: bytes) -> None:
    """PUT half of the announced bytes and hang up."""
    parts = urlsplit(url)
    async with await anyio.connect_tcp(parts.hostname or "", parts.port or 0) as stream:
        head = f"PUT {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: {len(data)}\r\n\r\n"
        await stream.send(head.encode() + data[: len(data) // 2])
