"""`calltriage pipeline` in this process: a file is started, checked, and run dry over imported calls."""

from __future__ import annotations

import json
import shlex
from contextlib import closing
from pathlib import Path

import pytest
from pipeline_commands import Run, on_calls
from pipeline_lines import just_ended, silent_line

from calltriage.errors import SettingsError, SpecError, StoreError
from calltriage.pipelines.ledger.ledger import FILE
from calltriage.pipelines.presets import PRESETS
from calltriage.storage.sqlite import sqlite_driver


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line on a data folder with three calls, two of which have a silence."""
    return on_calls(
        tmp_path, monkeypatch, [silent_line("silent-1", 9.5), silent_line("silent-2", 12), silent_line("quick", 1)]
    )


@pytest.mark.parametrize("preset", list(PRESETS))
def test_a_file_that_init_writes_is_right_and_runs(run: Run, preset: str) -> None:
    assert "is written" in run("pipeline", "init", "p.toml", "--preset", preset).output
    checked = run("pipeline", "check", "p.toml")
    assert (checked.exit_code, "p.toml is right." in checked.output) == (0, True)
    assert f"3 calls, {7 if preset == 'collections' else 4} requests." in checked.output
    shown = run("pipeline", "run", "p.toml", "--dry-run")
    assert shown.exit_code == 0
    assert "okay silent-1 i have found your order" in shown.output
    assert "Nothing was filed: this was a dry run." in shown.output


def test_init_leaves_a_file_that_is_there_alone(run: Run) -> None:
    Path("p.toml").write_text("mine")
    assert isinstance(run("pipeline", "init", "p.toml").exception, SettingsError)
    assert Path("p.toml").read_text() == "mine"


def test_a_dry_run_for_a_program_is_one_object(run: Run) -> None:
    run("pipeline", "init", "p.toml")
    told = json.loads(run("pipeline", "run", "p.toml", "--dry-run", "--json").stdout)
    silence = next(one for one in told["detectors"] if one["name"] == "agent_silence")
    assert (told["calls"], silence["findings"]) == (3, 2)
    assert {one["call_id"] for one in silence["examples"]} == {"silent-1", "silent-2"}


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_a_run_says_how_many_calls_have_not_settled(run: Run, more: tuple[str, ...]) -> None:
    Path("more.jsonl").write_text(just_ended("fresh"))
    run("desk", "import", "more.jsonl")
    Path("p.toml").write_text('name = "p"\n[calls]\nsettle = "1h"\n[[detect]]\nuse = "agent_silence"\n')
    shown, told = run("pipeline", "run", "p.toml", *more), run("pipeline", "run", "p.toml", *more, "--json")

    assert "3 calls examined. 1 call left out, not settled yet: a later run or a watch examines them." in shown.output
    assert (shown.exit_code, json.loads(told.stdout)["unsettled"]) == (0, 1)


def test_words_of_a_call_cannot_move_the_terminal(run: Run, tmp_path: Path) -> None:
    (tmp_path / "more.jsonl").write_text(silent_line("evil\u202e\x1b", 20).replace("evil\\u202e\\u001b", "evil", 1))
    assert run("desk", "import", "more.jsonl").exit_code == 0
    run("pipeline", "init", "p.toml")
    shown = run("pipeline", "run", "p.toml", "--dry-run").output
    assert "evil\\u202e\\u001b" in shown
    assert "\x1b" not in shown


def test_calls_of_a_file_are_examined_and_nothing_is_filed_without_the_call(run: Run) -> None:
    run("pipeline", "init", "p.toml")
    Path("other.jsonl").write_text("\n".join([silent_line("elsewhere", 11), silent_line("silent-1", 10)]))
    shown = run("pipeline", "run", "p.toml", "--calls", "other.jsonl", "--log")
    assert (shown.exit_code, "2 calls examined." in shown.output) == (0, True)
    rows = [json.loads(line) for line in run("pipeline", "findings", "--json").stdout.splitlines()]
    by_call = {row["call_id"]: row["id"] for row in rows if row["detector"] == "agent_silence"}
    assert by_call.keys() == {"elsewhere", "silent-1"}
    nowhere = run("pipeline", "accept", by_call["elsewhere"])
    filed = run("pipeline", "accept", by_call["silent-1"][:12])
    assert nowhere.stdout == f"{by_call['elsewhere']}: right; counted (the API has no such call).\n"
    assert filed.output == f"{by_call['silent-1']}: right; filed on T-1001.\n"
    assert (nowhere.exit_code, "Import its call" in nowhere.stderr) == (1, True)
    run("desk", "import", "other.jsonl")
    run("pipeline", "run", "p.toml")
    [after] = map(
        json.loads, run("pipeline", "findings", "--call", "elsewhere", "--state", "filed", "--json").stdout.splitlines()
    )
    assert after["id"] == by_call["elsewhere"]


def test_a_file_of_calls_with_a_bad_line_is_named_with_what_to_do(run: Run) -> None:
    run("pipeline", "init", "p.toml")
    Path("bad.jsonl").write_text(silent_line("elsewhere", 11) + '\n{"call_id": "a", "turns": [{')
    refused = run("pipeline", "run", "p.toml", "--calls", "bad.jsonl")
    told = str(refused.exception)
    assert told.startswith("bad.jsonl cannot be examined. line 2: ")
    assert told.endswith("`--calls` takes no file with bad lines: mend or remove them.")
    assert "--skip-bad" not in told


def test_the_log_has_a_line_for_each_item_and_no_word_of_a_call(run: Run) -> None:
    run("pipeline", "init", "p.toml")
    shown = run("pipeline", "run", "p.toml", "--log")
    lines = [json.loads(line) for line in shown.stderr.splitlines() if line.startswith("{")]
    ends = {line["call_id"]: line for line in lines if line["message"] == "item ended"}
    assert ends.keys() == {"silent-1", "silent-2", "quick"}
    assert (ends["silent-1"]["state"], ends["silent-1"]["pipeline"], ends["silent-1"]["attempt"]) == ("done", "p", 1)
    assert ends["silent-1"]["findings"] > ends["quick"]["findings"]
    assert not any("found your order" in line for line in shown.stderr.splitlines())


ALONE = 'name = "p"\n[alert]\nwebhook = "env:ALERT_URL"\n[[detect]]\nuse = "agent_silence"\nfile = "auto"\n'


def test_check_tells_variables_that_are_not_set_and_what_a_detector_lacks_to_file_alone(run: Run) -> None:
    Path("p.toml").write_text(ALONE)
    first = run("pipeline", "check", "p.toml")
    Path("p.toml").write_text(ALONE.replace('[alert]\nwebhook = "env:ALERT_URL"\n', ""))
    run("pipeline", "run", "p.toml")
    for row in map(json.loads, run("pipeline", "findings", "--json").stdout.splitlines()):
        run("pipeline", "accept", row["id"])
    second = run("pipeline", "check", "p.toml")
    Path("p.toml").write_text(ALONE + 'name = "quiet"\nwas = "agent_silence"\n')
    renamed = run("pipeline", "check", "p.toml")
    assert "quiet waits for a person: 2 of 2 verdicts right" in renamed.output
    assert first.exit_code == 0
    assert first.output.endswith("\np.toml is right, but the environment does not set ALERT_URL ([alert] webhook).\n")
    assert "waits for a person: no verdict yet. For 0.8 it takes 16 more right verdicts." in first.output
    assert "2 of 2 verdicts right, so a precision of 0.34 at least. For 0.8 it takes 14 more" in second.output
    assert second.output.endswith("\np.toml is right.\n")


def test_a_runs_end_says_what_it_made_of_its_findings(run: Run) -> None:
    Path("p.toml").write_text('name = "p"\n[[detect]]\nuse = "agent_silence"\n')
    waits = run("pipeline", "run", "p.toml").output
    again = run("pipeline", "run", "p.toml").output
    Path("p.toml").write_text(
        'name = "alone"\n[[detect]]\nuse = "agent_silence"\nname = "silence"\nfile = "auto"\nmin_precision = 0.0\n'
        "[issues]\nreview_share = 0.0\nfile_after = { calls = 1, within = '24h' }\n"
    )
    filed = run("pipeline", "run", "p.toml").output
    assert "\n0 findings filed, 2 wait (calltriage pipeline findings --state new).\n" in waits
    assert "\n0 findings filed, 2 of earlier runs wait (calltriage pipeline findings --state new).\n" in again
    assert "\n2 findings filed (issues: 1 new).\n" in filed, "what waits of another pipeline is none of this one's"


def test_incidents_of_one_detector_are_told_apart_by_their_group(run: Run) -> None:
    lines = [silent_line(name, 9.5, metadata={"branch": name}) for name in ("north", "south")]
    Path("more.jsonl").write_text("\n".join(lines))
    run("desk", "import", "more.jsonl")
    Path("p.toml").write_text('name = "p"\n[[detect]]\nuse = "agent_silence"\ngroup_by = "branch"\n')
    run("pipeline", "run", "p.toml", "--log")
    for row in map(json.loads, run("pipeline", "findings", "--json").stdout.splitlines()):
        run("pipeline", "accept", row["id"])
    shown, report = run("pipeline", "incidents").output, run("pipeline", "report").output
    assert all(f"branch {name}" in shown and f"branch {name}" in report for name in ("north", "south", "unknown"))


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_a_run_shows_the_groups_of_its_incidents_and_warns_of_a_field_that_no_call_has(
    run: Run, more: tuple[str, ...]
) -> None:
    Path("more.jsonl").write_text(silent_line("north", 9.5, metadata={"branch": "north"}))
    run("desk", "import", "more.jsonl")
    text = 'name = "p"\n[[detect]]\nuse = "agent_silence"\ngroup_by = ["metadata.branch", "nope"]\n'
    Path("p.toml").write_text(text)
    shown = run("pipeline", "run", "p.toml", *more)
    assert "agent_silence / agent_silence (metadata.branch north, nope unknown): 1 call\n" in shown.stdout
    assert (
        "Warning: agent_silence: group_by nope: no call with findings has it; all belong to one group." in shown.stderr
    )
    assert "group_by metadata.branch" not in shown.stderr
    told = json.loads(run("pipeline", "run", "p.toml", "--dry-run", "--json").stdout)
    assert {"metadata.branch": "north", "nope": "unknown"} in [one["group"] for one in told["incidents"]]
    assert len(told["warnings"]) == 1


def test_a_worker_without_a_shared_database_does_not_say_that_it_works(run: Run) -> None:
    run("pipeline", "init", "p.toml")
    refused = run("pipeline", "worker", "p.toml")
    assert isinstance(refused.exception, SettingsError)
    assert "Working on runs" not in refused.output


@pytest.mark.parametrize("name", ["_mine", "-", "x" * 80, "a b/c", "\u00fc"])
def test_init_makes_a_right_name_of_any_words(run: Run, name: str) -> None:
    assert run("pipeline", "init", "p.toml", "--name", name).exit_code == 0
    assert run("pipeline", "check", "p.toml", "--offline").exit_code == 0


FAILING = 'name = "p"\n[[detect]]\nuse = "agent_silence"\n[[detect]]\nuse = "broken:raises"\n'
BROKEN = """from calltriage.pipelines import detector

