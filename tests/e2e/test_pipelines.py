"""Commands of pipelines as processes: what they log, and how a signal ends them."""

from __future__ import annotations

import json
import signal
import sys
from contextlib import suppress
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


def hanging(folder: Path) -> None:
    """A pipeline's file with a detector that never answers."""
    (folder / "hanging.py").write_text(HANGS)
    (folder / "p.toml").write_text(
        'name = "p"\nlimits = { seconds_per_call = 30 }\n[[detect]]\nuse = "hanging:hangs"\n'
    )


def hanging_on_a_file(folder: Path) -> dict[str, str]:
    """The same with a file of calls. Returns an environment whose temporary files are in the folder `temp`."""
    hanging(folder)
    (folder / "calls.jsonl").write_text(silent_line("silent", 9.5))
    (folder / "temp").mkdir()
    return environment(CALLTRIAGE_DATA_DIR=str(folder / "data"), TMPDIR=str(folder / "temp"))


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
    ("numbers", "status", "state", "why"),
    [
        ([signal.SIGINT], 130, "paused", "It was interrupted. The same command goes on."),
        ([signal.SIGINT] * 5, 130, "paused", "It was interrupted. The same command goes on."),
        ([signal.SIGTERM], -signal.SIGTERM, "paused", "It was interrupted. The same command goes on."),
        ([signal.SIGTERM, signal.SIGINT], -signal.SIGTERM, "paused", "It was interrupted. The same command goes on."),
        ([signal.SIGKILL], -signal.SIGKILL, "running", "No process works on it. The same command goes on."),
    ],
    ids=lambda value: "-".join(one.name for one in value) if isinstance(value, list) else None,
)
async def test_a_run_that_a_signal_ended_says_that_nobody_works_on_it(
    tmp_path: Path, numbers: list[signal.Signals], status: int, state: str, why: str
) -> None:
    hanging(tmp_path)
    await load(tmp_path, silent_line("silent", 9.5))
    command = [sys.executable, "-m", "calltriage", "pipeline", "run", "p.toml"]
    data = environment(CALLTRIAGE_DATA_DIR=str(tmp_path / "data"))
    async with await anyio.open_process(command, env=data, cwd=tmp_path) as process:
        before = await stands(tmp_path)
        for number in numbers:
            with suppress(ProcessLookupError):  # it has ended by an earlier one
                process.send_signal(number)
            if number == signal.SIGTERM:  # of two that wait, a process hears the lower number first
                await anyio.sleep(0.2)
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
    data = hanging_on_a_file(tmp_path)
    run_of_file = (
        f'trap "" HUP; exec {sys.executable} -m calltriage pipeline run p.toml --calls calls.jsonl'  # as nohup does
    )
    async with await anyio.open_process(["sh", "-c", run_of_file], env=data, cwd=tmp_path) as process:
        await stands(tmp_path)
        kept = list((tmp_path / "temp").iterdir())
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        with anyio.fail_after(PATIENCE):
            assert await process.wait() == -signal.SIGTERM
    assert kept
    assert list((tmp_path / "temp").iterdir()) == []


HOLDS = """import sys
from calltriage.cli.main import main
from calltriage.cli.pipelines import running
from calltriage.pipelines.ledger import runs

async def end(*_):
    import anyio
    print("held", file=sys.stderr, flush=True)
    await anyio.sleep_forever()

running.AGAIN_S = 5.0
runs.end = end
main()
"""
"""A run whose pausing waits for a database that is away."""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
async def test_a_second_signal_ends_a_run_that_cannot_be_paused_and_leaves_no_calls_of_a_file_behind(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    data = hanging_on_a_file(tmp_path)
    command = [sys.executable, "-c", HOLDS, "pipeline", "run", "p.toml", "--calls", "calls.jsonl"]
    async with await anyio.open_process(command, env=data, cwd=tmp_path) as process:
        await stands(tmp_path)
        kept = list((tmp_path / "temp").iterdir())
        assert process.stderr is not None
        with anyio.fail_after(PATIENCE):
            process.send_signal(number)
            told = ""
            while "held" not in told:
                told += (await process.stderr.receive()).decode()
            process.send_signal(number)  # at once: it changes nothing
            await anyio.sleep(5.2)
            process.send_signal(number)
            assert await process.wait() == status
    assert kept
    assert list((tmp_path / "temp").iterdir()) == []


HANGS_ONCE = """from pathlib import Path
from threading import Event

from calltriage.pipelines import detector

@detector(version=1, kind="hangs")
def hangs(call):
    if not Path(__file__).with_name("let-go").exists():
        Event().wait()
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
@pytest.mark.parametrize("ends_by", ["its input", "SIGTERM"])
async def test_a_servers_end_pauses_an_agents_run_and_the_command_line_goes_on_with_it(
    tmp_path: Path, ends_by: str
) -> None:
    (tmp_path / "hanging.py").write_text(HANGS_ONCE)
    (tmp_path / "let-go").touch()
    (tmp_path / "p.toml").write_text(
        'name = "p"\nlimits = { seconds_per_call = 60 }\n[[detect]]\nuse = "hanging:hangs"\n'
    )
    await load(tmp_path, silent_line("one", 9.5), silent_line("two", 9.5))
    assert (await run(tmp_path, "pipeline", "run", "p.toml", "--call", "one"))[0] == 0
    (tmp_path / "let-go").unlink()
    asked = {"pipeline": "p", "since": "2020-01-01", "limit": 50, "dry_run": False}
    messages = (
        {"id": 0, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "e2e", "version": "0"}}},
        {"method": "notifications/initialized"},
        {"id": 1, "method": "tools/call", "params": {"name": "run_pipeline", "arguments": asked}},
    )  # fmt: skip
    data = environment(CALLTRIAGE_DATA_DIR=str(tmp_path / "data"), CALLTRIAGE_TOOLSETS="core,pipelines")
    (tmp_path / "elsewhere").mkdir()
    async with await anyio.open_process(
        [sys.executable, "-m", "calltriage"], env=data, cwd=tmp_path / "elsewhere"
    ) as server:
        assert server.stdin is not None
        for message in messages:
            await server.stdin.send(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        with anyio.fail_after(PATIENCE):
            while (row := await stands(tmp_path))["state"] != "running" or not row["to_do"]:
                pass
        if ends_by == "SIGTERM":
            server.send_signal(signal.SIGTERM)
        else:
            await server.stdin.aclose()
        with anyio.fail_after(PATIENCE / 3):
            await server.wait()
    left = await stands(tmp_path)
    (tmp_path / "let-go").touch()
    status, told, complaints = await run(tmp_path, "pipeline", "run", "p.toml", "--call", "one", "--json")
    _, shown, _ = await run(tmp_path, "pipeline", "status", left["run"], "--json")

    assert (left["state"], left["to_do"]) == ("paused", 2)
    assert left["goes_on_with"] == f"calltriage pipeline run {tmp_path}/p.toml --since 2020-01-01 --limit 50"
    assert (status, json.loads(told)["taken_up"]) == (0, [left["run"]]), complaints
    assert (json.loads(shown)["state"], json.loads(shown)["to_do"]) == ("done", 0)
