"""`calltriage pipeline eval`."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from calltriage.cli.main import cli
from calltriage.cli.pipelines import evaluating
from calltriage.pipelines.dry_run import Progress
from calltriage.storage.sqlite import sqlite_driver

PIPELINE = 'name = "line"\n[[detect]]\nuse = "forbidden"\nname = "promise"\nphrases = ["{phrase}"]\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a pipeline, calls and labels."""
    monkeypatch.setenv("CALLTRIAGE_DATA_DIR", str(tmp_path / "data"))
    (tmp_path / "new.toml").write_text(PIPELINE.format(phrase="by tomorrow"))
    (tmp_path / "old.toml").write_text(PIPELINE.format(phrase="soon"))
    calls = [
        {"call_id": f"call-{n}", "created_at": "2026-05-06T10:00:00Z", "turns": [
            {"speaker": "agent", "text": "hello"}, {"speaker": "caller", "text": "hi"},
            {"speaker": "agent", "text": "you have it by tomorrow" if n % 2 else "you have it soon"},
        ]}
        for n in range(20)
    ]  # fmt: skip
    (tmp_path / "calls.jsonl").write_text("\n".join(map(json.dumps, calls)))
    labels = [
        {
            "call_id": f"call-{n}",
            "detector": "promise",
            **({"verdict": "positive", "turn": 2} if n % 2 else {"verdict": "none"}),
        }
        for n in range(16)
    ]
    (tmp_path / "labels.jsonl").write_text("\n".join(map(json.dumps, labels)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def evaluated(*more: str, file: str = "new.toml") -> Result:
    return CliRunner().invoke(
        cli, ["pipeline", "eval", file, "--labels", "labels.jsonl", "--calls", "calls.jsonl", *more]
    )


def as_json(result: Result) -> Any:
    return json.loads(result.stdout)


@pytest.mark.usefixtures("folder")
def test_figures_come_with_their_intervals_for_people_and_for_programs() -> None:
    shown, told = evaluated(), as_json(evaluated("--json"))

    assert "1.00 (0.68 to 1.00)" in shown.stdout
    (row,) = told["detectors"]
    assert (row["calls"], row["tp"], row["fp"], row["fn"], row["coverage"]) == (16, 8, 0, 0, 0.8)
    assert row["precision_95"] == pytest.approx([0.676, 1.0], abs=0.001)
    assert told["below"] == []


@pytest.mark.usefixtures("folder")
def test_a_detector_below_the_bar_ends_with_3() -> None:
    assert evaluated("--min-precision", "0.6").exit_code == 0
    below = evaluated("--min-precision", "0.7")
    assert below.exit_code == 3
    assert "Below 0.7 at the lower 95 % bound" in below.stdout


@pytest.mark.usefixtures("folder")
def test_a_changed_file_is_compared_on_the_same_calls() -> None:
    shown, told = evaluated("--against", "old.toml"), as_json(evaluated("--against", "old.toml", "--json"))

    assert (
        "promise: 16 calls better, 0 worse (p = 0.000 that both are equally good), 16 changed verdicts." in shown.stdout
    )
    assert "triage://calls/call-1/transcript" in shown.stdout
    (change,) = told["against"]
    assert (change["better"], change["worse"], len(change["flips"])) == (16, 0, 16)
    assert change["flips"][0] == {
        "detector": "promise", "call_id": "call-0", "turn": 2, "now": "not_found", "is_right": True,
    }  # fmt: skip


def test_a_renamed_detector_is_compared_and_measured_by_labels_of_its_earlier_name(folder: Path) -> None:
    renamed = PIPELINE.format(phrase="by tomorrow").replace('"promise"', '"promises"\nwas = "promise"')
    fresh = '[[detect]]\nuse = "forbidden"\nname = "fresh"\nphrases = ["hello"]\n'
    (folder / "renamed.toml").write_text(renamed + fresh)
    with (folder / "labels.jsonl").open("a") as labels:
        labels.write('\n{"call_id": "call-0", "detector": "promises", "verdict": "none"}')
        labels.write('\n{"call_id": "call-0", "detector": "fresh", "verdict": "positive", "turn": 0}')

    shown = evaluated("--against", "old.toml", file="renamed.toml").stdout
    told = as_json(evaluated("--against", "old.toml", "--json", file="renamed.toml"))

    assert "promises: 16 calls better, 0 worse" in shown
    assert "old.toml has no fresh, under no earlier name (`was`) either: nothing to compare." in shown
    assert [(one["detector"], one["better"]) for one in told["against"]] == [("promises", 16)]
    assert [(row["detector"], row["calls"], row["tp"]) for row in told["detectors"]] == [
        ("promises", 16, 8), ("fresh", 1, 1),
    ]  # fmt: skip


def test_calls_are_read_of_the_api_where_no_file_is_given(folder: Path) -> None:
    imported = CliRunner().invoke(cli, ["desk", "import", "calls.jsonl"])
    assert imported.exit_code == 0, imported.output
    with (folder / "labels.jsonl").open("a") as labels:
        labels.write('\n{"call_id": "gone", "detector": "promise", "verdict": "none"}\n')

    result = CliRunner().invoke(cli, ["pipeline", "eval", "new.toml", "--labels", "labels.jsonl", "--json"])

    assert "There is no call gone; its labels are left out." in result.stderr
    (row,) = as_json(result)["detectors"]
    assert (row["calls"], row["tp"], row["coverage"]) == (16, 8, 1)


@pytest.mark.usefixtures("folder")
def test_a_split_without_labels_and_a_wrong_file_are_told() -> None:
    assert "holds no label of this split" in str(evaluated("--split", "dev").exception)
    assert "new.tml" in str(evaluated(file="new.tml").exception)


CHAT = '[[detect]]\nuse = "chat"\nendpoint = "local"\nprompt = "promise.md"\nname = "promise"\n'
ENDPOINT = '[endpoint.local]\nbase_url = "http://127.0.0.1:9/v1"\nmodel = "small"\nusd_per_mtok = [3, 15]\n'


def test_what_an_evaluation_spends_counts_for_the_pipeline_s_day(folder: Path) -> None:
    (folder / "promise.md").write_text("Does the agent promise something?")
    (folder / "chat.toml").write_text(f'name = "chat"\n{CHAT}{ENDPOINT}[limits]\nusd_per_day = 5\n')

    (row,) = as_json(evaluated("--json", file="chat.toml"))["detectors"]

    assert row["failed"] == 20  # nobody listens there
    with closing(sqlite_driver().connect(folder / "data" / "pipelines.sqlite3")) as ledger:
        found = ledger.execute("SELECT pipeline, state, count(*) FROM pipeline_spend GROUP BY 1, 2").fetchall()
    assert found == [("chat", "settled", 20)]


def test_a_check_says_what_endpoints_cost_before_anything_is_asked(folder: Path) -> None:
    (folder / "promise.md").write_text("Does the agent promise something?")
    chat = '[[detect]]\nuse = "chat"\nendpoint = "local"\nprompt = "promise.md"\nsample = 0.5\n'
    (folder / "chat.toml").write_text(f'name = "chat"\n{chat}{ENDPOINT}')
    CliRunner().invoke(cli, ["desk", "import", "calls.jsonl"])

    checked = CliRunner().invoke(cli, ["pipeline", "check", "chat.toml"])

    assert checked.exit_code == 0, checked.output
    assert "; at most about 10 requests to endpoints, which cost at most about 0.2" in checked.output


@pytest.mark.parametrize("source", [("--calls", "calls.jsonl"), ()])
@pytest.mark.usefixtures("folder")
def test_the_progress_of_an_evaluation_counts_each_call_once_and_ends_at_all_of_them(
    source: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = list[tuple[int, int | None]]()

    @contextmanager
    def progress() -> Generator[Progress]:
        yield lambda done, total: seen.append((done, total))

    monkeypatch.setattr(evaluating, "progress", progress)
    if not source:  # the API has all labelled calls but one
        lines = Path("calls.jsonl").read_text().splitlines()
        Path("fewer.jsonl").write_text("\n".join(lines[1:]))
        assert CliRunner().invoke(cli, ["desk", "import", "fewer.jsonl"]).exit_code == 0
    done = CliRunner().invoke(cli, ["pipeline", "eval", "new.toml", "--labels", "labels.jsonl", *source])
    of = 20 if source else 16
    assert done.exit_code == 0
    assert seen == [(number, of) for number in range(1, of + 1)]
