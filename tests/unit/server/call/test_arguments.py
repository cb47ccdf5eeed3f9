"""What an agent may pass: every argument checked before anything is sent, and no refused value shown again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from conftest import call_line, endpoints_to, load_lines
from evidence import add_evidence, valid_arguments
from mcp.client import Client
from tool_calls import UNKNOWN, call, filed, ok, refused, with_call
from vendors import agent_of
from virtual_time import VirtualLoop

from calltriage.client.client import Client as ApiClient
from calltriage.client.client import open_client
from calltriage.desk.app import Desk
from calltriage.offering import ALL
from calltriage.operations.base import Effect
from calltriage.operations.flags import ListFlags
from calltriage.server.app import build_server
from calltriage.server.toolsets import TOOLSETS, select

CANARY = "canary7f3a"
WITHOUT_WAITING = pytest.mark.parametrize("anyio_backend", [("asyncio", {"loop_factory": VirtualLoop})])
"""For tests that call the tools which poll."""


VALUES: list[Callable[[Any], Any]] = [
    lambda _: CANARY,
    lambda _: f"https://x.example/{CANARY}/T-9",
    lambda _: f"{CANARY}\x00",
    lambda _: f"../{CANARY}/../{CANARY}",
    lambda _: f"{CANARY} " * 20_000,
    lambda _: [CANARY],
    lambda _: [{CANARY: CANARY, "resource_type": CANARY, "resource_id": f"/{CANARY}"}],
    lambda _: {CANARY: {CANARY: CANARY}},
    lambda _: json.dumps([CANARY]),
    lambda value: f"{value}{CANARY}",
]


@pytest.mark.slow
@WITHOUT_WAITING
async def test_no_refused_value_comes_back_whatever_argument_holds_it(full_agent: Client, the_desk: Desk) -> None:
    agent = full_agent
    await add_evidence(the_desk)
    for tool, arguments in (await valid_arguments(agent)).items():
        for name in next(one for one in (await agent.list_tools()).tools if one.name == tool).input_schema[
            "properties"
        ]:
            for value in VALUES:
                given = {**arguments, name: value(arguments.get(name, ""))}
                result = await agent.call_tool(tool, given)
                error = (result.structured_content or {}).get("error", {})
                error.get("try_next", {}).pop("arguments", None)
                assert error.get("code") != "internal_error", (tool, name)
                if error.get("code") == "not_found":  # an id that has the form of one is named
                    error["message"] = error["message"].partition(" Given: ")[0]
                assert CANARY not in json.dumps(error), (tool, name)


async def test_an_unknown_argument_is_refused_by_every_tool_and_nothing_is_sent() -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        raise AssertionError("sent")

    async with agent_of(answer) as agent:
        for tool in (await agent.list_tools()).tools:
            error = await refused(agent, tool.name, **{f"{CANARY} {CANARY}": CANARY})
            assert error["code"] == "unknown_argument"
            assert error["allowed"] == list(tool.input_schema["properties"])
            assert CANARY not in json.dumps(error)
            for missing in tool.input_schema.get("required", [])[:1]:
                assert (await refused(agent, tool.name))["field"] == missing


@pytest.mark.parametrize(
    ("tool", "arguments", "field"),
    [
        ("get_transcript", {"call_id": "call-card", "around": True}, "around"),
        ("get_transcript", {"call_id": "call-card", "around": 1.5}, "around"),
        ("get_transcript", {"call_id": "call-card", "around": "two"}, "around"),
        ("get_transcript", {"call_id": "call-card", "around": 2**40}, "around"),
        ("get_transcript", {"call_id": "call-card", "max_tokens": 499}, "max_tokens"),
        ("get_transcript", {"call_id": "call-card", "query": "   "}, "query"),
        ("get_transcript", {"call_id": "call-card", "around": 1, "query": "card"}, "around"),
        ("list_issues", {"limit": True}, "limit"),
        ("list_issues", {"status": "[1"}, "status"),
        ("list_issues", {"status": "[" * 100_000}, "status"),
        ("list_issues", {"search": ["T"]}, "search"),
        ("create_issue", {"title": "T", "severity": "low", "category": "B", "resource_links": '{"a": 1}'}, "resource_links"),
        ("create_attachment", {"name": "a\nb", "text": "x"}, "name"),
        ("create_attachment", {"name": "n", "text": "x", "attach_to": "T-"}, "attach_to"),
    ],
)  # fmt: skip
async def test_a_value_of_the_wrong_kind_is_refused_with_its_field(
    agent: Client, tool: str, arguments: dict[str, Any], field: str
) -> None:
    error = await refused(agent, tool, **arguments)
    assert (error["code"], error["field"]) == ("invalid_arguments", field)


async def test_a_file_s_own_name_is_cleaned_and_refused_when_no_attachment_can_have_it(
    agent: Client, tmp_path: Path
) -> None:
    (tmp_path / "files" / "two\nlines.txt").write_text("x")
    assert (await ok(agent, "create_attachment", path="two\nlines.txt"))["name"] == "two_lines.txt"
    (tmp_path / "files" / f"{'x' * 70}.txt").write_text("x")
    error = await refused(agent, "create_attachment", path=f"{'x' * 70}.txt")
    assert (error["code"], error["outcome"], error["field"]) == ("invalid_arguments", "not_committed", "name")


async def test_a_file_with_the_harmless_name_of_a_link_is_not_a_crash(agent: Client, tmp_path: Path) -> None:
    (tmp_path / "files" / "two\nlines.txt").write_text("x")
    (tmp_path / "files" / "link.txt").symlink_to("two\nlines.txt")
    result = await call(agent, "create_attachment", path="link.txt")
    assert (result.structured_content or {}).get("error", {}).get("code") != "internal_error"


async def test_an_unknown_call_is_named_by_an_argument_that_the_tool_has(agent: Client) -> None:
    ticket = (await filed(agent))["triage_id"]
    flag = {"issue_id": ticket, "call_id": "absent", "type": "x", "attach_if_missing": True}
    error = await refused(agent, "add_flag", **flag)
    assert (error["code"], error["field"], error["outcome"]) == ("not_found", "call_id", "not_committed")


FOLDED = [
    ("first strasse abc", 0),
    ("FIRST STRASSE", 0),
    ("can’t hear\u200b you", 1),
    ("I can’t hear\\u200b you", 1),
    ("E\u0301 É DONE", 2),
]


@pytest.mark.parametrize(("quote", "index"), FOLDED)
async def test_a_quote_is_found_in_any_unicode_form_and_as_the_transcript_was_shown(
    agent: Client, the_desk: Desk, client: ApiClient, quote: str, index: int
) -> None:
    texts = ("ﬁrst Straße ＡＢＣ", "I can’t hear\u200b you", "é e\u0301 done", "agent")
    await load_lines(the_desk, call_line("folded", *texts))
    ticket = await with_call(agent, "folded")
    flag = await ok(agent, "add_flag", issue_id=ticket, call_id="folded", type="x", quote=quote)
    assert flag["message_index"] == index
    assert len((await client.send(ListFlags(issue_id=flag["issue_id"]))).items) == 1


async def test_a_quote_of_blanks_matches_nothing(agent: Client) -> None:
    ticket = await with_call(agent)
    flag = {"issue_id": ticket, "call_id": "call-card", "type": "x", "quote": " \u00a0\t "}
    assert (await refused(agent, "add_flag", **flag))["outcome"] == "not_committed"


async def test_what_a_search_left_out_is_fetched_without_turns_that_do_not_match(agent: Client, the_desk: Desk) -> None:
    texts = [f"{('card', 'other')[number % 2]} {number} " + "and so on and so forth " * 10 for number in range(200)]
    await load_lines(the_desk, call_line("searched", *texts))
    seen: list[int] = []
    arguments: dict[str, Any] = {"call_id": "searched", "query": "card"}
    for _ in range(50):
        window = await ok(agent, "get_transcript", **arguments)
        seen += [turn["message_index"] for turn in window["transcript"]["turns"]]
        if window["complete"]:
            break
        arguments = window["omitted"][0]["try_next"]["arguments"]
    assert seen == list(range(0, 200, 2))


class Recording(httpx2.AsyncBaseTransport):
    """Notes the method of each request but the token's."""

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        self._inner = inner
        self.sent: list[str] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.path != "/oauth/token":
            self.sent.append(request.method)
        return await self._inner.handle_async_request(request)


