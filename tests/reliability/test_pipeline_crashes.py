"""A run whose process is killed again and again: no call is lost, nothing is filed twice, hardly a call is read again.

uv run pytest -n0 -m long -s tests/reliability/test_pipeline_crashes.py      200 rounds; prints figures and the seed
"""

from __future__ import annotations

import os
import random
import sys
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from anyio.abc import Process
from conftest import KEY, endpoints_to, load_lines
from pipeline_lines import silent_line
from pydantic import SecretStr
from reliability.seeds import seeded

from calltriage.client.client import open_client
from calltriage.client.in_process import background
from calltriage.desk.app import Desk
from calltriage.leaves.shutdown import Ending
from calltriage.operations.flags import ListFlags
from calltriage.operations.issues import ListIssues
from calltriage.pipelines.runners.embedded import AT_ONCE
from calltriage.serving import address_of, listen, serve_app

pytestmark = pytest.mark.slow

PATIENCE = 300
PIPELINE = """name = "crashes"
[[detect]]
use = "agent_silence"
at_least = "8s"
file = "auto"
min_precision = 0.0
[issues]
max_evidence = 200
review_share = 0.0
"""


class Vendor:
    """A desk on a port that counts which calls are read, as a vendor would."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.read = Counter[str]()
        self.requests = 0
        self.moved = anyio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            self.requests += 1
            if scope["method"] == "GET" and scope["path"].startswith("/v1/calls/"):
                self.read[scope["path"].rpartition("/")[2]] += 1
            self.moved.set()
        await self.desk.app(scope, receive, send)

    async def reaches(self, requests: int) -> None:
        while self.requests < requests:
            self.moved = anyio.Event()
            await self.moved.wait()


@asynccontextmanager
async def served(vendor: Vendor) -> AsyncGenerator[str]:
    ending, ready = Ending(), anyio.Event()
    with listen("127.0.0.1", 0) as listening:
        async with background() as tasks:
            tasks.start_soon(partial(serve_app, vendor, listening, lambda _: ready.set(), ending=ending))
            await ready.wait()
            yield address_of(listening)


@asynccontextmanager
async def running(folder: Path, address: str) -> AsyncGenerator[Process]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CALLTRIAGE_")}
    settings = {
        "CALLTRIAGE_DATA_DIR": str(folder / "data"), "CALLTRIAGE_BLAND_API_KEY": KEY,
        "CALLTRIAGE_BLAND_BASE_URL": address, "CALLTRIAGE_VENDOR_RATE": "1000", "CALLTRIAGE_VENDOR_BURST": "1000",
    }  # fmt: skip
    command = [sys.executable, "-m", "calltriage", "pipeline", "run", str(folder / "p.toml")]
    async with await anyio.open_process(command, env=kept | settings, cwd=folder, stdout=None, stderr=None) as process:
        yield process


async def killed(folder: Path, address: str, vendor: Vendor, after: int) -> bool:
    """Run and kill after so many requests; whether it was through before that."""
    status = None
    async with running(folder, address) as process:

        async def kill() -> None:
            await vendor.reaches(vendor.requests + after)
            process.kill()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(kill)
            with anyio.fail_after(PATIENCE):
                status = await process.wait()
            tasks.cancel_scope.cancel()
    return status == 0


@pytest.mark.parametrize("rounds", [pytest.param(10, id="few"), pytest.param(200, id="many", marks=pytest.mark.long)])
async def test_a_run_that_is_killed_again_and_again_loses_nothing_and_files_once(tmp_path: Path, rounds: int) -> None:
    chance, calls = seeded(), 60 * rounds
    (tmp_path / "p.toml").write_text(PIPELINE)
    desk = Desk(tmp_path / "desk", SecretStr(KEY), "http://desk.test")
    lines = [silent_line(f"call-{n:05}", 9.5 if n % 10 == 0 and n < 1500 else 1) for n in range(calls)]
    await load_lines(desk, *lines)
    vendor = Vendor(desk)
    kills = await _until_done(tmp_path, vendor, rounds, chance)
    silent = {f"call-{n:05}" for n in range(0, min(calls, 1500), 10)}
    flagged = await _flagged(vendor)
    await desk.close()
    lost = [f"call-{n:05}" for n in range(calls) if not vendor.read[f"call-{n:05}"]]
    again = sum(count - 1 for call_id, count in vendor.read.items() if call_id not in silent)  # filing reads, too
    twice = [call_id for call_id, count in flagged.items() if count > 1]
    print(f"{kills} kills, {calls} calls: {len(lost)} lost, {len(twice)} flagged twice, {again} read again")
    assert (lost, twice, set(flagged)) == ([], [], silent)
    assert kills >= rounds // 2
    assert again <= kills * AT_ONCE  # calls that were read and not recorded when the process was killed


async def _until_done(folder: Path, vendor: Vendor, rounds: int, chance: random.Random) -> int:
    """Kill a run `rounds` times, then let it end. How many times it was killed."""
    kills = 0
    async with served(vendor) as address:
        for _ in range(rounds):
            if await killed(folder, address, vendor, chance.randrange(1, 120)):
                break
            kills += 1
        async with running(folder, address) as process:
            with anyio.fail_after(PATIENCE):
                assert await process.wait() == 0
    return kills


async def _flagged(vendor: Vendor) -> Counter[str]:
    """How many flags each call has, over all issues; there is one incident, so one issue."""
    found, cursor = Counter[str](), None
    async with open_client(endpoints_to(httpx2.ASGITransport(vendor.desk))) as client:
        [issue] = (await client.send(ListIssues())).items
        while True:
            page = await client.send(ListFlags(issue_id=issue.id, cursor=cursor, limit=100))
            found.update(flag.call_id for flag in page.items)
            if (cursor := page.next_cursor) is None:
                return found
