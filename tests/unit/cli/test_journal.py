"""The journal's commands: a chain that is checked, and a desk that is written again."""

from __future__ import annotations

import json
import os
import re
import shutil
import tracemalloc
from collections.abc import Callable
from contextlib import closing, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from click.testing import CliRunner
from conftest import CALLS, DESK_URL, KEY, Clock, endpoints_to, enrol, load_lines
from mcp.client import Client as McpClient
from pydantic import SecretStr

from calltriage.cli import journal as history
from calltriage.cli.main import cli
from calltriage.client.client import Client
from calltriage.client.client import open_client as open_client_on
from calltriage.desk.app import Desk
from calltriage.errors import CalltriageError, SettingsError, StoreError
from calltriage.journal.journal import Journal
from calltriage.operations.activity import AddComment, ListActivity
from calltriage.operations.base import Operation
from calltriage.operations.categories import CreateCategory, ListCategories
from calltriage.operations.flags import ListFlags
from calltriage.operations.issues import DeleteIssue, ListIssues, UpdateIssue
from calltriage.operations.norm import PromptNorm
from calltriage.operations.relations import ListRelations
from calltriage.operations.resource_links import ListResources
from calltriage.server.app import build_server
from calltriage.server.toolsets import select
from calltriage.settings import Settings
from calltriage.storage.sqlite import sqlite_driver
from calltriage.wiring import open_client

DRIVER: Any = sqlite_driver()

NEW = {"title": "Card line is silent", "severity": "high", "category": "Speech"}


async def work_on(folder: Path, clock: Clock) -> None:
    """An investigation with everything in it, on the desk of a folder and in its journal."""
    desk, journal = Desk(folder, SecretStr(KEY), DESK_URL, clock=clock), Journal(folder, clock=clock)
    await load_lines(desk, *CALLS)
    await enrol(desk, "me")
    endpoints = endpoints_to(httpx2.ASGITransport(desk, raise_app_exceptions=False))
    async with open_client_on(endpoints, ledger=journal) as client:
        server = build_server(client, version="0", tools=select(("all",)), journal=journal, confirm="allow")
        async with McpClient(server) as agent:

            async def call(name: str, /, **arguments: Any) -> dict[str, Any]:
                result = await agent.call_tool(name, arguments)
                assert not result.is_error, result.structured_content
                clock.advance(seconds=7)
                return result.structured_content or {}

            one, two, gone = [
                await call("create_issue", **NEW, on_duplicate="create", description=f"number {n}") for n in range(3)
            ]
            await call("attach_resource", issue_id=one["id"], resource_type="call", resource_id="call-card")
            link = await call("attach_resource", issue_id=one["id"], resource_type="call", resource_id="call-hours")
            flag = {"issue_id": one["id"], "call_id": "call-card", "type": "Lost Card"}
            await call("add_flag", **flag, quote="i lost my debit card", note="asked twice", idempotency_key="k")
            await call("add_flag", **flag, quote="i lost my debit card", note="asked twice", idempotency_key="k")
            second = await call("add_flag", **flag, note="to be removed")
            await call("remove_flag", issue_id=one["id"], flag_id=second["id"])
            await call("link_issue", issue_id=one["id"], related_issue_id=two["id"], relation_type="blocks")
            await call("create_attachment", name="report.txt", text="The report.", attach_to=one["id"])
            await call("remove_resource", issue_id=one["id"], resource_link_id=link["id"])
            await call("create_category", name="Hold music")
            session = await call("create_agent_session", issue_id=two["id"])
        await client.send(AddComment(issue_id=two["id"], detail="Seen again."))
        await client.send(UpdateIssue(issue_id=two["id"], status="done", owner_id="me"))
        await client.send(PromptNorm(issue_id=two["id"], session_id=session["id"], detail="status now"))
        await client.send(DeleteIssue(issue_id=gone["id"]))
    await journal.close()
    await desk.close()


