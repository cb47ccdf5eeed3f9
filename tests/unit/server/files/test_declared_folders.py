"""Folders that a host declares: asked for when a path needs them, in both generations of the protocol, and held to the same
rules as all others."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import mcp_types
import pytest
from mcp.client import Client
from tool_calls import ok, refused

from calltriage.client.client import Client as ApiClient
from calltriage.offering import ALL
from calltriage.server.app import build_server
from calltriage.server.call import host
from calltriage.server.files.local import FileRoots
from calltriage.server.toolsets import select

MODES = ["legacy", "2026-07-28"]


class Folders:
    """What the host declares, and how often it was asked."""

    def __init__(self, *uris: str | Path) -> None:
        self.uris = [uri if isinstance(uri, str) else uri.as_uri() for uri in uris]
        self.asked = 0

    async def __call__(self, context: Any) -> mcp_types.ListRootsResult:
        self.asked += 1
        return mcp_types.ListRootsResult.model_validate({"roots": [{"uri": uri} for uri in self.uris]})


@asynccontextmanager
async def agent_in(
    client: ApiClient, mode: str, declared: Any, *roots: Path, private: Path | None = None, asks: bool = True
) -> AsyncGenerator[Client]:
    files = FileRoots(roots, private=() if private is None else (private,), asks=asks)
    server = build_server(client, version="0", files=files, tools=select([ALL]))
    async with Client(server, list_roots_callback=declared, mode=mode) as agent:
        await agent.list_tools()
        yield agent


@pytest.fixture
def project(tmp_path: Path) -> Path:
    project = tmp_path / "my project ü"
    (project / "below").mkdir(parents=True)
    (project / "below" / "report.txt").write_text("inside")
    (tmp_path / "secret.txt").write_text("outside")
    (project / "out.txt").symlink_to(tmp_path / "secret.txt")
    return project


@pytest.mark.parametrize("mode", MODES)
async def test_a_file_below_a_declared_folder_is_stored_and_one_is_saved_there(
    client: ApiClient, project: Path, mode: str
) -> None:
    declared = Folders(project)
    async with agent_in(client, mode, declared) as agent:
        assert declared.asked == 0, "nothing is asked before a path needs it"
        await ok(agent, "create_attachment", text="x", name="x.txt")
        assert declared.asked == 0
        for path in (str(project / "below" / "report.txt"), "below/report.txt"):
            made = await ok(agent, "create_attachment", path=path)
            assert (made["size"], made["name"]) == (6, "report.txt")
        saved = await ok(agent, "download_attachment", attachment_id=made["id"], save_to=str(project))
        assert (project / "report.txt").read_text() == "inside"
        assert saved["saved_to"] == str(project / "report.txt")
    assert declared.asked == 3


@pytest.mark.parametrize("mode", MODES)
async def test_what_lies_below_an_open_folder_needs_no_question(
    client: ApiClient, project: Path, tmp_path: Path, mode: str
) -> None:
    declared, here = Folders(project), tmp_path / "here"
    here.mkdir()
    (here / "report.txt").write_text("here")
    async with agent_in(client, mode, declared, here) as agent:
        assert (await ok(agent, "create_attachment", path="report.txt"))["size"] == 4
        assert declared.asked == 0
        given = str(project / "below" / "report.txt")
        assert (await ok(agent, "create_attachment", path=given, name="other.txt"))["size"] == 6


@pytest.mark.parametrize("mode", MODES)
async def test_what_a_host_no_longer_declares_is_closed(client: ApiClient, project: Path, mode: str) -> None:
    declared = Folders(project)
    async with agent_in(client, mode, declared) as agent:
        await ok(agent, "create_attachment", path="below/report.txt")
        declared.uris = []
        assert (await refused(agent, "create_attachment", path="below/report.txt"))["code"] == "path_not_allowed"


@pytest.mark.parametrize("mode", MODES)
async def test_declared_folders_are_held_to_the_rules_of_all_others(
    client: ApiClient, project: Path, tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "homes" / "ann"
    (home / "work").mkdir(parents=True)
    for place in (home, home / "work"):
        (place / "a.txt").write_text("a")
    (tmp_path / "alias").symlink_to(home)
    monkeypatch.setenv("HOME", str(home))
    async with agent_in(client, mode, Folders(project), private=project / "below") as agent:
        for path in ("out.txt", "../secret.txt", "below/report.txt", "/etc/passwd"):
            assert (await refused(agent, "create_attachment", path=path))["code"] == "path_not_allowed"
    holding_homes = Folders("file:///", tmp_path, home.parent, home, tmp_path / "alias")
    async with agent_in(client, mode, holding_homes) as agent:
        for path in (home / "a.txt", home / "work" / "a.txt", project / "below" / "report.txt"):
            assert (await refused(agent, "create_attachment", path=str(path)))["code"] == "path_not_allowed"
    async with agent_in(client, mode, Folders(home / "work")) as agent:
        assert (await ok(agent, "create_attachment", path=str(home / "work" / "a.txt")))["size"] == 1


@pytest.mark.parametrize("mode", MODES)
async def test_folders_of_other_machines_and_what_is_none_open_nothing(
    client: ApiClient, project: Path, mode: str
) -> None:
    path = str(project / "below" / "report.txt")
    for uri in (f"file://elsewhere.example{project.as_uri()[7:]}", "file:///%00", f"{project.as_uri()}%00"):
        async with agent_in(client, mode, Folders(uri)) as agent:
            assert (await refused(agent, "create_attachment", path=path))["code"] == "path_not_allowed"
    async with agent_in(client, mode, Folders(f"file://localhost{project.as_uri()[7:]}")) as agent:
        assert (await ok(agent, "create_attachment", path=path))["size"] == 6


@pytest.mark.parametrize("mode", MODES)
async def test_nobody_is_asked_where_the_operator_decides_or_the_host_declares_nothing(
    client: ApiClient, project: Path, mode: str
) -> None:
    declared, path = Folders(project), str(project / "below" / "report.txt")
    for answer, asks in ((declared, False), (None, True)):
        async with agent_in(client, mode, answer, asks=asks) as agent:
            assert (await refused(agent, "create_attachment", path=path))["code"] == "path_not_allowed"
    assert declared.asked == 0


async def test_a_host_that_fails_or_says_nothing_has_declared_nothing(
    client: ApiClient, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import anyio

    async def fails(_: Any) -> mcp_types.ErrorData:
        return mcp_types.ErrorData(code=-32603, message="canary")

    async def is_silent(_: Any) -> mcp_types.ListRootsResult:
        await anyio.sleep_forever()
        raise AssertionError("unreachable")

    monkeypatch.setattr(host, "PATIENCE_S", 0.05)
    for answer in (fails, is_silent):
        async with agent_in(client, "legacy", answer) as agent:
            error = await refused(agent, "create_attachment", path=str(project / "below" / "report.txt"))
            assert (error["code"], error["outcome"]) == ("path_not_allowed", "not_committed")


async def test_a_newer_host_that_answers_something_else_is_not_asked_for_ever(client: ApiClient, project: Path) -> None:
    async with agent_in(client, "2026-07-28", Folders(project)) as agent:
        given = {"path": str(project / "below" / "report.txt")}
        asked = await agent.session.call_tool("create_attachment", given, allow_input_required=True)
        assert isinstance(asked, mcp_types.InputRequiredResult)
        assert list(asked.input_requests or {}) == ["roots"]
        other: mcp_types.InputResponses = {"x": mcp_types.ElicitResult(action="cancel")}
        answer = await agent.session.call_tool(
            "create_attachment", given, input_responses=other, allow_input_required=True
        )
        assert (getattr(answer, "structured_content", None) or {})["error"]["code"] == "path_not_allowed"
