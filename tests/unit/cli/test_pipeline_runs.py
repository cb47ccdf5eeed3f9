"""Runs at the command line: how they end, how they are stopped, what of them is shown."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from agent.ports import served
from anyio.from_thread import start_blocking_portal
from pipeline_commands import Run, on_calls
from pipeline_lines import silent_line
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from calltriage.cli.pipelines.running import UNFINISHED
from calltriage.errors import SettingsError
from calltriage.pipelines.pipeline import Pipeline
from calltriage.pipelines.runners import embedded
from calltriage.serving import listen

SILENCE = 'name = "p"\n[[detect]]\nuse = "agent_silence"\n'
STOPPING = """import json, os, subprocess, sys

from calltriage.pipelines import detector


def said(*arguments):
    command = [sys.executable, "-m", "calltriage", "pipeline", *arguments]
    env = {{**os.environ, "CALLTRIAGE_DATA_DIR": {data!r}}}
    return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout


@detector(version=1, kind="stops")
def stops(call):
    for line in said("status", "--json").splitlines():
        if json.loads(line)["state"] == "running":
            said("cancel", json.loads(line)["run"], *{more!r})
"""
"""A detector of the user's that stops its own run, as a person at another terminal does."""
CAPPED = """name = "p"
[limits]
usd_per_day = 0.0001
[[detect]]
use = "chat"
name = "promise"
endpoint = "away"
prompt = "promise.md"
[endpoint.away]
base_url = "http://127.0.0.1:9/v1"
model = "small"
usd_per_mtok = [1, 1]
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line on a data folder with three calls of three days, two of which have a silence."""
    lines = [
        silent_line(name, seconds, created_at=f"2026-04-0{day}T10:00:00Z")
        for day, (name, seconds) in enumerate([("silent-1", 9.5), ("silent-2", 12.0), ("quick", 1.0)], 1)
    ]
    (tmp_path / "p.toml").write_text(SILENCE)
    return on_calls(tmp_path, monkeypatch, lines)


def rows(run: Run, *arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run("pipeline", *arguments, "--json").stdout.splitlines()]


@pytest.mark.parametrize(("more", "state"), [((), "cancelled"), (("--pause",), "paused")])
def test_a_run_that_somebody_stops_ends_with_4_and_a_paused_one_goes_on(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...], state: str
) -> None:
    monkeypatch.setattr(embedded, "LOOK_EVERY_S", 3600)  # the run looks once its call is examined, not before
    (tmp_path / "stopping.py").write_text(STOPPING.format(data=str(tmp_path / "data"), more=list(more)))
    (tmp_path / "p.toml").write_text(
        'name = "p"\nlimits = { seconds_per_call = 60 }\n[[detect]]\nuse = "stopping:stops"\n'
    )
    shown = run("pipeline", "run", "p.toml", "--call", "quick")
    assert (shown.exit_code, shown.exception.__class__) == (UNFINISHED, SystemExit), shown.output
    [stopped] = rows(run, "status")
    assert f"\nRun {stopped['run']} is {state}, as asked: 1 call done.\n" in shown.stdout
    assert "asked for" not in shown.output
    assert (stopped["state"], stopped["why"]) == (state, "asked for")

    again = run("pipeline", "run", "p.toml", "--call", "quick")
    runs = [row["run"] for row in rows(run, "status")]
    assert (len(runs), stopped["run"] in runs) == ((1 if more else 2), True), again.output


def test_a_run_that_has_ended_or_that_nobody_began_is_not_cancelled(run: Run) -> None:
    run("pipeline", "run", "p.toml")
    [row] = rows(run, "status")
    ended, unknown = run("pipeline", "cancel", row["run"]), run("pipeline", "cancel", "run_nothing")
    assert isinstance(ended.exception, SettingsError)
    assert str(ended.exception) == f"Run {row['run']} is done already."
    assert str(unknown.exception).startswith("There is no run 'run_nothing'.")


def test_a_run_is_cancelled_with_one_line_in_whole_words(run: Run, tmp_path: Path) -> None:
    (tmp_path / "promise.md").write_text("Is there a promise?")
    (tmp_path / "p.toml").write_text(CAPPED)
    run("pipeline", "run", "p.toml")
    [row] = rows(run, "status")
    done = run("pipeline", "cancel", row["run"])
    assert done.output == f"Run {row['run']} is cancelled, as asked: 3 calls left for later.\n"