async def state_of(folder: Path, clock: Clock) -> Any:
    """All that a desk answers about its issues, in terms that do not depend on ids."""
    desk = Desk(folder, SecretStr(KEY), DESK_URL, clock=clock)
    async with open_client_on(endpoints_to(httpx2.ASGITransport(desk, raise_app_exceptions=False))) as client:
        names: dict[str, str] = {}
        issues = (await client.send(ListIssues(sort="created_at", order="asc"))).items
        for issue in issues:
            names[issue.id] = issue.triage_id
        state: list[Any] = [await _page(client, ListIssues(sort="created_at", order="asc"), names)]
        for issue in issues:
            lists = (ListResources, ListFlags, ListRelations, ListActivity)
            state.append([await _page(client, kind(issue_id=issue.id), names) for kind in lists])
        state.append([category.name for category in (await client.send(ListCategories())).items])
    await desk.close()
    return state


IDS = {"id", "org_id", "author_id", "attached_by_id", "created_by_id", "agent_session", "latest_agent_session", "actor"}


async def _page(client: Client, read: Operation[Any], names: dict[str, str]) -> Any:
    page = (await client.send(read)).model_dump(mode="json", exclude_none=True)
    page.pop("next_cursor", None)
    return _plain(page, names)


def _plain(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, list):
        return [_plain(item, names) for item in value]
    if isinstance(value, dict):
        kept = {name: member for name, member in value.items() if name not in IDS}
        if kept.get("resource_type") == "file":
            kept.pop("resource_id")
        if isinstance(kept.get("metadata"), dict):
            kept["metadata"] = {k: v for k, v in kept["metadata"].items() if not k.endswith("_id")}
        return {name: _plain(member, names) for name, member in kept.items()}
    if isinstance(value, str):  # a removal answers nothing, so that its instant is known to some milliseconds only
        return re.sub(r"(T[0-9:]+)\.[0-9]+(Z|\+00:00)$", r"\1\2", names.get(value, value))
    return value


async def test_a_journal_replayed_on_an_empty_desk_makes_the_same_state(tmp_path: Path, clock: Clock) -> None:
    await work_on(tmp_path / "old", clock)
    new = Settings(data_dir=tmp_path / "new")
    desk = Desk(tmp_path / "new", SecretStr(KEY), DESK_URL)
    await load_lines(desk, *CALLS)
    await desk.close()
    done = await history.replay_into_desk(new, tmp_path / "old")
    assert (done.left_out, done.done) == ({}, 18)
    new_state, old_state = await state_of(tmp_path / "new", clock), await state_of(tmp_path / "old", clock)
    assert new_state == old_state


async def test_calls_that_the_desk_lacks_come_in_without_their_words(tmp_path: Path, clock: Clock) -> None:
    await work_on(tmp_path / "old", clock)
    done = await history.replay_into_desk(Settings(data_dir=tmp_path / "new"), tmp_path / "old")
    assert (done.left_out, done.done) == ({}, 18)
    old, new = await state_of(tmp_path / "old", clock), await state_of(tmp_path / "new", clock)
    assert [len(part) for part in new] == [len(part) for part in old]
    assert new[1][1] == old[1][1]  # the flags, word for word


async def test_a_desk_that_has_issues_is_not_written_on(tmp_path: Path, clock: Clock) -> None:
    await work_on(tmp_path / "old", clock)
    with pytest.raises(SettingsError, match="has issues already"):
        await history.replay_into_desk(Settings(data_dir=tmp_path / "old"), tmp_path / "old")


async def test_without_a_journal_none_is_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no journal"):
        await history.verify(Settings(data_dir=tmp_path), None)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("CALLTRIAGE_DATA_DIR", str(tmp_path / "old"))
    return CliRunner()


@pytest.fixture(scope="module")
def investigated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("investigated") / "data"
    anyio.run(work_on, folder, Clock())
    return folder


@pytest.fixture
def worked(tmp_path: Path, investigated: Path) -> None:
    shutil.copytree(investigated, tmp_path / "old")


