"""What an issue's calls ran on, within a budget, and read whole by following the advice."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from conftest import endpoints_to
from mcp.client import Client
from tokens import real_tokens
from tool_calls import UNKNOWN, entries, ok, read_on, refused
from vendors import says

from calltriage.client.client import open_client
from calltriage.leaves.gate import compact
from calltriage.offering import ALL
from calltriage.server.app import build_server
from calltriage.server.toolsets import select


async def test_affected_context_keeps_its_budget_with_very_many_calls() -> None:
    calls = [{"call_id": f"c{n}", "pathway_id": "p", "title": "and so on " * 20} for n in range(500)]
    body = {"issue_id": "i", "calls": calls, "pathways": [{"pathway_id": "p", "call_count": 500}], "personas": []}
    async with (
        open_client(endpoints_to(httpx2.MockTransport(says(200, {"data": body, "errors": None})))) as client,
        Client(build_server(client, version="0", tools=select([ALL]))) as agent,
    ):
        issue = "9bbe5547-d5b1-4b83-9f80-87c4af7c6b34"
        found = await ok(agent, "get_affected_context", issue_id=issue)
        assert real_tokens(compact(found)) <= 6_000
        assert found["pathways"]["items"] == body["pathways"]
        shown, left = len(found["calls"]["items"]), found["omitted"][0]["left_out"]
        assert (shown + left, found["complete"]) == (500, False)


@pytest.mark.slow
@pytest.mark.parametrize("budget", [1000, 6000, 19_000])
async def test_affected_context_is_read_whole_by_following_its_advice(budget: int) -> None:
    ids = [f"9bbe5547-d5b1-4b83-9f80-{n:012}" for n in range(700)]
    calls = [{"call_id": one, "pathway_id": "p", "pathway_name": None, "title": f"call {one[-4:]}"} for one in ids]
    long = {"pathway_id": "q", "pathway_name": "鬱𠀀" * 3000, "call_count": 1, "call_ids": ids[:1]}
    pathways = [{"pathway_id": "p", "call_count": 700, "call_ids": ids}, long]
    wide = {"persona_id": "w", **{f"key {n}": "v" for n in range(9000)}}
    body = {"issue_id": "i", "calls": calls, "pathways": pathways, "personas": [wide, {"persona_id": "z"}]}
    async with (
        open_client(endpoints_to(httpx2.MockTransport(says(200, {"data": body, "errors": None})))) as client,
        Client(build_server(client, version="0", tools=select([ALL]))) as agent,
    ):
        bodies = await read_on(agent, "get_affected_context", issue_id=UNKNOWN, max_tokens=budget)
    assert bodies[0]["pathways"]["items"][0] == {"pathway_id": "p", "call_count": 700}
    assert [one["call_id"] for one in entries(bodies, "calls")] == ids
    named = [one for one in entries(bodies, "pathways") if one["pathway_id"] == "q"]
    assert "".join(one.get("pathway_name", "") for one in named) == long["pathway_name"]
    assert {"persona_id": "z"} in entries(bodies, "personas"), "what no answer has room for does not stand in the way"


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"cursor": "0.0."}, "section"),
        ({"section": "calls", "cursor": "x"}, "cursor"),
        ({"section": "flags"}, "section"),
    ],
)
async def test_a_place_that_is_none_is_refused(full_agent: Client, arguments: dict[str, Any], field: str) -> None:
    error = await refused(full_agent, "get_affected_context", issue_id=UNKNOWN, **arguments)
    assert (error["field"], error["retryable"]) == (field, False)
