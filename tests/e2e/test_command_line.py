"""The command line as a person uses it."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from conftest import CALLS, call_line
from e2e.processes import run


async def test_the_demo_runs_the_main_job_and_leaves_nothing_behind(tmp_path: Path) -> None:
    status, said, complaints = await run(tmp_path, "demo", COLUMNS="120")
    assert status == 0, complaints
    for step in (
        "tools/list",
        "create_issue",
        "attach_resource",
        "add_flag",
        "link_issue",
        "create_attachment",
        "Done.",
    ):
        assert step in said
    assert "skipped_verification" in said
    assert list(tmp_path.iterdir()) == []


async def test_the_demo_runs_on_own_calls(tmp_path: Path) -> None:
    file = tmp_path / "own.jsonl"
    file.write_text(call_line("own-1", "good morning", "my own words about the matter", "bye"), encoding="utf-8")
    status, said, complaints = await run(tmp_path, "demo", "--calls", str(file))
    assert status == 0, complaints
    assert "my own words about the matter" in said


async def test_the_demo_says_which_line_of_own_calls_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "own.jsonl"
    file.write_text(CALLS[0] + '\n{"call_id": "x"}\n', encoding="utf-8")
    status, _, complaint = await run(tmp_path, "demo", "--calls", str(file))
    assert status == 1
    assert "line 2" in complaint
    assert "Traceback" not in complaint


async def test_a_bad_line_loads_nothing_unless_it_is_skipped_and_loading_again_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "calls.jsonl"
    file.write_text("\n".join([CALLS[0], "{not json", CALLS[1]]), encoding="utf-8")
    status, _, complaint = await run(tmp_path, "desk", "import", str(file))
    assert status == 1
    assert "line 2" in complaint
    assert "Traceback" not in complaint
    _, said, skipped = await run(tmp_path, "desk", "import", "--skip-bad", str(file))
    assert said == "2 added, 0 changed, 0 there already, 1 skipped.\n"
    assert "line 2" in skipped
    _, said, _ = await run(tmp_path, "desk", "import", "--skip-bad", str(file))
    assert said == "0 added, 0 changed, 2 there already, 1 skipped.\n"


async def test_the_desks_key_is_made_once_and_kept_for_its_owner_alone(tmp_path: Path) -> None:
    first, second = await run(tmp_path, "desk", "key"), await run(tmp_path, "desk", "key")
    assert first == second
    assert len(first[1].strip()) >= 32
    assert stat.S_IMODE((tmp_path / "data" / "desk.key").stat().st_mode) == 0o600
    assert (await run(tmp_path, "desk", "key", CALLTRIAGE_DESK_API_KEY="chosen-by-operator"))[
        1
    ] == "chosen-by-operator\n"


async def test_doctor_says_what_works_and_where(tmp_path: Path) -> None:
    status, said, _ = await run(tmp_path, "doctor", COLUMNS="200")
    assert status == 0
    assert "the embedded desk, answers" in said
    assert str(tmp_path / "data") in said


async def test_doctor_says_what_to_do_about_a_vendor_that_cannot_be_reached(tmp_path: Path) -> None:
    secret = "canary-secret-0123456789"
    vendor = {"CALLTRIAGE_BLAND_API_KEY": secret, "CALLTRIAGE_BLAND_BASE_URL": "http://127.0.0.1:9"}
    status, said, complaints = await run(tmp_path, "doctor", COLUMNS="200", CALLTRIAGE_DEADLINE_S="2", **vendor)
    assert status == 1
    assert "No connection" in said
    assert secret not in said + complaints


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"CALLTRIAGE_TALKDESK_CLIENT_ID": "id"}, "CALLTRIAGE_TALKDESK_CLIENT_SECRET"),
        ({"CALLTRIAGE_TALKDESK_REGION": "mars"}, "CALLTRIAGE_TALKDESK_REGION"),
        ({"CALLTRIAGE_DEADLINE_S": "soon"}, "CALLTRIAGE_DEADLINE_S"),
        ({"CALLTRIAGE_BLAND_API_KEY": "k", "CALLTRIAGE_BLAND_BASE_URL": "http://api.example.com"}, "https://"),
        ({"CALLTRIAGE_SETTINGS_FILE": "absent.env"}, "absent.env"),
    ],
)
async def test_wrong_settings_are_named_and_nothing_starts(
    tmp_path: Path, settings: dict[str, str], named: str
) -> None:
    status, said, complaint = await run(tmp_path, "doctor", **settings)
    assert status == 1
    assert named in complaint
    assert "Traceback" not in said + complaint


async def test_settings_may_stand_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "calltriage.env"
    file.write_text("CALLTRIAGE_DESK_API_KEY=kept-in-a-settings-file\n", encoding="utf-8")
    assert (await run(tmp_path, "--settings-file", str(file), "desk", "key"))[1] == "kept-in-a-settings-file\n"
    assert (await run(tmp_path, "desk", "key", CALLTRIAGE_SETTINGS_FILE=str(file)))[1] == "kept-in-a-settings-file\n"


async def test_a_data_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file in the way", encoding="utf-8")
    for command in (["doctor"], ["desk", "key"], ["desk", "import", "-"]):
        status, said, complaint = await run(tmp_path, *command, stdin=CALLS[0], COLUMNS="300")
        assert status == 1, command
        assert "CALLTRIAGE_DATA_DIR" in said + complaint or "CALLTRIAGE_DESK_API_KEY" in said + complaint
        assert "Traceback" not in said + complaint


async def test_the_version_is_the_packages(tmp_path: Path) -> None:
    from importlib.metadata import version

    assert (await run(tmp_path, "--version"))[1].strip() == version("calltriage")


async def test_real_recorded_calls_work_as_they_are(tmp_path: Path) -> None:
    sample = Path(__file__).parents[2].parent / "shared" / "data" / "harper-valley-28.jsonl"
    if not sample.exists():
        pytest.skip("the sample of recorded calls is not here")
    status, said, complaints = await run(tmp_path, "demo", "--calls", str(sample))
    assert status == 0, complaints
    assert json.loads(sample.read_text(encoding="utf-8").splitlines()[0])["call_id"] in said


async def test_a_selection_of_tools_that_names_none_stops_the_start_with_the_nearest(tmp_path: Path) -> None:
    status, said, complaint = await run(tmp_path, "serve", "--toolsets", "core,evidnce", "--read-only")
    assert (status, said) == (1, "")
    assert "Did you mean evidence?" in complaint
    assert "Traceback" not in complaint
    status, _, complaint = await run(tmp_path, "serve", "--exclude-tools", "add_flg", CALLTRIAGE_TOOLSETS="all")
    assert status == 1
    assert "Did you mean add_flag?" in complaint


async def test_the_demo_reads_lines_as_the_import_does(tmp_path: Path) -> None:
    line = json.dumps(json.loads(call_line("own-1", "one\u2028two\x85three", "four")), ensure_ascii=False)
    (tmp_path / "own.jsonl").write_bytes(b"\xef\xbb\xbf" + line.encode() + b"\r\n")
    status, said, complaints = await run(tmp_path, "demo", "--calls", "own.jsonl")
    assert status == 0, complaints
    assert "Done." in said
    assert (await run(tmp_path, "desk", "import", "own.jsonl"))[1].startswith("1 added")


async def test_help_shows_its_examples_as_lines_of_their_own(tmp_path: Path) -> None:
    _, said, _ = await run(tmp_path, "desk", "import", "--help", COLUMNS="120")
    assert "\\b" not in said
    assert '\n    {"kind": "file", "path": "reports/may.pdf", "type": "application/pdf"}\n' in said