VERBS = {
    Effect.READ: {"GET"},
    Effect.ADD: {"GET", "POST", "PUT"},
    Effect.ENSURE: {"GET", "POST", "PUT"},
    Effect.CHANGE: {"GET", "PATCH"},
    Effect.REMOVE: {"GET", "DELETE"},
}
"""What a tool of an effect may send. The bytes of a file go by PUT."""
CORRECTS = "update_flag"
"""Adds, and removes after it only what it has put a corrected one in place of."""


@WITHOUT_WAITING
async def test_hints_hold_for_the_requests_that_are_really_sent(the_desk: Desk) -> None:
    wire = Recording(httpx2.ASGITransport(the_desk, raise_app_exceptions=False))
    tools = [tool for tool in select([ALL]) if tool not in (*TOOLSETS["batch"], *TOOLSETS["pipelines"])]
    effects = {tool.tool_name(): tool.effect for tool in tools}
    async with (
        open_client(endpoints_to(wire)) as client,
        Client(build_server(client, version="0", tools=tools, confirm="allow")) as agent,
    ):
        hints = {tool.name: tool.annotations for tool in (await agent.list_tools()).tools}
        await add_evidence(the_desk)
        calls = await valid_arguments(agent)
        assert set(calls) == set(hints)
        for tool, arguments in calls.items():
            wire.sent.clear()
            first = await ok(agent, tool, **arguments)
            hint = hints[tool]
            assert hint is not None
            sent = set(wire.sent)
            assert (tool == CORRECTS) is (sent == {"GET", "POST", "DELETE"}), (tool, sent)
            assert sent <= VERBS[effects[tool]] or tool == CORRECTS, (tool, sent)
            saves = tool in {"download_attachment", "get_call_recording"}  # read the API, and may make a local file
            # One reads the journal alone.
            assert (sent <= {"GET"} and not saves) is hint.read_only_hint, (tool, sent)
            assert (bool({"DELETE", "PATCH"} & sent) and tool != CORRECTS) is hint.destructive_hint, (tool, sent)
            if not hint.idempotent_hint or hint.read_only_hint:
                continue
            again = (await call(agent, tool, **arguments)).structured_content or {}
            if sent & {"DELETE"}:
                assert (again["error"]["code"], again["error"]["outcome"]) == ("not_found", "not_committed")
            elif "outcome" in first and first.get("id"):
                is_there = effects[tool] is Effect.ENSURE or tool == "link_issue"
                first.pop("issues", None)  # which are told of what was committed now
                assert again == first | ({"outcome": "replayed"} if is_there else {})


async def test_a_ticket_that_is_no_ticket_of_ours_leads_to_the_list(agent: Client) -> None:
    for ref in ("T-0", "T-999999999999", UNKNOWN):
        error = await refused(agent, "get_issue", issue_id=ref)
        assert (error["code"], error["try_next"]) == ("not_found", {"tool": "list_issues", "arguments": {}})
