"""A wall clock that is set in the middle of the work: no crash, no negative wait, nothing twice."""

from __future__ import annotations

import random
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from conftest import DESK_URL, KEY, Clock, endpoints_to
from e2e.processes import over_stdio
from faults import Scripted, Waits, answers
from mcp.client import Client as McpClient
from pydantic import SecretStr
from reliability.seeds import seeded

from calltriage.client import retries
from calltriage.client.client import open_client
from calltriage.client.credentials import ApiKey, Endpoint
from calltriage.client.retries import RetryPolicy
from calltriage.desk.app import Desk
from calltriage.errors import CallError
from calltriage.journal.journal import Journal
from calltriage.offering import ALL
from calltriage.operations.base import Api
from calltriage.operations.flags import ListFlagTypes
from calltriage.server.app import build_server
from calltriage.server.toolsets import select


@pytest.mark.parametrize("rounds", [5, pytest.param(100, marks=pytest.mark.long)])
async def test_work_goes_on_whatever_the_clock_is_set_to(
    the_desk: Desk, clock: Clock, tmp_path: Path, rounds: int
) -> None:
    chance, journal = seeded(), Journal(tmp_path / "journal", clock=clock)
    transport = httpx2.ASGITransport(the_desk, raise_app_exceptions=False)
    async with (
        open_client(endpoints_to(transport), ledger=journal) as client,
        McpClient(build_server(client, version="0", tools=select([ALL]), journal=journal, confirm="allow")) as agent,
    ):

        async def called(tool: str, **arguments: Any) -> dict[str, Any]:
            set_by_a_day(chance, clock)
            body = (await agent.call_tool(tool, arguments)).structured_content or {}
            assert "error" not in body, body
            return body

        for number in range(rounds):
            new = {"title": f"Issue {number}", "severity": "low", "category": "Bug", "on_duplicate": "create"}
            key = {"idempotency_key": f"k{number}"}
            issue = await called("create_issue", **new, **key)
            issue_id = issue["id"]
            # A key is kept for two days, so that a clock set forward by one does not end it.
            assert (await called("create_issue", **new, **key))["outcome"] in {"committed", "replayed"}
            await called("attach_resource", issue_id=issue_id, resource_type="call", resource_id="call-card")
            flag = {"issue_id": issue_id, "call_id": "call-card", "type": "silence"}
            await called("add_flag", **flag)
            await called("create_attachment", name=f"{number}.txt", text="found", attach_to=issue_id)
            page = await called("list_issues", limit=1)
            while page.get("next_cursor") and number < 5:
                page = await called("list_issues", limit=1, cursor=page["next_cursor"])
            await called("get_evidence", issue_id=issue_id)
        assert (await journal.verify()).broken_at is None
    await journal.close()
    print(f"clock set by a day 8 times in each of {rounds} rounds: 0 errors")


def set_by_a_day(chance: random.Random, clock: Clock) -> None:
    """Back or forth, never further from the truth than a day."""
    away = (clock.now - TRUE).days
    clock.advance(days=-1 if away > 0 else 1 if away < 0 else chance.choice([-1, 0, 1]))


TRUE = datetime(2026, 5, 6, 12, tzinfo=UTC)


@pytest.mark.parametrize("days", [-1, 0, 1])
async def test_a_date_to_wait_for_is_never_a_negative_wait(monkeypatch: pytest.MonkeyPatch, days: int) -> None:
    now = datetime.now(UTC)
    monkeypatch.setattr(retries, "time", (now + timedelta(days=days)).timestamp)
    waits = Waits()
    vendor = Scripted(answers(429, headers={"retry-after": format_datetime(now + timedelta(seconds=5), usegmt=True)}))
    endpoint = Endpoint(DESK_URL, ApiKey(SecretStr(KEY)), vendor, retry=RetryPolicy(sleep=waits))
    async with open_client({Api.TRIAGE: endpoint}) as client:
        with pytest.raises(CallError) as caught:
            await client.send(ListFlagTypes())
    assert (caught.value.retry_after_s or 0) >= 0
    assert all(0 <= wait <= 30 for wait in waits.seconds)


FAKETIME = [*Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")]


@pytest.mark.slow
@pytest.mark.skipif(not FAKETIME, reason="wants Debian's libfaketime, which .ci/run installs")
@pytest.mark.parametrize("after", ["in one process", "after a restart"])
async def test_a_key_is_known_to_a_real_process_whose_clock_is_set_back_by_two_days(tmp_path: Path, after: str) -> None:
    told = tmp_path / "clock"
    told.write_text("+0\n")
    faked = {"LD_PRELOAD": str(FAKETIME[0]), "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    moving = {**faked, "FAKETIME_TIMESTAMP_FILE": str(told), "FAKETIME_NO_CACHE": "1"}
    new = {"title": "Keyed", "severity": "low", "category": "Bug", "on_duplicate": "create", "idempotency_key": "k"}
    async with AsyncExitStack() as stack:
        # After a restart the second process has the true time: the first one was two days ahead of it.
        first_settings = moving if after == "in one process" else {**faked, "FAKETIME": "+49h"}
        agent = await stack.enter_async_context(McpClient(over_stdio(tmp_path, **first_settings)))
        first = (await agent.call_tool("create_issue", new)).structured_content or {}
        told.write_text("-49h\n")
        if after == "after a restart":
            await stack.aclose()
            agent = await stack.enter_async_context(McpClient(over_stdio(tmp_path)))
        again = (await agent.call_tool("create_issue", new)).structured_content or {}
        other = (await agent.call_tool("create_issue", new | {"idempotency_key": "l"})).structured_content or {}
    assert again == {**first, "outcome": "replayed"}
    assert other["outcome"] == "committed", other
    made = [datetime.fromisoformat(body["created_at"]) for body in (first, other)]
    assert made[0] - made[1] > timedelta(hours=48)  # the clock was set back indeed
