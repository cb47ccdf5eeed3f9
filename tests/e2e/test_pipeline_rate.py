"""Several processes that examine calls together, before a vendor that refuses what comes faster than it allows."""

from __future__ import annotations

import re
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import Process, TaskStatus
from anyio.streams.buffered import BufferedByteReceiveStream
from conftest import KEY, load_lines
from e2e.processes import environment
from pipeline_lines import silent_line
from postgres import PostgresServer
from pydantic import SecretStr
from reliability.killing import PATIENCE, PIPELINE, Command, Vendor, killed_at_the_end, pipeline_settings, served, told

from calltriage.desk.app import Desk

pytestmark = pytest.mark.slow

PER_SECOND = 5
SETTINGS = {
    "CALLTRIAGE_VENDOR_RATE": str(PER_SECOND), "CALLTRIAGE_VENDOR_BURST": "10", "CALLTRIAGE_LOG_LEVEL": "INFO",
}  # fmt: skip
CALLS = 100
AT_ONCE = 25
"""Three processes with four requests under way each may come at once when the machine held them up; and a few more."""


class Metered(Vendor):
    """A vendor that answers 429 to what its allowance does not cover, by its own clock."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.refused = 0
        self._allowance, self._since = float(AT_ONCE), time.monotonic()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and not self._allows():
            self.refused += 1
            await send({"type": "http.response.start", "status": 429, "headers": [(b"retry-after", b"1")]})
            await send({"type": "http.response.body", "body": b"{}"})
            return
        await super().__call__(scope, receive, send)

    def _allows(self) -> bool:
        now = time.monotonic()
        self._allowance = min(AT_ONCE, self._allowance + PER_SECOND * (now - self._since))
        self._since = now
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True


async def _told(process: Process, stream: BufferedByteReceiveStream, pattern: str) -> str:
    """Wait until a process says this on standard error."""
    with anyio.fail_after(PATIENCE):
        while True:
            line = (await stream.receive_until(b"\n", 65_536)).decode()
            if found := re.search(pattern, line):
                return found[1]


async def work(
    folder: Path, file: Path, settings: dict[str, str], examined: list[int], *, task_status: TaskStatus[None]
) -> None:
    """A worker process until it has done its part of one run; how many calls that were."""
    folder.mkdir()
    command = [sys.executable, "-m", "calltriage", "pipeline", "worker", str(file)]
    env = environment(**settings, CALLTRIAGE_DATA_DIR=str(folder / "data"))
    async with await anyio.open_process(command, env=env, cwd=folder) as process:
        assert process.stderr is not None
        stream = BufferedByteReceiveStream(process.stderr)
        await _told(process, stream, r"(Working on runs)")
        task_status.started()
        examined.append(int(await _told(process, stream, r"(\d+) calls examined here")))
        process.send_signal(signal.SIGTERM)
        with anyio.fail_after(PATIENCE):
            assert await process.wait() == 0


async def test_a_vendor_is_asked_no_faster_by_three_processes_than_by_one_and_little_more_than_once_a_call(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    file = tmp_path / "p.toml"
    file.write_text(PIPELINE)
    desk = Desk(tmp_path / "desk", SecretStr(KEY), "http://desk.test")
    await load_lines(desk, *(silent_line(f"call-{n:03}", 1) for n in range(CALLS)))
    vendor, examined = Metered(desk), list[int]()
    with postgres.database() as url:
        async with served(vendor) as address, anyio.create_task_group() as workers:
            settings = pipeline_settings(address, url) | SETTINGS
            for name in ("one", "two"):
                await workers.start(partial(work, tmp_path / name, file, settings, examined))
            run = Command(tmp_path / "three", ["pipeline", "run", str(file)], settings)
            async with killed_at_the_end(run):
                await run.start()
                assert await run.ended() == 0
    await desk.close()
    told(calls=CALLS, requests=vendor.requests, refused=vendor.refused, examined_by_the_workers=examined)
    assert set(vendor.read) == {f"call-{n:03}" for n in range(CALLS)}
    assert (min(examined) > 0, sum(examined) < CALLS) == (True, True), f"each of the three took part: {examined}"
    assert vendor.refused == 0, f"of {vendor.requests} requests"
    assert vendor.requests <= 1.3 * CALLS
