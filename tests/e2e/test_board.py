"""The board's page on real servers: `calltriage board`, and `/ui` beside MCP over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
from e2e.processes import started
from mcp_over_http import NEWEST, ask, newest

from calltriage.server.toolsets import ALL, TOOLSETS, select


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


async def test_what_the_operator_excludes_is_not_on_the_board_either(tmp_path: Path) -> None:
    settings = {"CALLTRIAGE_EXCLUDE_TOOLS": "delete_issue", "CALLTRIAGE_READ_ONLY": "1"}
    async with started(tmp_path, "board", **settings) as address:
        offered = await tools_of_page(address)
    assert offered == {tool.tool_name() for tool in select([ALL], ["delete_issue"], read_only=True)}


async def test_beside_mcp_the_board_offers_what_the_server_offers(tmp_path: Path) -> None:
    async with started(tmp_path, "serve", "--http", "--port", "0", pattern=r"Board .*at (http://\S+)") as address:
        assert await tools_of_page(address) == {tool.tool_name() for tool in TOOLSETS["core"]}
