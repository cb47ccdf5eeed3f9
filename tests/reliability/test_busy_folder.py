"""Another process keeps the desk's file, or the journal's, to itself: a call hears in time that nothing was done."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from conftest import CALLS, DESK_URL, KEY, endpoints_to, load_lines
from mcp.client import Client as McpClient
from pydantic import SecretStr

from calltriage.client.client import open_client
from calltriage.client.in_process import InProcess, background
from calltriage.desk.app import Desk
from calltriage.desk.database.store import DATABASE
from calltriage.journal.journal import FILE, Journal
from calltriage.operations.issues import ListIssues
from calltriage.server.app import build_server
from calltriage.storage.sqlite import sqlite_driver

NEW = {"title": "Card line is silent", "severity": "high", "category": "Speech", "on_duplicate": "create"}


@pytest.mark.slow
@pytest.mark.parametrize("key", ["k", None])
@pytest.mark.parametrize("file", [DATABASE, FILE])
async def test_a_call_that_waits_for_another_process_hears_in_time_and_may_be_made_again(
    tmp_path: Path, file: str, key: str | None
) -> None:
    desk, journal = Desk(tmp_path, SecretStr(KEY), DESK_URL), Journal(tmp_path)
    await load_lines(desk, *CALLS)
    driver: Any = sqlite_driver()
    async with (
        background() as tasks,
        open_client(endpoints_to(InProcess(desk, tasks)), deadline_s=2, ledger=journal) as client,
        McpClient(build_server(client, version="0", journal=journal)) as agent,
    ):
        arguments = NEW | ({"idempotency_key": key} if key else {})
        await journal.database.open()
        with closing(driver.connect(tmp_path / file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with anyio.fail_after(20):  # of a wait that was once thirty seconds
                error = ((await agent.call_tool("create_issue", arguments)).structured_content or {})["error"]
            other.execute("ROLLBACK")
        assert (error["code"], error["outcome"], error["retryable"]) == ("storage_busy", "not_committed", True)
        assert (await client.send(ListIssues())).items == []
        done = (await agent.call_tool("create_issue", arguments)).structured_content or {}
        assert done["outcome"] == "committed"
        assert len((await client.send(ListIssues())).items) == 1
    await desk.close()
    await journal.close()
