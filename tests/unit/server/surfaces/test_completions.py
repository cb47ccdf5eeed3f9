"""Completions: what a person can mean by what they have typed."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import mcp_types
import pytest
from conftest import endpoints_to
from faults import Scripted, Step, answers, fails, hangs
from mcp.client import Client
from mcp.shared.exceptions import MCPError

from calltriage.client.client import Client as ApiClient
from calltriage.client.client import open_client
from calltriage.operations.categories import BUILT_IN
from calltriage.operations.issues import CreateIssue
from calltriage.server.app import build_server
from calltriage.server.surfaces import completions

Ref = mcp_types.PromptReference | mcp_types.ResourceTemplateReference


def prompt(name: str) -> Ref:
    return mcp_types.PromptReference(name=name)


def template(uri: str) -> Ref:
    return mcp_types.ResourceTemplateReference(uri=uri)


ISSUE = prompt("investigate_issue")
ISSUE_URI = template("triage://issues/{issue_id}/evidence")


@asynccontextmanager
async def over(step: Step) -> AsyncGenerator[Client]:
    """An agent whose vendor answers so."""
    endpoints = endpoints_to(Scripted(step))
    async with open_client(endpoints, deadline_s=5) as client, Client(build_server(client, version="0")) as agent:
        yield agent


async def completed(agent: Client, ref: Ref, name: str, value: str = "") -> mcp_types.CompleteResult:
    return await agent.complete(ref, {"name": name, "value": value})


async def values(agent: Client, ref: Ref, name: str, value: str = "") -> list[str]:
    return (await completed(agent, ref, name, value)).completion.values


async def filed(agent: Client, title: str, **more: str) -> dict[str, Any]:
    arguments = {"title": title, "severity": "low", "category": "Bug", "on_duplicate": "create", **more}
    made = (await agent.call_tool("create_issue", arguments)).structured_content
    assert made is not None
    return made


async def test_an_issue_is_found_by_ticket_prefix_and_by_words_of_its_title(agent: Client) -> None:
    await filed(agent, "Card not replaced")
    await filed(agent, "Caller sent in circles")
    assert await values(agent, ISSUE, "issue_id") == ["T-1002 Caller sent in circles", "T-1001 Card not replaced"]
    for typed in ("T-1001", "t-1001", "card", "CARD not"):
        assert await values(agent, ISSUE, "issue_id", typed) == ["T-1001 Card not replaced"], typed
    for typed in ("T", "t-", "T-10", "T-100"):
        assert len(await values(agent, ISSUE, "issue_id", typed)) == 2, typed
    assert await values(agent, ISSUE, "issue_id", "T-2") == []
    assert await values(agent, ISSUE_URI, "issue_id", "circles") == ["T-1002"]


async def test_what_a_completion_offers_is_what_the_prompt_and_the_resource_take(agent: Client) -> None:
    await filed(agent, "Card not replaced")
    chosen = (await values(agent, ISSUE, "issue_id", "card"))[0]
    assert (await agent.get_prompt("investigate_issue", {"issue_id": chosen})).messages
    ticket = (await values(agent, ISSUE_URI, "issue_id", "card"))[0]
    assert (await agent.read_resource(f"triage://issues/{ticket}/evidence")).contents


async def test_calls_flag_types_and_categories_are_found(agent: Client) -> None:
    issue = await filed(agent, "T", category="Billing")
    link = {"issue_id": issue["id"], "resource_type": "call", "resource_id": "call-card"}
    await agent.call_tool("attach_resource", link)
    await agent.call_tool("add_flag", {"issue_id": issue["id"], "call_id": "call-card", "type": "missed_handoff"})
    call = prompt("triage_call")
    assert sorted(await values(agent, call, "call_id")) == ["call-card", "call-hours"]
    assert await values(agent, call, "call_id", "call-h") == ["call-hours"]
    assert await values(agent, template("triage://calls/{call_id}/transcript"), "call_id", "call-c") == ["call-card"]
    assert await values(agent, ISSUE, "flag_type", "Missed hand") == ["missed_handoff"]
    assert await values(agent, ISSUE, "flag_type", "zz") == []
    assert set(await values(agent, call, "category")) == {*BUILT_IN, "Billing"}
    assert await values(agent, call, "category", "bill") == ["Billing"]


async def test_a_file_is_found_by_its_name_and_by_the_beginning_of_its_id(agent: Client) -> None:
    ref = template("triage://attachments/{attachment_id}")
    stored = [
        (await agent.call_tool("create_attachment", {"name": name, "text": "x"})).structured_content or {}
        for name in ("report.md", "log.txt")
    ]
    assert await values(agent, ref, "attachment_id", "REPORT") == [stored[0]["id"]]
    assert await values(agent, ref, "attachment_id", stored[1]["id"][:12]) == [stored[1]["id"]]
    assert len(await values(agent, ref, "attachment_id")) == 2


async def test_words_of_a_fixed_few_are_completed_from_the_declaration(agent: Client) -> None:
    report, duplicates = prompt("handoff_report"), prompt("find_duplicates")
    assert await values(agent, report, "resource_type") == ["call", "sms_conversation", "file"]
    assert await values(agent, report, "resource_type", "SMS") == ["sms_conversation"]
    assert await values(agent, duplicates, "relation_type") == ["related_to", "blocks", "duplicate_of"]


async def test_strangers_words_are_gated_and_marked(agent: Client) -> None:
    await filed(agent, "a\u202eb\u200b\n c", category="in\u200bvisible")
    result = await completed(agent, ISSUE, "issue_id")
    assert result.completion.values == ["T-1001 a\\u202eb\\u200b c"]
    assert (result.meta or {})["trust"] == "untrusted"
    assert "in\\u200bvisible" in await values(agent, prompt("triage_call"), "category", "in")


async def test_no_more_than_a_hundred_values_are_sent_and_the_rest_is_told_of(agent: Client, client: ApiClient) -> None:
    for number in range(101):
        await client.send(CreateIssue(title=f"same {number}", severity="low", category="Bug"))
    found = (await completed(agent, ISSUE, "issue_id", "same")).completion
    assert (len(found.values), found.has_more, found.total) == (100, True, None)
    few = (await completed(agent, ISSUE, "issue_id", "same 99")).completion
    assert (few.values, few.has_more, few.total) == (["T-1100 same 99"], False, 1)


@pytest.mark.parametrize(
    "step", [fails(httpx2.ConnectError), answers(500, b""), answers(429, b""), answers(200, b"<html>")]
)
async def test_a_vendor_that_cannot_answer_completes_nothing_and_is_no_error(step: Step) -> None:
    async with over(step) as agent:
        for ref, name in ((ISSUE, "issue_id"), (ISSUE, "flag_type"), (prompt("triage_call"), "call_id")):
            for typed in ("", "T-10", "card"):
                assert await values(agent, ref, name, typed) == []


async def test_a_vendor_that_does_not_answer_in_time_completes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completions, "SECONDS", 0.01)
    async with over(hangs) as agent:
        assert await values(agent, ISSUE, "issue_id", "card") == []


@pytest.mark.parametrize("typed", ["\x00", "\u202e", "a" * 5000, "T-" + "9" * 50, "../..", "%"])
async def test_whatever_is_typed_is_answered(agent: Client, typed: str) -> None:
    await filed(agent, "Card not replaced")
    for ref, name in ((ISSUE, "issue_id"), (ISSUE_URI, "issue_id"), (prompt("triage_call"), "category")):
        assert await values(agent, ref, name, typed) == []


@pytest.mark.parametrize(
    ("ref", "name"),
    [
        (prompt("nothing"), "issue_id"),
        (ISSUE, "nothing"),
        (template("triage://issues/{x}"), "x"),
        (template("triage://flag-types"), "x"),
        (ISSUE_URI, "call_id"),
    ],
)
async def test_an_unknown_prompt_template_or_argument_is_a_protocol_error(agent: Client, ref: Ref, name: str) -> None:
    with pytest.raises(MCPError) as caught:
        await completed(agent, ref, name)
    assert caught.value.code == mcp_types.INVALID_PARAMS
    assert "nothing" not in json.dumps(caught.value.error.model_dump())


@pytest.mark.parametrize("page", [{"items": [], "next_cursor": {"a": 1}}, {"items": [17], "next_cursor": None}])
async def test_a_part_of_a_list_that_cannot_be_read_may_have_other_values(page: dict[str, Any]) -> None:
    async with over(answers(200, {"data": page, "errors": None})) as agent:
        found = await completed(agent, ISSUE, "issue_id", "T-1")
    assert found.completion.has_more is True
