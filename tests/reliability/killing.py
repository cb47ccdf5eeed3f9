"""Commands of pipelines that are killed again and again, and a desk on a port that counts what they read of it."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx2
from anyio.abc import Process
from conftest import KEY, endpoints_to
from e2e.processes import environment

from calltriage.client.client import Client, open_client
from calltriage.client.in_process import background
from calltriage.desk.app import Desk
from calltriage.leaves.shutdown import Ending
from calltriage.operations.flags import ListFlags
from calltriage.operations.issues import ListIssues
from calltriage.serving import address_of, listen, serve_app

PATIENCE = 300
"""Seconds after which something that should have happened has not."""
PIPELINE = """name = "crashes"
[calls]
settle = "0s"
[watch]
every = "1s"
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

    async def flagged(self) -> Counter[str]:
        """How many flags each call has; there is one incident, so one issue."""
        async with open_client(endpoints_to(httpx2.ASGITransport(self.desk))) as client:
            return await flags(client)


async def flags(client: Client) -> Counter[str]:
    """How many flags each call has on the one issue, once there is one."""
    found, cursor = Counter[str](), None
    there = (await client.send(ListIssues())).items
    if not there:
        return found
    [issue] = there
    while True:
        page = await client.send(ListFlags(issue_id=issue.id, cursor=cursor, limit=100))
        found.update(flag.call_id for flag in page.items)
        if (cursor := page.next_cursor) is None:
            return found


@asynccontextmanager
async def served(vendor: Vendor) -> AsyncGenerator[str]:
    ending, ready = Ending(), anyio.Event()
    with listen("127.0.0.1", 0) as listening:
        async with background() as tasks:
            tasks.start_soon(partial(serve_app, vendor, listening, lambda _: ready.set(), ending=ending))
            await ready.wait()
            yield address_of(listening)


@dataclass(eq=False)
class Command:
    """A command of the command line with a data folder of its own, as on a machine of its own."""

    folder: Path
    arguments: Sequence[str]
    settings: dict[str, str]
    kills: int = field(default=0, init=False)
    _process: Process | None = field(default=None, init=False)

    @property
    def process(self) -> Process:
        assert self._process is not None
        return self._process

    async def start(self) -> None:
        await self.kill()
        self.folder.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "calltriage", *self.arguments]
        env = environment(**self.settings, CALLTRIAGE_DATA_DIR=str(self.folder / "data"))
        self._process = await anyio.open_process(command, env=env, cwd=self.folder, stdout=None, stderr=None)

    async def kill(self) -> None:
        """End it at once. Nothing of it is done when this returns."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            self.kills += 1
        if self._process is not None:
            await self._process.aclose()  # waits, too

    async def ended(self) -> int:
        with anyio.fail_after(PATIENCE):
            return await self.process.wait()


@asynccontextmanager
async def killed_at_the_end(*commands: Command) -> AsyncGenerator[None]:
    """None of these outlives the block."""
    try:
        yield
    finally:
        with anyio.CancelScope(shield=True):
            for one in commands:
                await one.kill()


def pipeline_settings(address: str, database: str | None = None) -> dict[str, str]:
    """Settings of a command that reads calls from a desk on a port, as from a vendor."""
    settings = {
        "CALLTRIAGE_BLAND_API_KEY": KEY, "CALLTRIAGE_BLAND_BASE_URL": address, "CALLTRIAGE_VENDOR_RATE": "1000",
        "CALLTRIAGE_VENDOR_BURST": "1000", "CALLTRIAGE_SEALING_KEY": "one key on all machines of a test run",
        "CALLTRIAGE_LOG_LEVEL": "WARNING",
    }  # fmt: skip
    return settings if database is None else settings | {"CALLTRIAGE_DATABASE_URL": database}


async def first(*waited: Any) -> None:
    """Wait until the first of these has returned."""
    async with anyio.create_task_group() as tasks:

        async def wait(one: Any) -> None:
            await one()
            tasks.cancel_scope.cancel()

        for one in waited:
            tasks.start_soon(wait, one)


def told(**figures: object) -> None:
    print(json.dumps(figures))