@detector(version=1, kind="raises")
def raises(call):
    raise LookupError
"""


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_a_run_whose_detector_failed_says_on_how_many_calls_and_ends_with_1(run: Run, more: tuple[str, ...]) -> None:
    Path("p.toml").write_text(FAILING)
    Path("broken.py").write_text(BROKEN)
    shown = run("pipeline", "run", "p.toml", *more)
    assert shown.exit_code == 1
    assert "\nFailed: raises on 3 calls. A call on which a detector failed is not known to be fine.\n" in shown.output
    [status] = run("pipeline", "status", "--json").stdout.splitlines() or ["null"]
    assert more or json.loads(status)["errors"] == "raises failed on 3 calls"


def test_a_run_that_tries_a_failed_model_again_later_names_it_already(run: Run) -> None:
    asks = '[[detect]]\nuse = "chat"\nname = "promise"\nendpoint = "away"\nprompt = "promise.md"\n'
    away = '[endpoint.away]\nbase_url = "http://127.0.0.1:9/v1"\nmodel = "small"\n'
    Path("p.toml").write_text(f'name = "p"\n{asks}{away}')
    Path("promise.md").write_text("Does the agent promise something?")
    shown = run("pipeline", "run", "p.toml")
    assert shown.exit_code == 4
    assert "\n0 calls examined, 3 left for later.\nFailed: promise on 3 calls. " in shown.output
    [status] = run("pipeline", "status", "--json").stdout.splitlines()
    assert json.loads(status)["errors"] == "Endpoint away cannot be reached. Check its base_url on 3 calls"


def test_a_file_that_is_wrong_ends_the_command_with_every_fault(run: Run) -> None:
    Path("p.toml").write_text('name = "a"\n[[detect]]\nuse = "agent_silence"\nfille = "auto"\n[limts]\n')
    found = run("pipeline", "check", "p.toml", "--offline").exception
    assert isinstance(found, SpecError)
    assert str(found).startswith("p.toml line 5: limts is no key. Did you mean limits?")


def test_a_backup_holds_what_pipelines_have_done(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("pipeline", "init", "p.toml")
    assert run("pipeline", "run", "p.toml").exit_code == 0
    before = run("pipeline", "status", "--json").stdout
    assert json.loads(before)["items"] == {"done": 3}
    assert run("desk", "backup", "desk.tar").exit_code == 0
    monkeypatch.setenv("CALLTRIAGE_DATA_DIR", str(tmp_path / "restored"))
    assert run("desk", "restore", "desk.tar").exit_code == 0
    assert run("pipeline", "status", "--json").stdout == before


def test_a_backup_with_a_ledger_that_runs_something_is_refused(run: Run, tmp_path: Path) -> None:
    run("pipeline", "init", "p.toml")
    run("pipeline", "run", "p.toml")
    with closing(sqlite_driver().connect(tmp_path / "data" / FILE)) as connection:
        connection.execute("CREATE TRIGGER odd AFTER INSERT ON pipeline_runs BEGIN DELETE FROM pipeline_effects; END")
    found = run("desk", "backup", "desk.tar").exception
    assert isinstance(found, StoreError)
    assert "The pipelines' ledger has odd in its schema" in str(found)


def test_another_file_of_the_same_name_is_warned_of_with_both_paths_also_in_status(run: Run, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "p.toml").write_text(f'name = "same"\n[[detect]]\nuse = "{WARNED[folder]}"\n')
    first = run("pipeline", "run", "one/p.toml")
    second = run("pipeline", "run", "two/p.toml")
    again = run("pipeline", "run", "two/p.toml")
    rows = [json.loads(row) for row in run("pipeline", "status", "--json").stdout.splitlines()]

    one, two = (str(tmp_path / folder / "p.toml") for folder in WARNED)
    assert "Warning" not in first.stderr + again.stderr
    assert f"Warning: The pipeline same ran last from {one}, and now runs from {two}." in second.stderr
    assert "give one of them another `name`" in second.stderr
    assert [row["file"] for row in rows] == [two, two, one]
    assert [bool(row["warning"]) for row in rows] == [False, True, False]
    assert one in rows[1]["warning"]


WARNED = {"one": "agent_silence", "two": "talk_over"}


def test_status_shows_the_command_that_goes_on_with_a_paused_run(run: Run, tmp_path: Path) -> None:
    (tmp_path / "my file.toml").write_text(
        'name = "quiet"\n[calls]\nsettle = "0s"\n[[detect]]\nuse = "agent_silence"\n'
    )
    asked = ("--limit", "2", "--since", "2020-01-01", "--refile")
    done = json.loads(run("pipeline", "run", "my file.toml", *asked, "--json").stdout)
    with closing(sqlite_driver().connect(tmp_path / "data" / FILE)) as connection:
        connection.execute("UPDATE pipeline_runs SET state = 'paused'")
        connection.execute("UPDATE pipeline_items SET state = 'new'")
        connection.commit()
    [row] = [json.loads(one) for one in run("pipeline", "status", "--json").stdout.splitlines()]
    command, shown = shlex.split(row["goes_on_with"]), run("pipeline", "status").stdout.splitlines()
    went_on = json.loads(run(*command[1:], "--json").stdout)

    assert command[:2] == ["calltriage", "pipeline"]
    assert command[-1] == "--refile"
    assert shown[1].endswith(row["goes_on_with"]), "it can be copied"
    assert shown[2].strip() == f"asked: {row['asked']}"
    assert (row["run"], went_on["run"]["id"], went_on["run"]["state"]) == (done["run"]["id"], done["run"]["id"], "done")
    [row] = [json.loads(one) for one in run("pipeline", "status", "--json").stdout.splitlines()]
    assert row["goes_on_with"] is None


HANGS = """from threading import Event
from calltriage.pipelines import detector

