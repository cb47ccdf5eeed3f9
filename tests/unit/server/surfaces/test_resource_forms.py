"""Resources in the forms that hosts ask for them, and over vendors that send strange text or ask to wait."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPError
from tool_calls import filed, ok, with_call
from vendors import CANARY, ENVELOPE, ISSUE, agent_of, breaks, says


async def text_of(agent: Client, uri: str) -> str:
    contents = (await agent.read_resource(uri)).contents
    assert [(one.uri, one.mime_type) for one in contents] == [(uri, "application/json")]
    return getattr(contents[0], "text", "")


@pytest.mark.parametrize(
    "form", ["{id}", "{triage_id}", "t-{number}", "https%3A%2F%2Fx.example%2Ftriage%2F{triage_id}"]
)
@pytest.mark.parametrize(("part", "tool"), [("", "get_issue"), ("/evidence", "get_evidence")])
async def test_an_issue_s_resources_are_read_by_each_form_of_its_name(
    agent: Client, form: str, part: str, tool: str
) -> None:
    issue = await filed(agent)
    number = issue["triage_id"].removeprefix("T-")
    read = await text_of(agent, f"triage://issues/{form.format(**issue, number=number)}{part}")
    assert json.loads(read) == await ok(agent, tool, issue_id=issue["id"])


async def test_an_attachment_s_resource_is_the_tool_s_answer(full_agent: Client) -> None:
    made = await ok(full_agent, "create_attachment", name="a\u202e ü.txt", text="x")
    read = json.loads(await text_of(full_agent, f"triage://attachments/{made['id']}"))
    assert read == await ok(full_agent, "get_attachment", attachment_id=made["id"])
    assert (read["id"], read["size"], read["trust"]) == (made["id"], 1, "untrusted")


async def test_the_catalogue_of_flag_types_is_the_tool_s_answer_however_long(agent: Client) -> None:
    ticket = await with_call(agent)
    for number in range(60):
        await ok(agent, "add_flag", issue_id=ticket, call_id="call-card", type=f"type {number}")
    assert json.loads(await text_of(agent, "triage://flag-types")) == await ok(agent, "list_flag_types")


async def test_half_a_surrogate_pair_in_a_transcript_stops_neither_tool_nor_resource() -> None:
    call = b'{"call_id": "c", "transcripts": [{"user": "\\ud83d", "text": "a\\ud800b\\u0000\\u202e"}]}'
    async with agent_of(says(200, call)) as agent:
        read = json.loads(await text_of(agent, "triage://calls/c/transcript"))
        assert read == await ok(agent, "get_transcript", call_id="c")
    assert read["transcript"]["trust"] == "untrusted"
    assert read["transcript"]["turns"] == [{"message_index": 0, "user": "\\ud83d", "text": "a\\ud800b\\u0000\\u202e"}]
    assert read["escaped_characters"] == 2


@pytest.mark.parametrize(
    "uri",
    [
        "triage://issues/", "triage://issues/T-1/evidence/more", "triage://calls//transcript", "triage://flag-types/x",
        "triage://issues/T-1%00", "triage://issues/T-abc", "triage://issues/T-", "triage://issues/T-1?x=1",
        "triage://attachments/x", "https://x.example/", "x",
    ],
)  # fmt: skip
async def test_other_uris_are_protocol_errors_and_the_next_is_read(agent: Client, uri: str) -> None:
    with pytest.raises(MCPError) as caught:
        await agent.read_resource(uri)
    assert caught.value.code == -32602
    assert json.loads(await text_of(agent, "triage://flag-types"))["complete"] is True


@pytest.mark.parametrize("ticket", ["T-1_001", "T-%201001", "T-+1001", "T-١٠٠١"])
async def test_a_ticket_in_a_uri_is_read_as_strictly_as_in_an_argument(agent: Client, ticket: str) -> None:
    assert (await filed(agent))["triage_id"] == "T-1001"
    with pytest.raises(MCPError):
        await agent.read_resource(f"triage://issues/{ticket}")


@pytest.mark.parametrize(
    "answer", [breaks(httpx2.ConnectError), says(500, ENVELOPE), says(200, b"<html>canary</html>")]
)
async def test_a_fault_behind_a_resource_is_a_protocol_error_without_the_vendor_s_words(answer: Any) -> None:
    async with agent_of(answer) as agent:
        for uri in ("triage://flag-types", f"triage://issues/{ISSUE['issue_id']}/evidence"):
            with pytest.raises(MCPError) as caught:
                await agent.read_resource(uri)
            assert caught.value.code == -32603
            assert CANARY[:6] not in f"{caught.value} {caught.value.data}"


@pytest.mark.parametrize(
    ("headers", "seconds", "tries"),
    [
        ({"retry_after": "2"}, 2, 3),
        ({"retry_after": "3600"}, 3600, 1),
        ({"retry_after": CANARY[:6]}, None, 3),
        ({"retry_after": "-1"}, None, 3),
        ({}, None, 3),
    ],
)
async def test_a_429_says_how_long_to_wait_and_is_asked_again_only_where_that_ends_in_time(
    headers: dict[str, str], seconds: int | None, tries: int
) -> None:
    asked: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.method)
        return says(429, ENVELOPE, **headers)(request)

    async with agent_of(answer) as agent:
        result = await agent.call_tool("get_issue", ISSUE)
    error = (result.structured_content or {})["error"]
    assert (error["code"], error["retryable"], error.get("retry_after_s")) == ("rate_limited", True, seconds)
    assert len(asked) == tries
    assert "wait" in error["message"]
