"""Places in lists that are too long to be handed out: their names lead on, for every server on the data folder."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from conftest import endpoints_to
from mcp.client import Client
from vendor_examples import FILE, FLAG, ISSUE_ID, Vendor

from calltriage.client.client import open_client
from calltriage.client.long_cursors import FOLDER, cursors_in
from calltriage.offering import ALL
from calltriage.server.answers.results import LOST, STANDING
from calltriage.server.app import build_server
from calltriage.server.toolsets import select

LENGTHS = [8193, 20_000, 50_000]
FLAGS = f"/v1/triage/issues/{ISSUE_ID}/flags"
FILES = "/attachments/2023-03"
NEXT = "https://elsewhere.example/attachments?page=2&after="


@asynccontextmanager
async def agent_on(folder: Path, path: str, pages: dict[str | None, Any]) -> AsyncGenerator[Client]:
    """An agent of one server on a data folder, whose vendor answers one list page by page."""
    rest = Vendor()

    def answer(request: httpx2.Request) -> httpx2.Response:
        params = request.url.params
        if request.url.path != path:
            return rest(request)
        return httpx2.Response(200, json=pages[params.get("cursor") or params.get("after")])

    endpoints = endpoints_to(httpx2.MockTransport(answer))
    async with (
        open_client(endpoints, deadline_s=5, cursors=cursors_in(folder)) as client,
        Client(build_server(client, version="0", tools=select([ALL]))) as agent,
    ):
        yield agent


async def called(agent: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    return (await agent.call_tool(tool, arguments)).structured_content or {}


def flags(cursor: str | None, following: str | None) -> dict[str, Any]:
    rows = [{**FLAG, "id": f"3d0b9e4e-61f4-4b1a-9c1b-0c6f0a8f{n:04}"} for n in ((1, 2) if cursor is None else (3, 4))]
    return {"data": {"items": rows, "next_cursor": following}, "errors": None}


@pytest.mark.parametrize("length", LENGTHS)
async def test_another_server_on_the_folder_reads_on_from_a_long_cursor(tmp_path: Path, length: int) -> None:
    long = "é+/=" + "c" * (length - 4)
    pages = {None: flags(None, long), long: flags(long, None)}
    async with agent_on(tmp_path, FLAGS, pages) as agent:
        first = await called(agent, "list_flags", issue_id=ISSUE_ID)
        assert await called(agent, "list_flags", issue_id=ISSUE_ID) == first, "its name stays the same"
    assert (first["complete"], len(first["next_cursor"]) < 100) == (False, True)
    async with agent_on(tmp_path, FLAGS, pages) as other:
        second = await called(other, "list_flags", issue_id=ISSUE_ID, cursor=first["next_cursor"])
    assert (second["returned"], second["complete"]) == (2, True)


async def test_sections_and_their_places_lead_through_long_cursors(tmp_path: Path) -> None:
    long = "c" * 20_000
    async with agent_on(tmp_path, FLAGS, {None: flags(None, long), long: flags(long, None)}) as agent:
        whole = await called(agent, "get_evidence", issue_id=ISSUE_ID, section="flags")
        assert [row["id"][-1] for row in whole["flags"]["items"]] == ["1", "2", "3", "4"]


@pytest.mark.parametrize("length", [2049, 50_000])
async def test_a_long_link_to_the_next_files_leads_on(tmp_path: Path, length: int) -> None:
    after = "p" * length
    first: dict[str, Any] = {"total": 2, "_embedded": {"list": [FILE]}, "_links": {"next": {"href": NEXT + after}}}
    second: dict[str, Any] = {"total": 2, "page": 2, "per_page": 1, "_embedded": {"list": [{**FILE, "id": "f" * 32}]}}
    async with agent_on(tmp_path, FILES, {None: first, after: second}) as agent:
        page = await called(agent, "list_attachments")
        assert (page["complete"], len(page["next_cursor"]) < 200) == (False, True)
        rest = await called(agent, "list_attachments", cursor=page["next_cursor"])
        assert ([row["id"] for row in rest["items"]], rest["complete"]) == (["f" * 32], True)


async def test_a_long_cursor_that_stands_still_ends_the_list(tmp_path: Path) -> None:
    long = "c" * 9000
    async with agent_on(tmp_path, FLAGS, {None: flags(None, long), long: flags(long, long)}) as agent:
        first = await called(agent, "list_flags", issue_id=ISSUE_ID)
        second = await called(agent, "list_flags", issue_id=ISSUE_ID, cursor=first["next_cursor"])
    assert (second["complete"], second["note"]) == (False, STANDING)


@pytest.mark.parametrize("fate", ["old", "changed", "gone"])
async def test_a_cursor_that_is_not_kept_any_more_is_refused_with_what_to_do(tmp_path: Path, fate: str) -> None:
    long = "c" * 9000
    async with agent_on(tmp_path, FLAGS, {None: flags(None, long)}) as agent:
        first = await called(agent, "list_flags", issue_id=ISSUE_ID)
        (file,) = (tmp_path / FOLDER).iterdir()
        if fate == "old":
            os.utime(file, times=(1_000_000_000, 1_000_000_000))
        elif fate == "changed":
            file.write_bytes(b"another place")
        else:
            file.unlink()
        told = await called(agent, "list_flags", issue_id=ISSUE_ID, cursor=first["next_cursor"])
    assert (told["error"]["code"], "Begin without it" in told["error"]["message"]) == ("invalid_arguments", True)


@pytest.mark.parametrize("long", ["c" * 60_001, "ü" * 11_000, "c" * 2_000_000])
async def test_a_cursor_that_no_url_can_hold_never_means_that_the_list_is_complete(tmp_path: Path, long: str) -> None:
    async with agent_on(tmp_path, FLAGS, {None: flags(None, long)}) as agent:
        page = await called(agent, "list_flags", issue_id=ISSUE_ID)
    assert (page["returned"], page["complete"], page["note"]) == (2, False, LOST)


async def test_where_a_long_cursor_cannot_be_kept_the_list_says_that_it_may_have_more(tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("no folder", encoding="ascii")
    async with agent_on(tmp_path, FLAGS, {None: flags(None, "c" * 9000)}) as agent:
        page = await called(agent, "list_flags", issue_id=ISSUE_ID)
    assert (page["returned"], page["complete"], page["note"]) == (2, False, LOST)
