"""What an empty list says."""

from __future__ import annotations

from mcp.client import Client as McpClient
from sqlalchemy import delete

from calltriage.client.client import Client
from calltriage.desk.app import Desk
from calltriage.desk.database.tables import calls
from calltriage.server.app import build_server
from calltriage.server.toolsets import select


async def test_lists_without_anything_say_how_it_comes_to_be_there(the_desk: Desk, full_agent: McpClient) -> None:
    issues = (await full_agent.call_tool("list_issues", {})).structured_content or {}
    assert (issues["items"], issues["try_next"]) == ([], {"tool": "find_calls", "arguments": {}})
    await the_desk.store.write(lambda connection: connection.execute(delete(calls)))
    found = (await full_agent.call_tool("find_calls", {})).structured_content or {}
    assert found["items"] == []
    assert "calltriage desk import" in found["note"]
    assert "calltriage desk sample" in found["note"]


async def test_lists_that_filters_emptied_advise_to_leave_them_out(full_agent: McpClient) -> None:
    for tool, filters in (("list_issues", {"search": "nothing like it"}), ("find_calls", {"batch_id": "none"})):
        found = (await full_agent.call_tool(tool, filters)).structured_content or {}
        assert found["items"] == []
        assert found["try_next"] == {"tool": tool, "arguments": {}}
        assert "filters" in found["note"]


async def test_a_list_with_rows_says_nothing_of_it(full_agent: McpClient) -> None:
    found = (await full_agent.call_tool("find_calls", {})).structured_content or {}
    assert found["items"]
    assert "note" not in found


async def test_where_no_tool_finds_calls_a_sentence_says_how_they_get_in(client: Client) -> None:
    async with McpClient(build_server(client, version="0", tools=select(excluded=["find_calls"]))) as agent:
        issues = (await agent.call_tool("list_issues", {})).structured_content or {}
    assert "calltriage desk import" in issues["note"]
    assert "try_next" not in issues