@pytest.mark.usefixtures("worked")
def test_the_journal_reads_like_a_table_and_can_be_narrowed(command: CliRunner) -> None:
    def shown(*options: str) -> list[str]:
        done = command.invoke(cli, ["journal", "show", *options])
        assert done.exit_code == 0, done.output
        for word in ("Seen again", "asked twice", "silent"):
            assert word not in done.stdout
        return [" ".join(line.split()) for line in done.stdout.splitlines()]  # columns are as wide as they need to be

    lines = shown()
    assert lines[0] == "WHEN (UTC) TICKET TOOL OUTCOME"
    assert re.fullmatch(r"2026-05-06 21:\d\d:\d\d T-1001 create_issue committed", lines[1])
    assert any(line.endswith(" T-1001 add_flag committed") for line in lines)
    assert any(line.endswith(" - create_category committed") for line in lines)
    assert len(shown("--last", "3")) == 4
    assert shown("--last", "3")[1:] == lines[-3:]
    of_two = shown("--issue", "t-1002")[1:]
    assert of_two == [line for line in lines[1:] if "T-1002" in line or "link_issue" in line]
    assert shown("--outcome", "unknown") == []
    assert shown("--since", "2026-05-07") == []
    assert shown("--since", "2026-05-06") == lines
    assert shown("--since", "400w") == lines
    by_program = [json.loads(line) for line in shown("--json")]
    assert len(by_program) == len(lines) - 1
    assert (by_program[0]["triage_id"], by_program[0]["tool"], by_program[0]["outcome"], by_program[0]["row"]) == (
        "T-1001", "create_issue", "committed", 1,
    )  # fmt: skip
    assert shown("--issue", by_program[0]["made"]) == shown("--issue", "T-1001")
    refused = command.invoke(cli, ["journal", "show", "--since", "yesterday"])
    assert (refused.exit_code, "2026-05-01" in refused.output) == (2, True)