@detector(version={version}, kind="hangs")
def hangs(call):
    {does}
    return []
"""


def test_a_version_that_hung_three_times_stays_off_until_there_is_a_new_one_and_check_says_so(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "p.toml").write_text(
        'name = "p"\n[calls]\nsettle = "0s"\n[limits]\nseconds_per_call = "200ms"\n[[detect]]\nuse = "own:hangs"\n'
    )
    (tmp_path / "own.py").write_text(HANGS.format(version=1, does="Event().wait()"))
    dry = json.loads(run("pipeline", "run", "p.toml", "--dry-run", "--json").stdout)
    before = run("pipeline", "check", "p.toml").stdout
    one_by_one = [
        json.loads(run("pipeline", "run", "p.toml", "--call", call, "--json").stdout)["detectors"][0]["why"]
        for call in ("silent-1", "silent-2", "quick", "quick")
    ]
    after = run("pipeline", "check", "p.toml").stdout
    (tmp_path / "own.py").write_text(HANGS.format(version=2, does="pass"))
    mended = run("pipeline", "run", "p.toml")

    assert (dry["failures"], "switched off" in before) == ({"hangs": 3}, False)
    assert [why.partition("stopped ")[2][:7] for why in one_by_one[:3]] == ["(1 of 3", "(2 of 3", "(3 of 3"]
    assert "is switched off: it took longer than 0.2 s on 3 calls" in one_by_one[3]
    assert (
        "hangs is switched off: it took longer than 0.2 s on 3 calls. Mend it or raise limits.seconds_per_call: a new "
        "version or limit is tried at once. As it is, it is tried again a day later." in after
    )
    assert (mended.exit_code, "switched off" in run("pipeline", "check", "p.toml").stdout) == (0, False)
