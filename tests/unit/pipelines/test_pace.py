"""The pace of all processes on a ledger, on both stores."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import anyio
import httpx2
import pytest
from conftest import Clock, endpoints_to
from ledgers import Url, opened_ledger
from mcp.client import Client as McpClient
from pipeline_filing import Bench, spec_of
from sqlalchemy import select, update
from tool_calls import ok

from calltriage.client.client import open_client
from calltriage.client.home import Home
from calltriage.client.limits import Rate
from calltriage.desk.app import Desk
from calltriage.operations.base import Api
from calltriage.operations.calls import ListCalls
from calltriage.pipelines.ledger import Ledger, pace
from calltriage.pipelines.ledger.pace import paced, reserve
from calltriage.pipelines.ledger.tables import paces
from calltriage.pipelines.pipeline import Pipeline
from calltriage.server.app import build_server
from calltriage.server.toolsets import select as select_tools

FILE = 'name = "quiet"\ncalls = { settle = "0s" }\n[[detect]]\nuse = "forbidden"\nphrases = ["nine thirty"]\n'
SLOW = 0.01
"""Requests a second: an instant every 100 s, next to which the time that the test takes does not count."""


async def test_two_processes_never_get_one_instant(tmp_path: Path, ledger_url: Url) -> None:
    waits = list[float]()
    async with opened_ledger(tmp_path, ledger_url) as first, opened_ledger(tmp_path, ledger_url) as second:

        async def take(number: int) -> None:
            waits.append(await reserve((first, second)[number % 2], "TRIAGE", SLOW))

        async with anyio.create_task_group() as tasks:
            for number in range(6):
                tasks.start_soon(take, number)
    assert [round(wait / 100) for wait in sorted(waits)] == [0, 1, 2, 3, 4, 5]


async def test_apis_and_accounts_have_a_pace_each(tmp_path: Path, ledger_url: Url) -> None:
    async with opened_ledger(tmp_path, ledger_url) as one, opened_ledger(tmp_path, ledger_url, "other") as other:
        waits = [
            await reserve(one, "TRIAGE", SLOW),
            await reserve(one, "ATTACHMENTS", SLOW),
            await reserve(other, "TRIAGE", SLOW),
        ]
    assert waits == [0, 0, 0]


@pytest.mark.parametrize("off_s", [86_400.0, -86_400.0])
async def test_a_clock_that_was_wrong_by_a_day_stops_nobody(tmp_path: Path, ledger_url: Url, off_s: float) -> None:
    async with opened_ledger(tmp_path, ledger_url) as ledger:
        await reserve(ledger, "TRIAGE", SLOW)
        change = update(paces).values(next_at=paces.c.next_at + off_s)
        await ledger.write(lambda connection: connection.execute(change) and None)
        assert await reserve(ledger, "TRIAGE", SLOW) == 0


async def test_a_client_waits_for_the_shared_pace_while_a_pipeline_works(tmp_path: Path) -> None:
    vendor = httpx2.MockTransport(lambda _: httpx2.Response(200, json={"count": 0, "calls": []}))
    endpoints = endpoints_to(vendor, "https://vendor.example")
    endpoints[Api.TRIAGE] = replace(endpoints[Api.TRIAGE], rate=Rate(1000, 1000))
    async with open_client(endpoints) as client, opened_ledger(tmp_path) as ledger:
        with paced(client, ledger):
            for _ in range(3):
                await client.send(ListCalls())
        taken = await ledger.read(lambda connection: connection.execute(select(paces.c.api, paces.c.next_at)).all())
        await client.send(ListCalls())
        assert (
            await ledger.read(lambda connection: connection.execute(select(paces.c.api, paces.c.next_at)).all())
            == taken
        )
    assert [row.api for row in taken] == ["TRIAGE"]


async def test_blocks_at_a_shared_pace_that_overlap_leave_none_behind_and_none_without_it() -> None:
    taken, rate = list[str](), Rate(1000, 1000)

    def way(name: str) -> Callable[[], Awaitable[None]]:
        async def take() -> None:
            taken.append(name)

        return take

    with ExitStack() as first, ExitStack() as second:
        first.enter_context(rate.shared(way("first")))
        second.enter_context(rate.shared(way("second")))
        await rate.acquire()
        first.close()  # the one that began first ends first, as two tools of a server do
        await rate.acquire()
        second.close()
        await rate.acquire()
    assert taken == ["second", "second"]


async def test_a_server_takes_turns_for_a_dry_run_and_for_the_turns_of_a_finding(
    tmp_path: Path, the_desk: Desk, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = list[str]()

    async def reserve(_: Ledger, api: str, __: float) -> float:
        taken.append(api)
        return 0.0

    monkeypatch.setattr(pace, "reserve", reserve)
    home = Home(tmp_path / "data", "desk", None, lambda: b"a secret of the tests, long enough")
    endpoints = endpoints_to(httpx2.ASGITransport(the_desk, raise_app_exceptions=False))
    endpoints[Api.TRIAGE] = replace(endpoints[Api.TRIAGE], rate=Rate(1000, 1000))
    async with (
        open_client(endpoints, home=home) as client,
        opened_ledger(home.folder) as ledger,
        McpClient(build_server(client, version="0", tools=select_tools(["pipelines"]))) as agent,
    ):
        bench = Bench(the_desk, client, ledger, clock, spec_of(""))
        await bench.say("first")
        await bench.examine("first")
        (tmp_path / "p.toml").write_text(FILE)
        await Pipeline.load(tmp_path / "p.toml").run(client, call="none")
        taken.clear()
        before = client.requests
        await ok(agent, "run_pipeline", pipeline="quiet", call_id="first")
        [row] = (await ok(agent, "list_findings"))["items"]
        await ok(agent, "get_finding", finding_id=row["id"])
        assert len(taken) == client.requests - before == 2
