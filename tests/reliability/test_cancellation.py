"""Clients that go away at random moments: each write happened and is on record as done, or did not happen.

uv run pytest tests/reliability/test_cancellation.py -m long -s      500 of them, in process and on sockets
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import httpx2
import pytest
from anyio.abc import SocketAttribute, SocketStream
from conftest import CALLS, DESK_URL, KEY, endpoints_to, load_lines
from e2e.processes import PATIENCE, environment
from mcp.client import Client as McpClient
from pydantic import SecretStr
from reliability.seeds import seeded
from sqlalchemy import insert, select

from calltriage.client.client import open_client
from calltriage.desk.app import Desk
from calltriage.desk.database.tables import issues, settings
from calltriage.journal.journal import Journal
from calltriage.operations.issues import ListIssues
from calltriage.server.app import build_server

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("calls", [pytest.param(40, id="few"), pytest.param(500, id="many", marks=pytest.mark.long)])
async def test_a_client_that_goes_away_leaves_a_write_done_and_recorded_or_undone(tmp_path: Path, calls: int) -> None:
    chance = seeded()
    desk, journal = Desk(tmp_path, SecretStr(KEY), DESK_URL), Journal(tmp_path)
    await load_lines(desk, *CALLS)
    transport = httpx2.ASGITransport(desk, raise_app_exceptions=False)
    async with (
        open_client(endpoints_to(transport), ledger=journal) as client,
        McpClient(build_server(client, version="0", journal=journal)) as agent,
    ):
        new = {"severity": "low", "category": "Bug", "on_duplicate": "create"}
        before, longest = len(anyio.get_running_tasks()), 0.0
        for number in range(calls):
            began = anyio.current_time()
            # The first few calls are whole: they tell how long one takes here.
            with anyio.move_on_after(PATIENCE if number < 4 else chance.uniform(0, 1.5 * longest)):
                await agent.call_tool("create_issue", {**new, "title": f"Issue {number}"})
            longest = anyio.current_time() - began if number < 4 else longest
        with anyio.fail_after(30):
            while len(anyio.get_running_tasks()) > before:
                await anyio.lowlevel.checkpoint()
        stored, cursor = 0, None
        while True:
            page = await client.send(ListIssues(limit=100, cursor=cursor))
            stored, cursor = stored + len(page.items), page.next_cursor
            if cursor is None:
                break
    rows, found = await journal.every(), await journal.verify()
    await journal.close()
    await desk.close()
    asked = {row.write_id for row in rows if row.kind == "asked"}
    settled = {row.write_id: row.outcome for row in rows if row.kind == "outcome"}
    committed = sum(outcome == "committed" for outcome in settled.values())
    print(
        f"{calls} calls cut off at random: {len(asked)} writes begun, {stored} carried out, {committed} recorded as done"
    )
    assert (found.broken_at, asked - set(settled), stored) == (None, set(), committed)
    assert stored > 0


@asynccontextmanager
async def http_server(folder: Path) -> AsyncGenerator[tuple[str, int]]:
    """The MCP server on a port; its URL and its process."""
    command = [sys.executable, "-m", "calltriage", "serve", "--http", "--port", "0"]
    env = environment(CALLTRIAGE_DATA_DIR=str(folder), CALLTRIAGE_WRITES_PER_MINUTE="0")
    async with await anyio.open_process(command, env=env, cwd=folder.parent, stdout=None) as process:
        assert process.stderr is not None
        said = b""
        with anyio.fail_after(PATIENCE):
            while not (b" at http://" in said and said.endswith(b"\n")):
                said += await process.stderr.receive()
        try:
            yield said.decode().split(" at ")[1].split()[0], process.pid
        finally:
            process.terminate()
            with anyio.fail_after(PATIENCE):
                async for _ in process.stderr:
                    pass
                status = await process.wait()
    assert status == 0


def request(number: int, host: str) -> bytes:
    new = {"title": f"Issue {number}", "severity": "low", "category": "Bug", "on_duplicate": "create"}
    params: dict[str, Any] = {"name": "create_issue", "arguments": new}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
    head = (
        f"POST /mcp HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        "Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2025-11-25\r\n\r\n"
    )
    return head.encode() + body


async def asked_for(url: str, number: int, *, cut: float | None = None, share: float = 1, rst: bool = False) -> bytes:
    """What comes back of a request, of which only a share is sent, until the connection is cut after `cut` seconds."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 0
    stream: SocketStream = await anyio.connect_tcp(host, port)
    came, whole = b"", request(number, f"{host}:{port}")
    async with stream:
        await stream.send(whole[: round(len(whole) * share)])
        with anyio.move_on_after(cut if cut is not None else PATIENCE):
            while b"structuredContent" not in came:
                came += await stream.receive()
        if rst:
            raw: socket.socket = stream.extra(SocketAttribute.raw_socket)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return came


def open_files(process: int) -> int:
    return len(os.listdir(f"/proc/{process}/fd"))


@pytest.mark.skipif(sys.platform != "linux", reason="open files are counted in /proc")
@pytest.mark.parametrize("cuts", [pytest.param(60, id="few"), pytest.param(500, id="many", marks=pytest.mark.long)])
async def test_connections_cut_in_the_middle_of_a_request_leave_nothing_behind(tmp_path: Path, cuts: int) -> None:
    chance, folder, heard, more = seeded(), tmp_path / "data", list[bool](), 0
    async with http_server(folder) as (url, process):
        for first in (0, 16):
            async with anyio.create_task_group() as tasks:
                for number in range(16):
                    tasks.start_soon(asked_for, url, 10_000 + first + number)
        began = anyio.current_time()
        await asked_for(url, 11_000)
        before, longest = open_files(process), anyio.current_time() - began
        for number in range(cuts):  # one after the other: of many at once most would be cut before they had begun
            share, after_s = 1.0 if chance.random() < 0.8 else chance.random(), chance.uniform(0, 1.5 * longest)
            came = await asked_for(url, number, cut=after_s, share=share, rst=chance.random() < 0.5)
            heard.append(b"structuredContent" in came)
        with anyio.fail_after(PATIENCE):
            while (after := open_files(process)) > before:
                await asked_for(url, 20_000 + more)
                more += 1
        with anyio.fail_after(PATIENCE):  # nobody holds a lock any more
            desk, journal = Desk(folder, SecretStr(KEY), DESK_URL), Journal(folder)
            await desk.store.write(lambda connection: connection.execute(insert(settings).values(name="x", value="")))
    stored = await desk.store.read(lambda connection: connection.execute(select(issues.c.title)).scalars().all())
    rows, found = await journal.every(), await journal.verify()
    await desk.close()
    await journal.close()
    asked = {row.write_id for row in rows if row.kind == "asked"}
    settled = {row.write_id: row.outcome for row in rows if row.kind == "outcome"}
    whole = 33 + more
    print(f"{cuts} connections cut, {cuts - sum(heard)} of them before the answer: {len(asked) - whole} writes begun, "
          f"{len(stored) - whole} carried out and recorded as done; {before} files open before, {after} after")  # fmt: skip
    assert (found.broken_at, asked - set(settled)) == (None, set())
    assert len(stored) == len(set(stored)) == sum(outcome == "committed" for outcome in settled.values())