@pytest.fixture(scope="module")
def served(investigated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose journal has its head noted beside it, as by a server."""
    folder = tmp_path_factory.mktemp("served") / "data"
    shutil.copytree(investigated, folder)

    async def serve() -> None:
        async with open_client(Settings(data_dir=folder)) as client:
            await client.send(CreateCategory(name="Noted"))

    anyio.run(serve)
    return folder


@pytest.fixture
def noted(served: Path, tmp_path: Path, command: CliRunner) -> Path:
    shutil.copytree(served, tmp_path / "old")
    found = command.invoke(cli, ["journal", "verify"])
    assert (found.exit_code, found.stderr) == (0, ""), found.output
    return tmp_path / "old"


def rows_in(folder: Path) -> int:
    with closing(DRIVER.connect(folder / "journal.sqlite3")) as raw:
        return raw.execute("SELECT count(*) FROM entries").fetchone()[0]


CUT = """
    DROP TRIGGER entries_stay; DELETE FROM entries WHERE seq > {0};
    UPDATE head SET seq = {0}, hash = coalesce((SELECT hash FROM entries WHERE seq = {0}), printf('%064d', 0))
"""
"""Rows taken off the end by somebody who mends the head that stands in the file."""


@pytest.mark.parametrize("left", [0, 1, -1])
def test_a_journal_that_was_emptied_or_cut_is_found_without_being_told_its_head(
    noted: Path, command: CliRunner, left: int
) -> None:
    count = rows_in(noted)
    left = left % count if left < 0 else left
    with closing(DRIVER.connect(noted / "journal.sqlite3")) as raw:
        raw.executescript(CUT.format(left))
    found = command.invoke(cli, ["journal", "verify"])
    assert (found.exit_code, found.stdout) == (
        1, f"broken at row {left + 1}: rows {left + 1} to {count} are missing: row {count} was noted as the last one\n",
    )  # fmt: skip


def test_a_server_does_not_note_over_what_shows_that_rows_are_missing(noted: Path, command: CliRunner) -> None:
    with closing(DRIVER.connect(noted / "journal.sqlite3")) as raw:
        raw.executescript(CUT.format(2))
    before = (noted / "journal.head").read_bytes()

    async def serve() -> None:
        async with open_client(Settings(data_dir=noted)) as client:
            for number in range(20):
                await client.send(CreateCategory(name=f"After {number}"))

    anyio.run(serve)
    assert (noted / "journal.head").read_bytes() == before
    assert command.invoke(cli, ["journal", "verify"]).exit_code == 1


def test_a_deleted_journal_is_found(noted: Path, command: CliRunner) -> None:
    (noted / "journal.sqlite3").unlink()
    found = command.invoke(cli, ["journal", "verify"])
    assert (found.exit_code, "the journal is gone" in found.stdout) == (1, True)


@pytest.mark.parametrize("kind", ["altered", "another folder's", "without its key", "empty", "another key"])
def test_a_note_that_this_folder_did_not_make_is_said(noted: Path, command: CliRunner, kind: str) -> None:
    note, key = noted / "journal.head", noted / "journal.key"
    match kind:
        case "altered":
            note.write_bytes(re.sub(rb"^\d+", b"1", note.read_bytes()))
        case "another folder's":
            note.write_text(f"1:{'0' * 64} {'0' * 64}\n")
        case "without its key":
            key.unlink()
        case "empty":
            note.write_bytes(b"")
        case _:
            key.write_text("k" * 43)
    found = command.invoke(cli, ["journal", "verify"])
    assert isinstance(found.exception, StoreError)
    assert "journal.head was not made with the key of this folder" in str(found.exception)
    assert key.exists() == (kind != "without its key"), "asking makes no key"


def test_a_journal_may_be_newer_than_its_note_and_may_have_none(noted: Path, command: CliRunner) -> None:
    before = (noted / "journal.head").read_bytes()

    async def serve() -> None:
        async with open_client(Settings(data_dir=noted)) as client:
            await client.send(CreateCategory(name="Newer"))

    anyio.run(serve)
    assert (noted / "journal.head").read_bytes() != before
    (noted / "journal.head").write_bytes(before)
    assert command.invoke(cli, ["journal", "verify"]).exit_code == 0
    (noted / "journal.head").unlink()
    assert "journal.head is gone" in str(command.invoke(cli, ["journal", "verify"]).exception)
    (noted / "journal.noted").unlink()
    found = command.invoke(cli, ["journal", "verify"])
    assert (found.exit_code, "No head was noted" in found.stderr) == (0, True)


CELLS = ["x'00ff'", "NULL", "7", "2.5", "cast(x'ff41' AS TEXT)", "''", "'[1'", "'\x1b[31m'"]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    "column", ["at", "kind", "write_id", "tool", "arguments", "result", "hash", "previous", "outcome"]
)
def test_a_cell_that_holds_anything_is_a_sentence(noted: Path, command: CliRunner, column: str, cell: str) -> None:
    with closing(DRIVER.connect(noted / "journal.sqlite3")) as raw:
        raw.executescript(
            "DROP TRIGGER entries_stand; DROP TRIGGER entries_follow; DROP TRIGGER entries_stay;"
            "CREATE TABLE loose AS SELECT * FROM entries; DROP TABLE entries; ALTER TABLE loose RENAME TO entries;"
        )
        before = raw.execute(f"SELECT typeof({column}), {column} FROM entries WHERE seq = 2").fetchone()
        raw.execute(f"UPDATE entries SET {column} = {cell} WHERE seq = 2")
        raw.commit()
        same = raw.execute(f"SELECT typeof({column}), {column} IS ? FROM entries WHERE seq = 2", before[1:]).fetchone()
    found = command.invoke(cli, ["journal", "verify"])
    if same == (before[0], 1):
        assert found.exit_code == 0
    else:
        assert (found.exit_code, found.stdout.partition(":")[0]) == (1, "broken at row 2")
    for asked in (["show"], ["show", "--json"], ["export"], ["export", "--redacted"]):
        done = command.invoke(cli, ["journal", *asked])
        assert done.exception is None or isinstance(done.exception, CalltriageError), done.exception
        assert "\x1b" not in done.output


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def no_database(file: Path) -> None:
    file.write_bytes(b"this is not a database, " * 1000)


def cut_in_half(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def overwritten(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    file.write_bytes(content)


def headless(file: Path) -> None:
    with closing(DRIVER.connect(file)) as raw:
        raw.executescript("DROP TABLE head")


def two_heads(file: Path) -> None:
    with closing(DRIVER.connect(file)) as raw:
        raw.executescript("DROP TABLE head; CREATE TABLE head (one, seq, hash); INSERT INTO head VALUES (1, 'x', NULL)")


def with_a_trigger(file: Path) -> None:
    with closing(DRIVER.connect(file)) as raw:
        raw.executescript("CREATE TRIGGER mine AFTER INSERT ON entries BEGIN DELETE FROM facts; END")


def a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


FILES = [emptied, no_database, cut_in_half, overwritten, headless, two_heads, with_a_trigger, a_folder]


@pytest.mark.parametrize("damage", FILES)
def test_a_file_that_is_no_journal_is_a_sentence(
    noted: Path, command: CliRunner, damage: Callable[[Path], None]
) -> None:
    damage(noted / "journal.sqlite3")
    before = [(path.name, path.is_file() and path.read_bytes()) for path in sorted(noted.glob("journal.s*"))]
    found = command.invoke(cli, ["journal", "verify"])
    assert found.exit_code == 1
    assert found.stdout.startswith("broken at row 1") or isinstance(found.exception, StoreError), found.exception
    after = [(path.name, path.is_file() and path.read_bytes()) for path in sorted(noted.glob("journal.s*"))]
    assert after == before, "asking changes nothing"


@pytest.mark.parametrize("asked", ["show", "export"])
@pytest.mark.parametrize("damage", FILES)
def test_what_reads_a_file_that_is_no_journal_ends_with_a_sentence(
    noted: Path, command: CliRunner, damage: Callable[[Path], None], asked: str
) -> None:
    damage(noted / "journal.sqlite3")
    found = command.invoke(cli, ["journal", asked])
    assert found.exit_code == 0 or isinstance(found.exception, StoreError), found.exception


@pytest.mark.usefixtures("worked")
def test_an_export_of_any_length_holds_few_rows_in_memory(tmp_path: Path) -> None:
    old = tmp_path / "old"
    new = {
        "seq": "n + (SELECT max(seq) FROM entries)",
        "write_id": "write_id || n",
        "arguments": """printf('{"detail":"%.*c"}', 8000, 'x')""",
    }
    with closing(DRIVER.connect(old / "journal.sqlite3")) as file, file:
        many = "WITH n (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM n LIMIT 2000) "
        columns = [new.get(str(name), str(name)) for _, name, *_ in file.execute("PRAGMA table_info(entries)")]
        first = "(SELECT * FROM entries WHERE seq = 1)"
        file.execute(f"INSERT INTO entries {many} SELECT {', '.join(columns)} FROM n, {first}")
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        anyio.run(partial(history.export, hide=False), Settings(data_dir=old))  # imports what it needs
        tracemalloc.start()
        try:
            anyio.run(partial(history.export, hide=False), Settings(data_dir=old))
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert most < 4 * 2**20, "of 16 MiB"


@pytest.mark.usefixtures("worked")
def test_the_commands_show_verify_and_export(tmp_path: Path, command: CliRunner) -> None:
    redacted = command.invoke(cli, ["journal", "export", "--redacted"])
    lines = [json.loads(line) for line in redacted.stdout.splitlines()]
    assert lines[0]["operation"] == "create_issue"
    for word in ("Seen again", "asked twice", "silent"):
        assert word not in redacted.stdout
    verified = command.invoke(cli, ["journal", "verify"])
    assert verified.exit_code == 0
    assert verified.stdout.startswith(f"{len(lines)} rows, whole; head {len(lines)}:")
    head = verified.stdout.split()[-1]
    assert command.invoke(cli, ["journal", "verify", "--head", head]).exit_code == 0
    forged = command.invoke(cli, ["journal", "verify", "--head", f"{len(lines)}:{'0' * 64}"])
    assert (forged.exit_code, "not the row that was noted" in forged.stdout) == (1, True)
    assert command.invoke(cli, ["journal", "verify", "--head", "x"]).exit_code == 2
    whole = command.invoke(cli, ["journal", "export"]).stdout
    assert len(whole.splitlines()) == len(lines)
    assert "Seen again" in whole
    again = command.invoke(cli, ["journal", "replay", "--into", "desk", "--from", str(tmp_path / "old")],
                           env={"CALLTRIAGE_DATA_DIR": str(tmp_path / "new")})  # fmt: skip
    assert (again.exit_code, again.stdout) == (0, "18 writes carried out again.\n")
