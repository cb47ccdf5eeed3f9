"""The demo of pipelines, on the sample calls and on recorded ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from calltriage.cli.main import cli

RECORDED = Path(__file__).parents[3] / "../shared/data/harper-valley-28.jsonl"


def shown(*arguments: str) -> str:
    done = CliRunner().invoke(cli, ["demo", "--pipeline", *arguments], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output + repr(done.exception)
    return done.output


def test_the_demo_finds_accepts_files_once_and_reports() -> None:
    said = shown()

    assert "3 calls examined" in said
    assert "Filed as T-1001 Skipped verification, with the call attached and turn 4 flagged." in said
    assert "1 flag on T-1001." in said
    assert "1 finding: 1 filed, 0 new" in said


@pytest.mark.skipif(not RECORDED.exists(), reason="the sample of recorded calls is not here")
def test_the_demo_runs_on_recorded_calls_as_they_are() -> None:
    said = shown("--calls", str(RECORDED))

    assert "28 calls examined" in said
    assert "Filed as T-1001 " in said
    assert "1 flag on T-1001." in said
