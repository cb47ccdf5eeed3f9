"""Who calls is what was authenticated: the holders of the token are one caller, and without a token each address is one."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import mcp_types
import pytest
from e2e.processes import PATIENCE, ask, complaint, started
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from calltriage.server.files.handover import MOST_WAITING
from calltriage.server.surfaces.subscriptions import MOST_IN_ALL, MOST_STREAMS

pytestmark = pytest.mark.slow

SERVE = ("serve", "--http", "--port", "0", "--toolsets", "all")


@asynccontextmanager
async def caller(address: str, token: str | None = None, **more: Any) -> AsyncGenerator[Client]:
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=PATIENCE, **more) as http,
        Client(streamable_http_client(address, http_client=http), mode="2026-07-28") as agent,
    ):
        yield agent


async def test_keys_and_recent_writes_outlive_a_change_of_the_token(tmp_path: Path) -> None:
    new = {"title": "Once", "severity": "low", "category": "Bug", "on_duplicate": "create", "idempotency_key": "k"}
    made = list[dict[str, Any]]()
    for token in ("a" * 32, "b" * 32):
        async with started(tmp_path, *SERVE, CALLTRIAGE_HTTP_TOKEN=token) as address, caller(address, token) as agent:
            made.append(await ask(agent, "create_issue", **new))
            recent = await ask(agent, "list_recent_writes")
            assert [one["made"] for one in recent["items"]] == [made[0]["id"]]
    assert made[1]["id"] == made[0]["id"]
    assert [one["outcome"] for one in made] == ["committed", "replayed"]


async def test_a_reply_to_a_question_is_good_on_every_server_of_the_folder(tmp_path: Path) -> None:
    yes: mcp_types.InputResponses = {"confirm": mcp_types.ElicitResult(action="accept", content={"confirm": True})}

    async def unasked(context: Any, params: Any) -> mcp_types.ElicitResult:
        raise AssertionError("the reply is given by hand")

    async with started(tmp_path, *SERVE) as one, started(tmp_path, *SERVE) as two, AsyncExitStack() as stack:
        first, second = [
            await stack.enter_async_context(Client(address, mode="2026-07-28", elicitation_callback=unasked))
            for address in (one, two)
        ]
        issue = {"issue_id": (await ask(first, "create_issue", title="T", severity="low", category="Bug"))["id"]}
        question = await first.session.call_tool("delete_issue", issue, allow_input_required=True)
        assert isinstance(question, mcp_types.InputRequiredResult)
        done = await second.session.call_tool(
            "delete_issue", issue, input_responses=yes, request_state=question.request_state, allow_input_required=True
        )
        assert isinstance(done, mcp_types.CallToolResult)
        assert done.structured_content == {"outcome": "committed"}


async def test_no_header_makes_another_caller(tmp_path: Path) -> None:
    call: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
    call["params"] = {"name": "create_issue", "arguments": {"title": "T", "severity": "low", "category": "Bug"}}
    async with (
        started(tmp_path, *SERVE, CALLTRIAGE_WRITES_PER_MINUTE="4") as address,
        httpx2.AsyncClient(timeout=PATIENCE) as http,
    ):
        refused = 0
        for number in range(8):
            headers = {
                "accept": "application/json, text/event-stream",
                "mcp-protocol-version": "2025-11-25",
                "authorization": f"Bearer {number}",
                "x-forwarded-for": f"192.0.2.{number}",
                "forwarded": f"for=192.0.2.{number}",
                "x-real-ip": f"192.0.2.{number}",
            }
            refused += "too_many_calls" in (await http.post(address, json=call, headers=headers)).text
    assert refused >= 5


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a second loopback address")
async def test_one_caller_s_uploads_leave_room_for_another_s(tmp_path: Path) -> None:
    elsewhere = httpx2.AsyncHTTPTransport(local_address="127.0.0.2")
    async with (
        started(tmp_path, *SERVE, CALLTRIAGE_WRITES_PER_MINUTE="0") as address,
        httpx2.AsyncClient(timeout=PATIENCE) as http,
        caller(address) as greedy,
        caller(address, transport=elsewhere) as other,
    ):
        for number in range(MOST_WAITING + 1):
            offer = (await ask(greedy, "create_attachment", upload="new"))["upload"]
            answer = await http.put(offer["url"], content=b"x")
            assert answer.status_code == (200 if number < MOST_WAITING else 503)
        offer = (await ask(other, "create_attachment", upload="new"))["upload"]
        assert (await http.put(offer["url"], content=b"x")).status_code == 200
        assert (await ask(other, "create_attachment", upload=offer["handle"], name="a.txt"))["size"] == 1
        assert (await complaint(other, "create_attachment", upload=offer["handle"], name="b.txt"))["code"] == (
            "upload_not_found"
        )


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has more loopback addresses")
async def test_streams_make_room_for_others_of_their_caller_and_of_whoever_has_fewer(tmp_path: Path) -> None:
    """A caller's first stream ends when it opens one too many; where all places are taken, the first of those with most."""
    most = MOST_IN_ALL // MOST_STREAMS
    async with started(tmp_path, *SERVE) as address, AsyncExitStack() as held:
        clients = [
            await held.enter_async_context(
                httpx2.AsyncClient(timeout=PATIENCE, transport=httpx2.AsyncHTTPTransport(
                    local_address=f"127.0.0.{number + 1}", limits=httpx2.Limits(max_connections=None)
                ))
            )
            for number in range(most + 2)
        ]  # fmt: skip

        async def open_some(http: httpx2.AsyncClient, count: int) -> list[AsyncIterator[str]]:
            return [await held.enter_async_context(listening(http, address)) for _ in range(count)]

        poor = await open_some(clients[0], 1)
        of_all = [await open_some(http, MOST_STREAMS) for http in clients[1 : most + 1]]
        assert await left_of(of_all[0][0]) == "ended"  # all places were taken when the last one came
        of_all[0] += await open_some(clients[1], 1)
        assert await left_of(of_all[1][0]) == "ended"
        of_all[2] += await open_some(clients[3], 1)
        assert await left_of(of_all[2][0]) == "ended"
        newcomer = await open_some(clients[most + 1], 1)
        assert await left_of(of_all[0][1]) == "ended"
        async with caller(address) as agent:
            await ask(agent, "create_issue", title="T", severity="low", category="Bug")
        for lines in (poor[0], newcomer[0], *of_all[0][2:], *of_all[1][1:], *of_all[2][1:], *of_all[3]):
            assert await left_of(lines) == "told"


async def left_of(lines: AsyncIterator[str]) -> str:
    """What becomes of a stream: it has ended on purpose, or it is told of a change."""
    return "ended" if "resultType" in await anext(lines) else "told"


@asynccontextmanager
async def listening(http: httpx2.AsyncClient, address: str) -> AsyncGenerator[AsyncIterator[str]]:
    """A stream of changes held open, which was acknowledged; the lines with data that follow."""
    about = {"protocolVersion": "2026-07-28", "clientInfo": {"name": "t", "version": "1"}, "clientCapabilities": {}}
    meta = {f"io.modelcontextprotocol/{name}": value for name, value in about.items()}
    notifications = {"resourceSubscriptions": ["triage://journal/recent"]}
    body = {"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen"}
    headers = {
        "accept": "application/json, text/event-stream",
        "content-type": "application/json",
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": "subscriptions/listen",
    }
    content = json.dumps({**body, "params": {"_meta": meta, "notifications": notifications}})
    async with http.stream("POST", address, content=content, headers=headers) as answer:
        lines = (line async for line in answer.aiter_lines() if line.startswith(("data:", "{")))
        assert "acknowledged" in await anext(lines)
        yield lines
