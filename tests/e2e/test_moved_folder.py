"""A data folder that is moved, replaced or deleted under a running server: nothing is said to be done that is not there."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from e2e.processes import PATIENCE, over_stdio
from mcp.client import Client

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="open files cannot be moved there")]


async def ask(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    with anyio.fail_after(PATIENCE):
        return (await client.call_tool(tool, arguments)).structured_content or {}


async def file_issue(client: Client, title: str, **more: str) -> dict[str, Any]:
    return await ask(
        client, "create_issue", title=title, severity="low", category="Routing", on_duplicate="create", **more
    )


async def titles(client: Client) -> set[str]:
    return {item["title"] for item in (await ask(client, "list_issues"))["items"]}


def moved(data: Path) -> None:
    data.rename(data.with_name("moved"))


def replaced(data: Path) -> None:
    moved(data)
    shutil.copytree(data.with_name("moved"), data)


def desk_replaced(data: Path) -> None:
    shutil.copy(data / "desk.sqlite3", data / "copy")
    (data / "copy").replace(data / "desk.sqlite3")


def journal_replaced(data: Path) -> None:
    shutil.copy(data / "journal.sqlite3", data / "copy")
    (data / "copy").replace(data / "journal.sqlite3")


AWAY: list[Callable[[Path], None]] = [moved, shutil.rmtree, replaced, desk_replaced, journal_replaced]


@pytest.mark.parametrize("away", AWAY)
async def test_what_is_acknowledged_is_where_a_new_server_finds_it(
    tmp_path: Path, away: Callable[[Path], None]
) -> None:
    async with Client(over_stdio(tmp_path)) as client:
        await client.list_tools()
        assert (await file_issue(client, "Before"))["outcome"] == "committed"
        with anyio.fail_after(PATIENCE):
            while any((tmp_path / "data" / "unanswered").iterdir()):  # noqa: ASYNC110  a mark goes after its answer
                await anyio.sleep(0.01)
        away(tmp_path / "data")
        for _ in range(2):
            refused = await file_issue(client, "After", idempotency_key="k")
            assert refused["error"]["code"] == "storage_unavailable"
            assert refused["error"]["outcome"] == "not_committed"
        file = await ask(client, "create_attachment", name="a.txt", text="words")
        assert file["error"]["outcome"] == "not_committed"
        if away in (moved, shutil.rmtree):
            assert not (tmp_path / "data").exists(), "a folder in its place would be in the way of putting it back"
    async with Client(over_stdio(tmp_path)) as client:
        assert "After" not in await titles(client)
        again = await file_issue(client, "After", idempotency_key="k")
        assert again["outcome"] == "committed"
        assert "After" in await titles(client)


async def test_a_server_goes_on_when_the_folder_is_put_back(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with Client(over_stdio(tmp_path)) as client:
        await client.list_tools()
        await file_issue(client, "Before")
        moved(data)
        assert (await ask(client, "list_issues"))["error"]["code"] == "storage_unavailable"
        assert (await file_issue(client, "Between"))["error"]["outcome"] == "not_committed"
        data.with_name("moved").rename(data)
        assert (await file_issue(client, "After"))["outcome"] == "committed"
        assert await titles(client) == {"Before", "After"}
    async with Client(over_stdio(tmp_path)) as client:
        assert await titles(client) == {"Before", "After"}
