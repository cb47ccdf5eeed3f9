"""Commands of pipelines as processes: what they log, and how a signal ends them."""

from __future__ import annotations

import json
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from e2e.processes import PATIENCE, environment, load, run, started
from pipeline_lines import silent_line

QUIET = 'name = "quiet"\n[watch]\nevery = "1s"\n[calls]\nsettle = "0s"\n[[detect]]\nuse = "agent_silence"\n'


async def test_a_watch_logs_the_end_of_each_call(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(QUIET)
    made = datetime.now(UTC).isoformat(timespec="milliseconds")
    await load(tmp_path, silent_line("silent", 9.5, created_at=made))
    said = r'"message": "item ended".*"call_id": "(\w+)"'
    async with started(tmp_path, "pipeline", "watch", "p.toml", "--port", "0", pattern=said) as call_id:
        assert call_id == "silent"


async def test_a_watch_is_reached_under_the_names_that_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(QUIET)
    names = ("--allowed-host", "hooks.example", "--allowed-host", "other.example")
    async with (
        started(tmp_path, "pipeline", "watch", "p.toml", "--port", "0", *names) as address,
        httpx2.AsyncClient(base_url=address) as http,
    ):
        hosts = ("hooks.example", "other.example", "else.example")
        told = [await http.get("/metrics", headers={"host": host}) for host in hosts]
    assert [one.status_code for one in told] == [200, 200, 421]
    assert "--allowed-host" in told[-1].text


HANGS = """from threading import Event

from calltriage.pipelines import detector

@detector(version=1, kind="hangs")
def hangs(call):
    Event().wait()
"""


async def stands(folder: Path) -> dict[str, Any]:
    """The row of the newest run, once there is one."""
    with anyio.fail_after(PATIENCE):
        while True:
            _, told, _ = await run(folder, "pipeline", "status", "--json")
            if told:
                return json.loads(told.splitlines()[0])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
@pytest.mark.parametrize(
    ("number", "status", "state", "why"),
    [
        (signal.SIGINT, 130, "paused", "It was interrupted. The same command goes on."),
        (signal.SIGTERM, -signal.SIGTERM, "paused", "It was interrupted. The same command goes on."),
        (signal.SIGKILL, -signal.SIGKILL, "running", "No process works on it. The same command goes on."),
    ],
)
async def test_a_run_that_a_signal_ended_says_that_nobody_works_on_it(
    tmp_path: Path, number: signal.Signals, status: int, state: str, why: str
) -> None:
    (tmp_path / "hanging.py").write_text(HANGS)
    (tmp_path / "p.toml").write_text(
        'name = "p"\nlimits = { seconds_per_call = 30 }\n[[detect]]\nuse = "hanging:hangs"\n'
    )
    await load(tmp_path, silent_line("silent", 9.5))
    command = [sys.executable, "-m", "calltriage", "pipeline", "run", "p.toml"]
    data = environment(CALLTRIAGE_DATA_DIR=str(tmp_path / "data"))
    async with await anyio.open_process(command, env=data, cwd=tmp_path) as process:
        before = await stands(tmp_path)
        process.send_signal(number)
        with anyio.fail_after(PATIENCE):
            assert await process.wait() == status
    after = await stands(tmp_path)
    assert (before["state"], before["why"]) == ("running", None)
    assert (after["run"], after["state"], after["why"]) == (before["run"], state, why)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGHUP")
async def test_a_run_without_a_terminal_goes_on_at_a_hang_up_and_leaves_no_calls_of_a_file_behind(
    tmp_path: Path,
) -> None:
    (tmp_path / "hanging.py").write_text(HANGS)
    (tmp_path / "p.toml").write_text(
        'name = "p"\nlimits = { seconds_per_call = 30 }\n[[detect]]\nuse = "hanging:hangs"\n'
    )
    (tmp_path / "calls.jsonl").write_text(silent_line("silent", 9.5))
    (tmp_path / "temp").mkdir()
    run_of_file = (
        f'trap "" HUP; exec {sys.executable} -m calltriage pipeline run p.toml --calls calls.jsonl'  # as nohup does
    )
    data = environment(CALLTRIAGE_DATA_DIR=str(tmp_path / "data"), TMPDIR=str(tmp_path / "temp"))
    async with await anyio.open_process(["sh", "-c", run_of_file], env=data, cwd=tmp_path) as process:
        await stands(tmp_path)
        kept = list((tmp_path / "temp").iterdir())
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        with anyio.fail_after(PATIENCE):
            assert await process.wait() == -signal.SIGTERM
    assert kept
    assert list((tmp_path / "temp").iterdir()) == []
