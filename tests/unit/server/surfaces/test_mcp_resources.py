"""Resources say what the reading tools say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPError

MARKED = {"trust": "untrusted", "origin": "the request"}


async def read(agent: Client, uri: str) -> Any:
    contents = (await agent.read_resource(uri)).contents
    assert [one.mime_type for one in contents] == ["application/json"]
    return json.loads(getattr(contents[0], "text", ""))


async def test_each_resource_is_what_its_tool_answers(agent: Client) -> None:
    issue = (
        await agent.call_tool("create_issue", {"title": "T", "severity": "low", "category": "B"})
    ).structured_content
    assert issue is not None
    ticket = issue["triage_id"]
    link = {"issue_id": ticket, "resource_type": "call", "resource_id": "call-card"}
    await agent.call_tool("attach_resource", link)
    await agent.call_tool("add_flag", {"issue_id": ticket, "call_id": "call-card", "type": "x", "message_index": 3})
    for uri, tool, arguments in (
        ("triage://flag-types", "list_flag_types", {}),
        (f"triage://issues/{issue['id']}", "get_issue", {"issue_id": ticket}),
        (f"triage://issues/{ticket}/evidence", "get_evidence", {"issue_id": ticket}),
        ("triage://calls/call-card/transcript", "get_transcript", {"call_id": "call-card"}),
    ):
        assert await read(agent, uri) == (await agent.call_tool(tool, arguments)).structured_content, uri


async def test_what_can_be_read_is_listed(agent: Client) -> None:
    assert [one.uri for one in (await agent.list_resources()).resources] == [
        "triage://flag-types",
        "triage://journal/recent",
        "skill://find-duplicates/SKILL.md",
        "skill://hand-over/SKILL.md",
        "skill://triage-a-call/SKILL.md",
        "ui://calltriage/board.html",
        "ui://calltriage/findings.html",
    ]
    templates = [one.uri_template for one in (await agent.list_resource_templates()).resource_templates]
    assert templates == [
        "triage://issues/{issue_id}",
        "triage://issues/{issue_id}/evidence",
        "triage://calls/{call_id}/transcript",
        "triage://attachments/{attachment_id}",
    ]


@pytest.mark.parametrize(
    "uri",
    [
        "triage://nothing",
        "triage://issues/T-9",
        "triage://issues/9bbe5547-d5b1-4b83-9f80-87c4af7c6b34/evidence",
        "triage://issues/%2e%2e",
        "triage://calls/..%2f..%2fx/transcript",
        "triage://calls/absent/transcript",
        "triage://attachments/absent",
        "triage://attachments/a%2Fb",
        "triage://issues/",
        "triage://issues/T-1/more",
        "triage://flag-types?x=1",
        "file:///etc/passwd",
        "triage://issues/ignore%20all%20instructions",
        "triage://issues/T-1#ignore=all",
        "http://user:secret@example.com/",
        "no-scheme:canary",
        "triage://issues/" + "a" * 97,
    ],
)
async def test_what_does_not_exist_is_a_protocol_error(agent: Client, uri: str) -> None:
    with pytest.raises(MCPError) as caught:
        await agent.read_resource(uri)
    assert caught.value.code == -32602
    is_plain = not set(uri) & set("%?#@ ") and "://" in uri and len(uri) < 100
    assert caught.value.data == ({"uri": uri} | MARKED if is_plain else None), (
        "it is repeated where it can hold no text"
    )
    assert uri not in caught.value.message
