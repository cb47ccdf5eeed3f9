"""A desk that several processes serve on one port."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread
import httpx2
import pytest
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream
from conftest import KEY
from e2e.processes import PATIENCE, SERVED_AT, environment
from postgres import PostgresServer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children are found in /proc"),
]
ISSUES = "/v1/triage/issues"


@dataclass(frozen=True)
class Desk:
    """The first process, and where it serves."""

    first: Process
    address: str

    def workers(self) -> set[int]:
        """The processes that the first one started."""
        children = Path(f"/proc/{self.first.pid}/task/{self.first.pid}/children").read_text().split()
        return {int(number) for number in children}

    def client(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(base_url=self.address, headers={"authorization": KEY}, timeout=PATIENCE)


@asynccontextmanager
async def served(folder: Path, **settings: str) -> AsyncGenerator[Desk]:
    own = {"CALLTRIAGE_DATA_DIR": str(folder / "data"), "CALLTRIAGE_DESK_API_KEY": KEY, **settings}
    command = [sys.executable, "-m", "calltriage", "desk", "serve", "--port", "0", "--workers", "2"]
    async with await anyio.open_process(command, env=environment(**own), cwd=folder) as first:
        try:
            assert first.stderr is not None
            with anyio.fail_after(PATIENCE):
                line = (await BufferedByteReceiveStream(first.stderr).receive_until(b"\n", 65536)).decode()
            found = re.search(SERVED_AT, line)
            assert found is not None, line
            yield Desk(first, found[1])
        finally:
            if first.returncode is None:
                first.terminate()
            with anyio.move_on_after(PATIENCE, shield=True):
                await first.wait()


async def gone(number: int) -> None:
    """Wait until a process has ended."""
    try:
        watched = os.pidfd_open(number)
    except ProcessLookupError:
        return
    try:
        with anyio.fail_after(PATIENCE):
            await anyio.wait_readable(watched)
    finally:
        os.close(watched)


def _status(number: int) -> str | None:
    try:
        return Path(f"/proc/{number}/status").read_text()
    except OSError:
        return None


async def new_issue(client: httpx2.AsyncClient) -> str:
    made = await client.post(ISSUES, json={"title": "Filed", "severity": "low", "category": "Bug"})
    return made.json()["data"]["id"]


async def attach_everywhere(desk: Desk, issue: str, connections: int) -> list[int]:
    """The statuses of one and the same attach over so many connections at once."""
    statuses = list[int]()

    async def attach() -> None:
        async with desk.client() as client:
            about = {"resource_type": "call", "resource_id": "call-1"}
            statuses.append((await client.post(f"{ISSUES}/{issue}/resources", json=about)).status_code)

    async with anyio.create_task_group() as tasks:
        for _ in range(connections):
            tasks.start_soon(attach)
    return statuses


async def write_by_both(desk: Desk) -> None:
    async with desk.client() as client:
        issue = await new_issue(client)
        statuses = await attach_everywhere(desk, issue, 32)
        assert sorted(statuses) == [*[200] * 31, 201]
        assert (await client.get(f"{ISSUES}/{issue}")).json()["data"]["resource_count"] == 1


def import_a_call(folder: Path, **settings: str) -> None:
    line = (
        '{"call_id": "call-1", "created_at": "2026-05-01T10:00:00Z", "turns": [{"speaker": "agent", "text": "Hello"}]}'
    )
    command = [sys.executable, "-m", "calltriage", "desk", "import", "-"]
    own = {"CALLTRIAGE_DATA_DIR": str(folder / "data"), **settings}
    subprocess.run(command, input=line.encode(), env=environment(**own), check=True, timeout=PATIENCE)


async def test_a_signal_to_the_first_process_ends_all_with_status_0(tmp_path: Path) -> None:
    async with served(tmp_path) as desk:
        workers = desk.workers()
        assert len(workers) == 2
        desk.first.send_signal(signal.SIGTERM)
        with anyio.fail_after(PATIENCE):
            assert await desk.first.wait() == 0
        assert [_status(number) for number in workers] == [None, None]


async def test_writes_at_once_by_both_processes_have_their_effect_once(tmp_path: Path) -> None:
    await anyio.to_thread.run_sync(import_a_call, tmp_path)
    async with served(tmp_path) as desk:
        await write_by_both(desk)


async def test_writes_at_once_by_both_processes_on_postgresql(tmp_path: Path, postgres: PostgresServer) -> None:
    with postgres.database() as url:
        await anyio.to_thread.run_sync(lambda: import_a_call(tmp_path, CALLTRIAGE_DATABASE_URL=url))
        async with served(tmp_path, CALLTRIAGE_DATABASE_URL=url) as desk:
            await write_by_both(desk)


async def test_a_killed_process_leaves_the_port_to_the_other(tmp_path: Path) -> None:
    async with served(tmp_path) as desk, desk.client() as client:
        killed = min(desk.workers())
        os.kill(killed, signal.SIGKILL)
        await gone(killed)
        assert (await client.get(ISSUES)).status_code == 200


async def test_killed_processes_are_started_again_and_a_request_waits_for_them(tmp_path: Path) -> None:
    async with served(tmp_path) as desk, desk.client() as client:
        killed = desk.workers()
        for number in killed:
            os.kill(number, signal.SIGKILL)
        for number in killed:
            await gone(number)
        assert (await client.get(ISSUES)).status_code == 200
        assert killed.isdisjoint(desk.workers())


async def test_all_end_when_the_first_process_is_killed(tmp_path: Path) -> None:
    async with served(tmp_path) as desk:
        workers = desk.workers()
        desk.first.send_signal(signal.SIGKILL)
        await desk.first.wait()
        for number in workers:
            await gone(number)
        async with desk.client() as client:
            with pytest.raises(httpx2.ConnectError):
                await client.get(ISSUES)


async def test_a_desk_that_cannot_start_says_so_once_and_ends(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("no folder")
    own = {"CALLTRIAGE_DATA_DIR": str(tmp_path / "data"), "CALLTRIAGE_DESK_API_KEY": KEY}
    command = [sys.executable, "-m", "calltriage", "desk", "serve", "--port", "0", "--workers", "2"]
    with anyio.fail_after(PATIENCE):
        done = await anyio.run_process(command, env=environment(**own), cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert [line[:29] for line in done.stderr.decode().splitlines()] == ["calltriage: The data folder /"]
