"""The journal's commands: a chain that is checked, and a desk that is written again."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from click.testing import CliRunner
from conftest import CALLS, DESK_URL, KEY, Clock, endpoints_to, load_lines
from mcp.client import Client as McpClient
from pydantic import SecretStr

from calltriage.cli import journal as history
from calltriage.cli.main import cli
from calltriage.client.client import Client, open_client
from calltriage.desk.app import Desk
from calltriage.errors import SettingsError, StoreError
from calltriage.journal.journal import Journal
from calltriage.operations.activity import AddComment, ListActivity
from calltriage.operations.base import Operation
from calltriage.operations.categories import ListCategories
from calltriage.operations.flags import ListFlags
from calltriage.operations.issues import DeleteIssue, ListIssues, UpdateIssue
from calltriage.operations.norm import PromptNorm
from calltriage.operations.relations import ListRelations
from calltriage.operations.resources import ListResources
from calltriage.server.app import build_server
from calltriage.server.toolsets import select
from calltriage.settings import Settings

NEW = {"title": "Card line is silent", "severity": "high", "category": "Speech"}


async def work_on(folder: Path, clock: Clock) -> None:
    """An investigation with everything in it, on the desk of a folder and in its journal."""
    desk, journal = Desk(folder, SecretStr(KEY), DESK_URL, clock=clock), Journal(folder, clock=clock)
    await load_lines(desk, *CALLS)
    endpoints = endpoints_to(httpx2.ASGITransport(desk, raise_app_exceptions=False))
    async with open_client(endpoints, ledger=journal) as client:
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
    async with open_client(endpoints_to(httpx2.ASGITransport(desk, raise_app_exceptions=False))) as client:
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


@pytest.fixture
def worked(tmp_path: Path, clock: Clock) -> None:
    anyio.run(work_on, tmp_path / "old", clock)


@pytest.mark.usefixtures("worked")
def test_the_commands_show_verify_and_export(tmp_path: Path, command: CliRunner) -> None:
    shown = command.invoke(cli, ["journal", "show", "--last", "500"])
    lines = [json.loads(line) for line in shown.stdout.splitlines()]
    assert lines[0]["operation"] == "create_issue"
    for word in ("Seen again", "asked twice", "silent"):
        assert word not in shown.stdout
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
    assert "Seen again" not in command.invoke(cli, ["journal", "export", "--redacted"]).stdout
    again = command.invoke(cli, ["journal", "replay", "--into", "desk", "--from", str(tmp_path / "old")],
                           env={"CALLTRIAGE_DATA_DIR": str(tmp_path / "new")})  # fmt: skip
    assert (again.exit_code, again.stdout) == (0, "18 writes carried out again.\n")
