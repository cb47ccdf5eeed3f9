"""Clients that go away at random moments: each write happened and is on record as done, or did not happen."""

from __future__ import annotations

import os
import random
from pathlib import Path

import anyio
import httpx2
import pytest
from conftest import CALLS, DESK_URL, KEY, endpoints_to, load_lines
from mcp.client import Client as McpClient
from pydantic import SecretStr

from calltriage.client.client import open_client
from calltriage.desk.app import Desk
from calltriage.journal.journal import Journal
from calltriage.operations.issues import ListIssues
from calltriage.server.app import build_server


@pytest.mark.parametrize("calls", [pytest.param(40, id="few"), pytest.param(500, id="many", marks=pytest.mark.long)])
async def test_a_client_that_goes_away_leaves_a_write_done_and_recorded_or_undone(tmp_path: Path, calls: int) -> None:
    seed = int(os.environ.get("CALLTRIAGE_TEST_SEED") or random.randrange(2**32))
    print("seed", seed)
    chance = random.Random(seed)
    desk, journal = Desk(tmp_path, SecretStr(KEY), DESK_URL), Journal(tmp_path)
    await load_lines(desk, *CALLS)
    transport = httpx2.ASGITransport(desk, raise_app_exceptions=False)
    async with (
        open_client(endpoints_to(transport), ledger=journal) as client,
        McpClient(build_server(client, version="0", journal=journal)) as agent,
    ):
        before = len(anyio.get_running_tasks())
        for number in range(calls):
            new = {"title": f"Issue {number}", "severity": "low", "category": "Bug", "on_duplicate": "create"}
            with anyio.move_on_after(chance.uniform(0, 0.06)):
                await agent.call_tool("create_issue", new)
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
