"""A removal goes ahead after a person's yes, and not after a no: in the board that the host shows, and on the page."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp.client import Client as McpClient
from mcp_over_http import NEWEST, ask, newest
from tool_calls import ok, refused, with_call

from board.seats import Served, arrive, board_on_port
from calltriage.client.client import Client
from calltriage.leaves.seals import Seals
from calltriage.offering import ALL, Policy
from calltriage.operations.flags import ListFlags
from calltriage.server.app import build_server
from calltriage.server.questions import Questions
from calltriage.server.toolsets import select

pytestmark = pytest.mark.slow


@pytest.fixture
def questions(tmp_path: Path) -> Questions:
    return Questions(tmp_path / "questions", Seals())


@asynccontextmanager
async def silent(client: Client, questions: Questions, confirm: Policy) -> AsyncGenerator[McpClient]:
    """An agent whose host can ask nobody."""
    server = build_server(client, version="0", tools=select([ALL]), confirm=confirm, questions=questions)
    async with McpClient(server) as agent:
        yield agent


async def flag(agent: McpClient) -> dict[str, Any]:
    """Arguments that remove a flag which is there."""
    ticket = await with_call(agent)
    made = await ok(agent, "add_flag", issue_id=ticket, call_id="call-card", type="late", message_index=3)
    return {"issue_id": made["issue_id"], "flag_id": made["id"]}


async def is_there(client: Client, given: dict[str, Any]) -> bool:
    flags = (await client.send(ListFlags(issue_id=given["issue_id"]))).items
    return given["flag_id"] in {one.id for one in flags}


@pytest.mark.parametrize(("answer", "stays"), [("Keep", True), ("Remove", False), (None, True)])
async def test_the_panel_in_the_host_answers_for_the_removal_that_the_agent_wanted(
    client: Client, questions: Questions, view: Any, answer: str | None, stays: bool
) -> None:
    async with silent(client, questions, "panel") as agent, view(agent) as seat:
        given = await flag(agent)
        await arrive(seat, agent, "remove_flag", **given)
        dialog = seat.board.get_by_role("dialog")
        assert given["flag_id"] in await dialog.inner_text()
        assert await is_there(client, given)
        if answer is None:
            await seat.press("Escape")
        else:
            await dialog.get_by_role("button", name=answer).click()
        await seat.heading("Issues")
        told = (await seat.seen("contexts"))[-1]["structuredContent"]
        assert told == {"tool": "remove_flag", **given, "outcome": "confirmation_declined" if stays else "committed"}
        assert await is_there(client, given) is stays
        assert seat.complaints == []


@pytest.mark.parametrize(("answer", "stays"), [("Keep", True), ("Remove", False)])
async def test_the_panel_answers_for_what_a_person_removes_on_the_board_in_the_host(
    client: Client, questions: Questions, view: Any, answer: str, stays: bool
) -> None:
    async with silent(client, questions, "panel") as agent, view(agent) as seat:
        given = await flag(agent)
        await arrive(seat, agent, "get_evidence", issue_id=given["issue_id"])
        await seat.board.get_by_role("button", name="Remove late").click()
        await seat.board.get_by_role("dialog").get_by_role("button", name=answer).click()
        await seat.said("Nothing was removed." if stays else "Flag removed.")
        assert await is_there(client, given) is stays


async def test_without_the_panel_a_view_cannot_confirm_anything(
    client: Client, questions: Questions, view: Any
) -> None:
    async with silent(client, questions, "ask") as agent, view(agent) as seat:
        given = await flag(agent)
        await arrive(seat, agent, "get_evidence", issue_id=given["issue_id"])
        await seat.board.get_by_role("button", name="Remove late").click()
        await seat.said("this host cannot ask")
        assert await seat.board.get_by_role("dialog").count() == 0
        assert await is_there(client, given)


@pytest.mark.parametrize(("answer", "stays"), [("Keep", True), ("Remove", False)])
async def test_the_page_answers_for_the_removal_whose_id_the_agent_was_told(
    client: Client, questions: Questions, tmp_path: Path, page: Any, answer: str, stays: bool
) -> None:
    async with silent(client, questions, "ask") as agent, board_on_port(client, tmp_path, questions) as served:
        given = await flag(agent)
        message = (await refused(agent, "remove_flag", **given))["message"]
        ident = message.split("calltriage board --confirm ")[1][:8]
        async with page(served, question=f".{ident}") as seat:
            dialog = seat.board.get_by_role("dialog")
            assert given["flag_id"] in await dialog.inner_text()
            await dialog.get_by_role("button", name=answer).click()
            await seat.said("The person declined" if stays else "Removed.")
            assert await is_there(client, given) is stays
            assert seat.complaints == []
        async with page(served, question=f".{ident}") as late:
            await late.said("No question waits under this name")
        again = await refused(agent, "remove_flag", **given)
    assert again["code"] == ("confirmation_declined" if stays else "not_found")


@pytest.mark.parametrize(("answer", "stays"), [("Keep", True), ("Remove", False)])
async def test_the_page_answers_for_a_host_that_opened_it_and_the_call_goes_on(
    client: Client, full_agent: McpClient, questions: Questions, tmp_path: Path, page: Any, answer: str, stays: bool
) -> None:
    async with board_on_port(client, tmp_path, questions) as served:
        given = await flag(full_agent)
        asked = await removing(served, given)
        url = asked["inputRequests"]["confirm"]["params"]["url"]
        assert url.startswith(f"{served.base}/ui#.")
        async with page(served, question=url.partition("#")[2]) as seat:
            dialog = seat.board.get_by_role("dialog")
            assert given["flag_id"] in await dialog.inner_text()
            await dialog.get_by_role("button", name=answer).click()
            await seat.said("Nothing was removed." if stays else "You agreed.")
            assert await is_there(client, given)
            assert seat.complaints == []
        more = {"inputResponses": {"confirm": {"action": "accept"}}, "requestState": asked["requestState"]}
        body = (await removing(served, given, **more))["structuredContent"]
    assert (body["error"]["code"] if stays else body["outcome"]) == ("confirmation_declined" if stays else "committed")
    assert await is_there(client, given) is stays


async def removing(served: Served, given: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A call of a host that can ask its person nothing, but can open a page."""
    params = newest(name="remove_flag", arguments=given, **more)
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = {"elicitation": {"url": {}}}
    headers = {"mcp_protocol_version": NEWEST, "mcp_method": "tools/call", "mcp_name": "remove_flag"}
    headers |= {"authorization": f"Bearer {served.page.token.get_secret_value()}" if served.page.token else ""}
    async with httpx2.AsyncClient(base_url=served.base) as http:
        return await ask(http, "tools/call", params, **headers)