def test_a_dry_run_that_the_cap_of_money_holds_up_ends_with_4(run: Run, tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(CAPPED)
    (tmp_path / "promise.md").write_text("Does the agent promise something?")
    shown = run("pipeline", "run", "p.toml", "--dry-run")
    assert "0 calls examined, 3 left for later." in shown.output
    assert shown.exit_code == UNFINISHED


def test_a_run_that_ctrl_c_ends_says_how_it_goes_on_and_ends_with_130(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Pipeline, "run", interrupted)
    shown = run("pipeline", "run", "p.toml")
    assert (shown.exit_code, shown.stderr) == (130, "Interrupted. The same command goes on.\n")


def test_a_wrong_argument_ends_with_2(run: Run) -> None:
    assert run("pipeline", "run", "p.toml", "--limit", "0").exit_code == 2
    assert run("pipeline", "missed", "quick", "agent_silence").exit_code == 2
    assert run("pipeline", "eval", "p.toml", "--labels", "no-such.jsonl").exit_code == 2


@pytest.mark.parametrize(
    "arguments",
    [("run", "p.toml", "--since"), ("run", "p.toml", "--until"), ("check", "p.toml", "--since"), ("report", "--since")],
)
def test_a_time_that_is_none_ends_with_2_and_says_what_one_looks_like(run: Run, arguments: tuple[str, ...]) -> None:
    refused = run("pipeline", *arguments, "last week")
    assert refused.exit_code == 2
    assert "'last week' must be a span such as 24h or 7d, a day such as 2026-05-01" in refused.stderr


@pytest.mark.parametrize("more", [(), ("--dry-run",), ("--json",)])
def test_a_call_that_is_asked_for_and_not_there_ends_with_1(run: Run, more: tuple[str, ...]) -> None:
    missing = run("pipeline", "run", "p.toml", "--call", "nope", *more)
    assert (missing.exit_code, missing.stderr.splitlines()[-1]) == (1, "No such call: nope")
    assert run("pipeline", "run", "p.toml", "--call", "silent-1", *more).exit_code == 0


def test_a_limit_and_an_end_choose_the_oldest_calls_and_those_made_before_it(run: Run) -> None:
    limited = run("pipeline", "run", "p.toml", "--limit", "2")
    until = run("pipeline", "run", "p.toml", "--until", "2026-04-01T12:00:00Z")
    newest, oldest = rows(run, "status", "--last", "2")
    assert (limited.exit_code, until.exit_code) == (0, 0)
    assert ("2 calls examined" in limited.output, "1 call examined" in until.output) == (True, True)
    assert (newest["calls"], oldest["calls"]) == (1, 2)
    assert {row["call_id"] for row in rows(run, "findings")} == {"silent-1", "silent-2"}


def test_help_says_what_is_optional_and_that_an_accepted_finding_of_a_muted_incident_is_filed(run: Run) -> None:
    assert "pipeline status [OPTIONS] [RUN]" in run("pipeline", "status", "--help").output
    assert "A finding that a person accepts is filed all the same." in run("pipeline", "mute", "--help").output


def test_a_sample_without_an_examined_call_says_so(run: Run) -> None:
    empty = run("pipeline", "sample")
    assert empty.output == "No call was examined yet: calltriage pipeline run FILE\n"
    run("pipeline", "run", "p.toml", "--call", "silent-1")
    assert "without a finding and without a label" in run("pipeline", "sample").output


def test_a_misspelt_name_to_narrow_by_is_told_with_the_nearest_one(run: Run, tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(SILENCE.replace('"p"', '"silences"'))
    run("pipeline", "run", "p.toml")
    for command in ("findings", "status", "report"):
        wrong = run("pipeline", command, "--pipeline", "silence")
        assert (wrong.exit_code, str(wrong.exception)) == (1, "No pipeline has this name. Did you mean silences?")
        assert run("pipeline", command, "--pipeline", "silences").exit_code == 0
    wrong = run("pipeline", "findings", "--detector", "agent_silense")
    assert (wrong.exit_code, str(wrong.exception)) == (1, "No detector has this name. Did you mean agent_silence?")
    assert run("pipeline", "findings", "--detector", "talk_over").exit_code == 0


def test_status_shows_so_many_runs_newest_first(run: Run) -> None:
    for limit in ("1", "2", "3"):
        run("pipeline", "run", "p.toml", "--limit", limit)
    assert [row["calls"] for row in rows(run, "status", "--last", "2")] == [3, 2]
    assert len(rows(run, "status")) == 3


ASKING = CAPPED.replace("usd_per_day = 0.0001", "usd_per_day = 1").replace("http://127.0.0.1:9", "{address}")
NOTHING = json.dumps({"promise": {"verdict": "not_found", "findings": []}})


@asynccontextmanager
async def model(asked: list[bytes]) -> AsyncGenerator[str]:
    """A chat endpoint on a port that finds nothing, and keeps what it was asked."""

    async def complete(request: Request) -> JSONResponse:
        asked.append(await request.body())
        said = {"choices": [{"message": {"role": "assistant", "content": NOTHING}}]}
        return JSONResponse({**said, "usage": {"prompt_tokens": 1, "completion_tokens": 1}})

    app = Starlette(routes=[Route("/v1/chat/completions", complete, methods=["POST"])])
    with listen("127.0.0.1", 0) as listening:
        async with served(app, listening) as address:
            yield address


def test_answers_of_an_endpoint_are_kept_and_asked_for_anew_without_the_cache(run: Run, tmp_path: Path) -> None:
    (tmp_path / "promise.md").write_text("Does the agent promise something?")
    asked, counts = list[bytes](), list[int]()
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(model(asked)) as address:
        (tmp_path / "p.toml").write_text(ASKING.format(address=address))
        for more in ((), (), ("--no-cache",), ()):
            asked.clear()
            done = run("pipeline", "run", "p.toml", "--dry-run", *more)
            assert done.exit_code == 0, done.output
            counts.append(len(asked))
    assert counts == [3, 0, 3, 0]
