"""The board's page on real servers: `calltriage board`, and `/ui` beside MCP over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
import pytest
from e2e.processes import over_stdio, run, started
from mcp.client import Client
from mcp_over_http import NEWEST, ask, newest

from calltriage.offering import ALL
from calltriage.server.toolsets import TOOLSETS, select

pytestmark = pytest.mark.slow


async def tools_of_page(address: str) -> set[str]:
    """Names of the tools that somebody has who follows the link of the board."""
    base, _, code = address.partition("/ui#")
    async with httpx2.AsyncClient(base_url=base, headers={"origin": base}) as http:
        assert (await http.get("/ui")).status_code == 200
        assert (await http.post("/ui/session", json={"code": code})).status_code == 204
        assert (await http.post("/ui/session", json={"code": code})).status_code == 403
        listed: dict[str, Any] = await ask(
            http, "tools/list", newest(), mcp_protocol_version=NEWEST, mcp_method="tools/list"
        )
    return {tool["name"] for tool in listed["tools"]}


async def test_the_board_offers_its_person_every_tool_and_nobody_else_any(tmp_path: Path) -> None:
    async with started(tmp_path, "board", CALLTRIAGE_TOOLSETS="core") as address, httpx2.AsyncClient() as http:
        assert await tools_of_page(address) == {tool.tool_name() for tool in select([ALL])}
        stranger = await http.post(
            f"{address.partition('/ui')[0]}/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "ping"}
        )
    assert stranger.status_code == 401


async def removed_on_page(link: str, *, agreed: bool) -> dict[str, Any]:
    """What comes of the removal that waits, when somebody who follows the link answers the server's question so."""
    base, _, rest = link.partition("/ui#")
    code, _, ident = rest.partition(".")
    wire = {"mcp_protocol_version": NEWEST, "mcp_method": "tools/call"}
    async with httpx2.AsyncClient(base_url=base, headers={"origin": base}) as http:
        await http.post("/ui/session", json={"code": code})
        waits = (await http.post("/ui/questions", json={"id": ident})).json()
        call = newest(name=waits["tool"], arguments=waits["arguments"])
        call["_meta"]["io.modelcontextprotocol/clientCapabilities"] = {"elicitation": {"form": {}}}
        asked = await ask(http, "tools/call", call, **wire, mcp_name=waits["tool"])
        assert waits["arguments"]["issue_id"] in asked["inputRequests"]["confirm"]["params"]["message"]
        reply = {"confirm": {"action": "accept", "content": {"confirm": agreed}}}
        again = {**call, "inputResponses": reply, "requestState": asked["requestState"]}
        done = await ask(http, "tools/call", again, **wire, mcp_name=waits["tool"])
        assert (await http.post("/ui/questions", json={"id": ident, "agreed": agreed})).status_code == 204
    return done["structuredContent"]


@pytest.mark.parametrize("agreed", [True, False])
async def test_a_removal_that_an_agent_could_not_ask_about_is_answered_by_the_person_at_the_machine(
    tmp_path: Path, agreed: bool
) -> None:
    async with Client(over_stdio(tmp_path, CALLTRIAGE_TOOLSETS="all"), mode="legacy") as agent:
        new = {"title": "To be removed", "severity": "low", "category": "Bug"}
        issue = {"issue_id": ((await agent.call_tool("create_issue", new)).structured_content or {})["triage_id"]}
        refused = ((await agent.call_tool("delete_issue", issue)).structured_content or {})["error"]
        ident = refused["message"].split("calltriage board --confirm ")[1][:8]
        async with started(tmp_path, "board", "--confirm", ident) as link:
            done = await removed_on_page(link, agreed=agreed)
        assert done.get("outcome", done.get("error", {}).get("code")) == (
            "committed" if agreed else "confirmation_declined"
        )
        assert (await agent.call_tool("get_issue", issue)).is_error is agreed
        again = ((await agent.call_tool("delete_issue", issue)).structured_content or {})["error"]["code"]
    assert again == ("not_found" if agreed else "confirmation_declined")


async def test_an_id_that_can_be_none_is_refused_at_once(tmp_path: Path) -> None:
    status, _, said = await run(tmp_path, "board", "--confirm", "../x")
    assert status == 2
    assert "eight letters and digits" in said


async def test_what_the_operator_excludes_is_not_on_the_board_either(tmp_path: Path) -> None:
    settings = {"CALLTRIAGE_EXCLUDE_TOOLS": "delete_issue", "CALLTRIAGE_READ_ONLY": "1"}
    async with started(tmp_path, "board", **settings) as address:
        offered = await tools_of_page(address)
    assert offered == {tool.tool_name() for tool in select([ALL], ["delete_issue"], read_only=True)}


async def test_beside_mcp_the_board_offers_what_the_server_offers(tmp_path: Path) -> None:
    async with started(tmp_path, "serve", "--http", "--port", "0", pattern=r"Board .*at (http://\S+)") as address:
        assert await tools_of_page(address) == {tool.tool_name() for tool in TOOLSETS["core"]}
