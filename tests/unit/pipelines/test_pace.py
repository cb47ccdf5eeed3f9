"""The pace of all processes on a ledger, on both stores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import anyio
import httpx2
import pytest
from conftest import endpoints_to
from ledgers import Url, opened_ledger
from sqlalchemy import select, update

from calltriage.client.client import open_client
from calltriage.client.limits import Rate
from calltriage.operations.base import Api
from calltriage.operations.calls import ListCalls
from calltriage.pipelines.ledger.pace import paced, reserve
from calltriage.pipelines.ledger.tables import paces

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
