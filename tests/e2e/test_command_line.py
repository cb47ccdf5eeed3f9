"""The command line as a person uses it."""

from __future__ import annotations

import json
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from conftest import CALLS, call_line
from e2e.processes import PATIENCE, environment, over_stdio, run, started
from mcp.client import Client

pytestmark = pytest.mark.slow


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


async def test_an_import_names_the_call_whose_words_a_file_of_the_same_name_replaced(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        text = f"WEBVTT\n\n00:01.000 --> 00:02.000\nAgent: {folder}\n"
        (tmp_path / folder / "call.vtt").write_text(text, encoding="utf-8")
    _, _, told = await run(tmp_path, "desk", "import", "a/call.vtt")
    assert "replaced" not in told
    for said, is_told in (("0 added, 1 changed", True), ("0 added, 0 changed, 1 there already", False)):
        _, counts, told = await run(tmp_path, "desk", "import", "b/call.vtt")
        assert counts.startswith(said)
        assert ("replaced the words of call call by those of b/call.vtt" in told) == is_told
        assert ("rename one file, or import the folder above both" in told) == is_told


async def test_the_desks_key_is_made_once_and_kept_for_its_owner_alone(tmp_path: Path) -> None:
    first, second = await run(tmp_path, "desk", "keys", "show"), await run(tmp_path, "desk", "keys", "show")
    assert first == second
    assert len(first[1].strip()) >= 32
    assert stat.S_IMODE((tmp_path / "data" / "desk.key").stat().st_mode) == 0o600
    status, said, complaint = await run(tmp_path, "desk", "keys", "show", CALLTRIAGE_DESK_API_KEY="chosen-by-operator")
    assert (status, said) == (1, "")
    assert "is not the desk's own" in complaint


async def test_a_backup_names_what_it_does_not_hold(tmp_path: Path) -> None:
    elsewhere = {"CALLTRIAGE_BLOBS_URL": "s3://bucket/prefix", "AWS_REGION": "us-east-1"}
    assert (await run(tmp_path, "desk", "organisations", "list"))[0] == 0
    status, _, said = await run(tmp_path, "desk", "backup", "whole", **elsewhere)
    assert status == 0
    assert "CALLTRIAGE_BLOBS_URL" in said
    assert "Copy that bucket" in said
    _, _, said = await run(tmp_path, "desk", "backup", "again")
    assert said == ""
    on_postgres = {"CALLTRIAGE_DATABASE_URL": "postgresql://user@127.0.0.1/none"}
    status, _, said = await run(tmp_path, "desk", "backup", "not", **on_postgres, **elsewhere)
    assert status == 1
    assert "pg_dump" in said
    assert "CALLTRIAGE_BLOBS_URL" in said


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
    assert "refused the connection" in said
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
    status, said, complaint = await run(tmp_path, "doctor", COLUMNS="500", **settings)
    assert status == 1
    assert complaint == ""
    [wrong] = [line for line in said.splitlines() if "✗" in line]
    assert named in wrong
    status, _, complaint = await run(tmp_path, "serve", **settings)
    assert status == 1
    assert named in complaint
    assert "Traceback" not in said + complaint


async def test_a_server_says_at_its_start_which_names_have_no_effect(tmp_path: Path) -> None:
    (tmp_path / "own.env").write_text("CALLTRIAGE_TOOLSET=all\n", encoding="utf-8")
    wrong = {"CALLTRIAGE_READONLY": "1", "CALLTRIAGE_SETTINGS_FILE": "own.env", "CALLTRIAGE_LOG_LEVEL": "ERROR"}
    status, said, warned = await run(tmp_path, "serve", **wrong)
    assert (status, said) == (0, "")
    assert "CALLTRIAGE_READONLY is no setting and has no effect. Did you mean CALLTRIAGE_READ_ONLY?" in warned
    assert "CALLTRIAGE_TOOLSET in the settings file own.env" in warned
    status, said, _ = await run(tmp_path, "doctor", COLUMNS="500", **wrong)
    assert status == 1
    assert "Did you mean CALLTRIAGE_READ_ONLY?" in said


async def test_settings_may_stand_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "calltriage.env"
    file.write_text("CALLTRIAGE_DESK_API_KEY=kept-in-a-settings-file\n", encoding="utf-8")
    assert (await run(tmp_path, "--settings-file", str(file), "desk", "keys", "show"))[1] == "kept-in-a-settings-file\n"
    assert (await run(tmp_path, "desk", "keys", "show", CALLTRIAGE_SETTINGS_FILE=str(file)))[
        1
    ] == "kept-in-a-settings-file\n"


async def test_a_data_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file in the way", encoding="utf-8")
    for command in (["doctor"], ["desk", "keys", "show"], ["desk", "import", "-"]):
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


async def shell(folder: Path, script: str, **settings: str) -> tuple[int, str]:
    """Run a shell line in which $C is the command; its status and everything that it said."""
    given = environment(C=f"{sys.executable} -m calltriage", CALLTRIAGE_DATA_DIR=str(folder / "data"), **settings)
    with anyio.fail_after(PATIENCE):
        done = await anyio.run_process(
            ["bash", "-c", f"set -o pipefail; {script}"], env=given, cwd=folder, check=False, stderr=subprocess.STDOUT
        )
    return done.returncode, done.stdout.decode(errors="replace")


WRONG: dict[str, tuple[str, int, str]] = {
    "a settings file that is no text": ("$C --settings-file binary doctor", 1, "not text in UTF-8"),
    "a settings file that is a folder": ("CALLTRIAGE_SETTINGS_FILE=folder $C doctor", 1, "is no file"),
    "an import of a folder": ("$C desk import folder", 1, "There is no file to import"),
    "an import of nothing there": ("$C desk import absent", 2, "does not exist"),
    "an import of what is no text": ("$C desk import binary", 1, "is not text"),
    "an import from a closed input": ("$C desk import - <&-", 0, "0 added"),
    "a server whose input is closed": ("$C <&-", 0, ""),
    "a server whose streams are closed": ("$C <&- >&- 2>&-", 0, ""),
    "a reader that has gone": ("$C demo | head -1", 1, "calltriage demo"),
    "a disk that is full": ("$C desk keys show > /dev/full", 1, "No space left"),
    "an output that is closed": ("$C doctor >&-", 0, ""),
    "a port that does not exist": ("$C serve --http --port 99999", 2, "--port"),
    "a host that is not here": ("$C desk serve --host 203.0.113.5", 1, "Choose another --host or --port"),
    "a public URL that is none": ("$C desk serve --public-url ftp://x", 2, "--public-url"),
    "a desk on every address": ("$C desk serve --host 0.0.0.0", 1, "--public-url"),
    "a terminal in ASCII, checked": ("PYTHONIOENCODING=ascii $C doctor", 0, " ok "),
    "a terminal in ASCII, shown the demo": ("PYTHONIOENCODING=ascii $C demo", 0, "Done."),
    "an interrupt of a server": ("timeout -s INT 30 $C serve --http --port 0", 124, "MCP at"),
    "an unknown command": ("$C dsek", 2, "No such command"),
    "a webhook's secret that is no text": ("$C desk keys add --webhook --secret binary", 2, "must be text in UTF-8"),
    "a webhook's secret that is empty": ("$C desk keys add --webhook --secret - </dev/null", 2, "holds no secret"),
}


@pytest.mark.parametrize("name", WRONG)
async def test_what_goes_wrong_at_the_command_line_is_said_without_a_traceback(tmp_path: Path, name: str) -> None:
    script, status, said = WRONG[name]
    (tmp_path / "folder").mkdir()
    (tmp_path / "binary").write_bytes(bytes(range(255, 0, -1)))
    found, output = await shell(tmp_path, script)
    assert "Traceback" not in output
    assert said in output
    assert found == status, output


@pytest.mark.parametrize("command", [["demo"], ["desk", "import", "-"], ["apply", "-"]], ids=" ".join)
async def test_an_interrupt_ends_a_command_and_nothing_is_left_of_it(tmp_path: Path, command: list[str]) -> None:
    given = environment(CALLTRIAGE_DATA_DIR=str(tmp_path / "data"), TMPDIR=str(tmp_path))
    line = call_line("own-1", "hello " * 200_000).encode() + b"\n"
    async with await anyio.open_process([sys.executable, "-m", "calltriage", *command], env=given) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        with anyio.fail_after(PATIENCE):
            if command == ["demo"]:
                assert b"calltriage demo" in await process.stdout.receive()
            else:
                await process.stdin.send(line)  # more than pipes and buffers hold: it is being read
            process.send_signal(signal.SIGINT)
            said = b"".join([part async for part in process.stderr])
            status = await process.wait()
    end = "Interrupted: nothing was loaded." if "import" in command else "Interrupted."
    assert (status, said.decode().strip()) == (130, end)
    assert not list(tmp_path.glob("*/**")), "temporary folders are gone, and the desk has not begun"


async def test_an_interrupted_import_says_what_was_loaded_and_the_same_command_loads_the_rest(tmp_path: Path) -> None:
    count = 5000
    file, database = tmp_path / "calls.jsonl", tmp_path / "data" / "desk.sqlite3"
    file.write_text("\n".join(call_line(f"own-{n}", "hello") for n in range(count)), encoding="utf-8")
    given = environment(CALLTRIAGE_DATA_DIR=str(database.parent))
    command = [sys.executable, "-m", "calltriage", "desk", "import", str(file)]
    async with await anyio.open_process(command, env=given) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        with anyio.fail_after(PATIENCE):
            while not loaded(database):  # noqa: ASYNC110  another process fills it
                await anyio.sleep(0.01)
            process.send_signal(signal.SIGINT)
            said = b"".join([part async for part in process.stdout]).decode()
            told = b"".join([part async for part in process.stderr]).decode()
            status = await process.wait()
    through = loaded(database)
    assert (status, 0 < through < count) == (130, True)
    assert said.startswith(f"{through} added, 0 changed, 0 there already")
    assert told.startswith(f"Interrupted after {through} of {count}. Run the same command")
    _, said, _ = await run(tmp_path, "desk", "import", str(file))
    assert said.startswith(f"{count - through} added, 0 changed, {through} there already")


def loaded(database: Path) -> int:
    """Calls in a desk's database; 0 before there is one."""
    if not database.is_file():
        return 0
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        try:
            return connection.execute("SELECT count(*) FROM calls").fetchone()[0]
        except sqlite3.OperationalError:  # it is being made
            return 0


async def test_every_bad_line_is_named_in_one_run_and_a_check_loads_nothing(tmp_path: Path) -> None:
    bad = ['{"call_id": "x"}'] * 60
    (tmp_path / "calls.jsonl").write_text("\n".join([CALLS[0], *bad]), encoding="utf-8")
    for options, word in (([], ""), (["--check"], "bad "), (["--skip-bad", "--check"], "bad ")):
        status, said, told = await run(tmp_path, "desk", "import", "calls.jsonl", *options)
        lines = told.splitlines()
        assert status == 1
        assert [f"{word}line {n}: " in line for n, line in enumerate(lines[:50], 2)] == [True] * 50
        assert "10 more" in lines[50]
        assert not (tmp_path / "data").exists(), said
    assert said.startswith("1 calls, 0 conversations, 0 files can be loaded, 60 bad lines. Nothing was loaded.")
    status, said, _ = await run(tmp_path, "desk", "import", "calls.jsonl", "--skip-bad")
    assert (status, said) == (0, "1 added, 0 changed, 0 there already, 60 skipped.\n")


async def test_the_demo_offers_what_its_complaints_name(tmp_path: Path) -> None:
    (tmp_path / "own.jsonl").write_text("{\n" + call_line("own-1", "good morning", "my words"), encoding="utf-8")
    status, _, complaint = await run(tmp_path, "demo", "--calls", "own.jsonl")
    assert status == 1
    assert "--skip-bad" in complaint
    status, said, complaint = await run(tmp_path, "demo", "--calls", "own.jsonl", "--skip-bad")
    assert status == 0, complaint
    assert "my words" in said


async def test_a_newcomer_gets_sample_calls_once(tmp_path: Path) -> None:
    assert (await run(tmp_path, "desk", "sample"))[:2] == (0, "3 added, 0 changed, 0 there already.\n")
    assert (await run(tmp_path, "desk", "sample"))[:2] == (0, "0 added, 0 changed, 3 there already.\n")


@pytest.mark.parametrize("sample", ["1", ""])
async def test_a_setting_gives_a_server_without_calls_the_sample(tmp_path: Path, sample: str) -> None:
    for _ in range(2):
        given = {"CALLTRIAGE_SAMPLE": sample} if sample else {}
        async with Client(over_stdio(tmp_path, CALLTRIAGE_TOOLSETS="all", **given)) as agent:
            found = (await agent.call_tool("find_calls", {})).structured_content or {}
            assert len(found["items"]) == (3 if sample else 0)
            assert ("calltriage desk import" in found.get("note", "")) == (not sample)


async def test_each_key_sees_its_own_organisation_alone(tmp_path: Path) -> None:
    """Two organisations and a second user of one of them, each made at the command line."""
    _, first, _ = await run(tmp_path, "desk", "keys", "show")
    status, other, said = await run(tmp_path, "desk", "organisations", "add", "Second")
    assert (status, len(other.strip()) >= 32) == (0, True)
    _, listed, _ = await run(tmp_path, "desk", "organisations", "list", "--json")
    rows = {row["id"]: row["name"] for row in map(json.loads, listed.splitlines())}
    assert list(rows.values()) == ["Embedded desk", "Second"]
    own, second = rows
    assert second in said
    assert other.strip() not in said
    _, colleague, _ = await run(tmp_path, "desk", "users", "add", "--organisation", second)
    for org, text in ((own, "one"), (second, "two")):
        file = call_line("same-id", text)
        assert (await run(tmp_path, "desk", "import", "--organisation", org, "-", stdin=file))[1].startswith("1 added")
    async with started(tmp_path, "desk", "serve", "--port", "0") as address:
        seen: dict[str, tuple[str, set[str]]] = {}
        for name, key in (("first", first), ("other", other), ("colleague", colleague)):
            async with httpx2.AsyncClient(base_url=address, headers={"authorization": key.strip()}) as http:
                call = (await http.get("/v1/calls/same-id")).json()
                org = own if name == "first" else second
                members = (await http.get(f"/v1/orgs/{org}/members")).json()["data"]
                assert (await http.get(f"/v1/orgs/{second if org == own else own}/members")).status_code == 404
                seen[name] = (call["transcripts"][0]["text"], {member["user_id"] for member in members})
    assert seen["first"][0] == "one"
    assert seen["other"] == seen["colleague"]
    assert seen["other"][0] == "two"
    assert (len(seen["first"][1]), len(seen["other"][1])) == (1, 2)


@pytest.mark.parametrize("command", [["users", "add"], ["import", "-"]])
async def test_an_organisation_that_is_not_there_is_said_so(tmp_path: Path, command: list[str]) -> None:
    status, _, said = await run(tmp_path, "desk", *command, "--organisation", "absent", stdin=CALLS[0])
    assert status == 1
    assert "desk organisations list" in said
    assert "Traceback" not in said


async def test_keys_are_made_listed_rotated_and_revoked_while_the_desk_serves(tmp_path: Path) -> None:
    async with (
        started(tmp_path, "desk", "serve", "--port", "0") as address,
        httpx2.AsyncClient(base_url=address) as http,
    ):

        async def works(key: str) -> bool:
            answer = await http.get("/v1/triage/issues", headers={"authorization": key.strip()})
            assert answer.status_code in {200, 401}
            return answer.status_code == 200

        async def keys() -> dict[str, dict[str, Any]]:
            _, listed, _ = await run(tmp_path, "desk", "keys", "list", "--json")
            return {row["id"]: row for row in map(json.loads, listed.splitlines())}

        _, own, _ = await run(tmp_path, "desk", "keys", "show")
        assert await works(own)
        status, laptop, said = await run(tmp_path, "desk", "keys", "add", "laptop \x1b[31m", "--expires", "30d")
        assert (status, await works(laptop)) == (0, True)
        [key_id] = set(await keys()) - {"desk"}
        assert key_id in said
        _, table, _ = await run(tmp_path, "desk", "keys", "list", COLUMNS="20")
        assert all(text not in table for text in (laptop.strip(), own.strip(), "\x1b"))
        assert f"{key_id}  laptop \\u001b[31m" in table
        status, _, said = await run(tmp_path, "desk", "keys", "rotate", key_id)
        assert (status, "--expires" in said) == (1, True)
        status, newer, _ = await run(
            tmp_path, "desk", "keys", "rotate", key_id, "--expires", "never", "--overlap", "1h"
        )
        assert (status, await works(laptop), await works(newer)) == (0, True, True)
        assert (await run(tmp_path, "desk", "keys", "revoke", key_id))[0] == 0
        assert (await works(laptop), await works(newer)) == (False, True)
        assert (await keys())[key_id]["state"] == "revoked"
        _, next_own, _ = await run(tmp_path, "desk", "keys", "rotate", "desk", "--overlap", "1h")
        assert (await run(tmp_path, "desk", "keys", "show"))[1] == next_own
        assert (await works(own), await works(next_own)) == (True, True)
        assert stat.S_IMODE((tmp_path / "data" / "desk.key").stat().st_mode) == 0o600
        assert (await run(tmp_path, "desk", "keys", "revoke", "desk"))[0] == 0
        assert not await works(next_own)
        status, _, said = await run(tmp_path, "desk", "keys", "rotate", "desk", CALLTRIAGE_DESK_API_KEY="o" * 32)
        assert (status, "CALLTRIAGE_DESK_API_KEY" in said) == (1, True)
    async with (
        started(tmp_path, "desk", "serve", "--port", "0") as address,
        httpx2.AsyncClient(base_url=address) as http,
    ):
        assert await works((await run(tmp_path, "desk", "keys", "show"))[1])
        assert not await works(next_own)
        assert await works(newer)


@pytest.mark.parametrize(
    ("command", "new"),
    [
        (["key"], "desk keys show"),
        (["key", "--help"], "desk keys show"),
        (["add-user", "Ada", "--organisation", "x"], "desk users add NAME"),
        (["add-client-key", "key.pem"], "desk keys add --public-key FILE"),
        (["add-organisation", "Second"], "desk organisations add NAME"),
        (["organisations"], "desk organisations list"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
async def test_a_command_of_an_earlier_version_names_the_new_one(tmp_path: Path, command: list[str], new: str) -> None:
    status, out, said = await run(tmp_path, "desk", *command)
    assert (status, out) == (2, "")
    assert f"is now `calltriage {new}`." in said
    assert not (tmp_path / "data").exists(), "and does nothing"


@pytest.mark.parametrize(
    "arguments",
    [
        ["add", "--expires", "yesterday"], ["add", "--expires", "2020-01-01"], ["add", "--expires", "0m"],
        ["rotate", "desk", "--overlap", "soon"], ["change", "desk"], ["add", "--public-key", "absent.pem"],
    ],
    ids=" ".join,
)  # fmt: skip
async def test_an_end_or_a_change_that_makes_no_sense_is_a_usage_error(tmp_path: Path, arguments: list[str]) -> None:
    status, out, said = await run(tmp_path, "desk", "keys", *arguments)
    assert (status, out) == (2, "")
    assert "Error: " in said


async def test_a_call_is_deleted_only_when_that_is_meant_and_agents_see_what_became_of_it(tmp_path: Path) -> None:
    await run(tmp_path, "desk", "import", "-", stdin=call_line("doomed", "pumpernickel", summary="A pumpernickel."))
    async with Client(over_stdio(tmp_path, CALLTRIAGE_TOOLSETS="all")) as agent:

        async def ask(name: str, **arguments: Any) -> dict[str, Any]:
            with anyio.fail_after(PATIENCE):
                result = await agent.call_tool(name, arguments)
            return result.structured_content or {}

        link = {"resource_type": "call", "resource_id": "doomed"}
        issue = await ask("create_issue", title="T", severity="low", category="Bug", resource_links=[link])
        await ask("add_flag", issue_id=issue["id"], call_id="doomed", type="x", quote="pumpernickel")
        status, table, said = await run(tmp_path, "desk", "delete", "call", "doomed")
        assert (status, table.split()) == (1, ["issue", "links", "flags", "T-1001", "1", "1"])
        assert "Nothing was deleted: repeat the command with --yes" in said
        assert (await ask("get_call", call_id="doomed"))["call_id"] == "doomed"
        status, _, said = await run(tmp_path, "desk", "delete", "call", "doomed", "--yes")
        assert (status, "Deleted the call." in said, "backups" in said) == (0, True, True)
        assert (await ask("get_call", call_id="doomed"))["error"]["code"] == "not_found"
        evidence = await ask("get_evidence", issue_id=issue["id"])
        assert "error" not in evidence
        assert '"unavailable"' in json.dumps(evidence)
        activity = await ask("list_activity", issue_id=issue["id"])
        assert "The desk's operator deleted the call doomed" in json.dumps(activity)
    status, _, said = await run(tmp_path, "desk", "delete", "conversation", "doomed", "--yes")
    assert (status, "no conversation with this id" in said) == (1, True)
