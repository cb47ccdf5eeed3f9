"""What an agent hears when a vendor or the server itself misbehaves: a clear error, nothing of theirs, and life goes on."""

from __future__ import annotations

import json
import logging
from typing import Any

import anyio
import httpx2
import pytest
from conftest import DESK_URL, endpoints_to
from mcp.client import Client
from tokens import real_tokens
from vendors import CANARY, ENVELOPE, ISSUE, Answer, agent_of, breaks, says

from calltriage.client.client import open_client
from calltriage.offering import ALL
from calltriage.server.app import build_server
from calltriage.server.call import table as tools
from calltriage.server.call.hints import SETTLED_BY
from calltriage.server.toolsets import select

LINK = {**ISSUE, "resource_type": "call", "resource_id": "c"}


FAULTS: dict[str, tuple[Answer, str, bool]] = {
    "unreachable": (breaks(httpx2.ConnectError), "unreachable", True),
    "HTML instead of JSON": (says(200, b"<html>canary</html>"), "unreadable_answer", False),
    "HTML from a gateway": (says(502, b"<html>canary</html>"), "server_failure", True),
    "429 with Retry-After": (says(429, ENVELOPE, retry_after="3600"), "rate_limited", True),
    "429 without": (says(429, {"status": "error", "message": CANARY}), "rate_limited", True),
    "500 with JSON": (says(500, ENVELOPE), "server_failure", True),
    "cut short": (says(200, b'{"data": {"id": "canary'), "unreadable_answer", False),
    "nothing": (says(200, b""), "unreadable_answer", False),
    "a list": (says(200, [CANARY]), "unreadable_answer", False),
    "no identity": (says(200, {"data": {"title": CANARY}, "errors": None}), "unreadable_answer", False),
    "400": (says(400, ENVELOPE), "invalid_arguments", False),
    "401": (says(401, ENVELOPE), "unauthenticated", False),
    "403": (says(403, ENVELOPE), "forbidden", False),
    "404": (says(404, ENVELOPE), "not_found", False),
    "a redirect": (says(302, b"", location="https://attacker.example/canary"), "unreadable_answer", False),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_is_told_with_code_and_advice_and_nothing_of_the_vendors_words(name: str) -> None:
    answer, code, retryable = FAULTS[name]
    async with agent_of(answer) as agent:
        error: dict[str, Any] = {}
        for _ in range(2):  # the server lives on
            result = await agent.call_tool("get_issue", ISSUE)
            assert result.is_error
            error = (result.structured_content or {})["error"]
            assert (error["code"], error["retryable"]) == (code, retryable)
            assert len(error["message"]) > 20
            assert "canary" not in json.dumps(result.structured_content) + str(result.content)
        if name == "429 with Retry-After":
            assert error["retry_after_s"] == 3600


ROW = {"id": ISSUE["issue_id"], "triage_id": "T-1", "title": "canary", "status": "todo", "severity": "low",
       "category": "Bug", "created_at": "x", "updated_at": "x", "last_activity_at": "x"}  # fmt: skip
STRANGE = [
    {}, None, [], "canary", 5, *({"data": data} for data in (
        None, {}, [], "canary", [None], [ROW, {**ROW, "title": 3}], {"items": None}, {"id": {}}, {"transcripts": {}},
    )),
]  # fmt: skip


@pytest.mark.parametrize("body", STRANGE, ids=json.dumps)
async def test_every_core_read_tells_a_success_of_the_wrong_shape_as_an_error(body: Any) -> None:
    call = {"call_id": "c"}
    reads = {
        "list_issues": {},
        "get_issue": ISSUE,
        "get_evidence": ISSUE,
        "find_calls": {},
        "get_transcript": call,
        "list_flag_types": {},
    }
    assert reads.keys() == {tool.tool_name() for tool in select(read_only=True)}
    async with agent_of(says(200, body)) as agent:
        for tool, arguments in reads.items():
            result = await agent.call_tool(tool, arguments)
            assert result.is_error, tool
            error = (result.structured_content or {})["error"]
            assert (error["code"], error["retryable"], error["status"]) == ("unreadable_answer", False, 200)
            assert "canary" not in json.dumps(result.structured_content) + str(result.content)


@pytest.mark.parametrize(
    ("answer", "code", "outcome"),
    [
        (breaks(httpx2.ConnectError), "unreachable", "not_committed"),
        (breaks(httpx2.ReadError), "outcome_unknown", "unknown"),
        (says(500, ENVELOPE), "server_failure", "unknown"),
        (says(429, ENVELOPE), "rate_limited", "not_committed"),
        (says(409, ENVELOPE), "conflict", "not_committed"),
    ],
)
async def test_a_write_that_failed_says_what_became_of_it(answer: Answer, code: str, outcome: str) -> None:
    async with agent_of(answer) as agent:
        result = await agent.call_tool("add_flag", {**ISSUE, "call_id": "c", "type": "x"})
        error = (result.structured_content or {})["error"]
        assert (error["code"], error["outcome"]) == (code, outcome)
        if outcome == "unknown":
            assert error["try_next"] == {"tool": "get_evidence", "arguments": ISSUE}


@pytest.mark.parametrize("body", [b"<html>canary</html>", b'{"data": {"id": "x"}, "errors": null}', b'{"data": nu'])
async def test_a_write_that_was_done_is_not_an_error_because_its_answer_is_strange(body: bytes) -> None:
    async with agent_of(says(201, body)) as agent:
        result = await agent.call_tool("attach_resource", LINK)
        assert not result.is_error
        assert (result.structured_content or {})["outcome"] == "committed"
        assert "canary" not in str(result.content)


@pytest.mark.parametrize("body", [b"", b"null", b'{"data": null, "errors": null}', b'{"data": null, "errors": [{}]}'])
async def test_a_success_that_says_nothing_or_a_failure_is_not_a_write_that_was_done(body: bytes) -> None:
    async with agent_of(says(200, body)) as agent:
        error = ((await agent.call_tool("attach_resource", LINK)).structured_content or {})["error"]
        assert (error["code"], error["outcome"]) == ("unreadable_answer", "unknown")
        assert "try_next" in error


async def test_a_success_with_errors_null_is_a_success() -> None:
    flag_types = {"data": {"items": [], "next_cursor": None}, "errors": None, "more": 1}
    async with agent_of(says(200, flag_types)) as agent:
        result = await agent.call_tool("list_flag_types", {})
        found = result.structured_content or {}
        assert (found["items"], found["returned"], found["complete"]) == ([], 0, True)


async def test_a_crash_inside_is_told_with_an_id_and_logged_and_the_next_call_is_answered(
    agent: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def crash(*_: object) -> None:
        raise ZeroDivisionError("canary in a crash")

    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        patch.setattr(tools, "perform", crash)
        result = await agent.call_tool("list_issues", {})
    error = (result.structured_content or {})["error"]
    assert error["code"] == "internal_error"
    assert error["request_id"] in error["message"]
    assert error["request_id"] in caplog.text
    assert "ZeroDivisionError" in caplog.text
    assert "canary" not in str(result)
    assert not (await agent.call_tool("list_issues", {})).is_error


async def test_no_request_goes_anywhere_but_to_the_configured_address(agent: Client) -> None:
    asked: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(f"{request.url.scheme}://{request.url.host}")
        return httpx2.Response(404, json=ENVELOPE)

    async with agent_of(answer) as other:
        for tool in (await other.list_tools()).tools:
            texts = dict.fromkeys(tool.input_schema["properties"], "https://attacker.example/T-1")
            await other.call_tool(tool.name, {name: texts[name] for name in tool.input_schema.get("required", [])})
    assert set(asked) <= {DESK_URL}


TOKEN = {"access_token": "t", "token_type": "Bearer", "expires_in": 599, "scope": ""}
RESERVED = {"request_id": "r", "url": f"{DESK_URL}/blobs/x"}
UPLOAD = {"name": "a.txt", "text": "x"}


def routes(**answers: Answer) -> Answer:
    """A vendor by the last part of the path; what is not named is not there."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        known: dict[str, Answer] = {"token": says(200, TOKEN), **answers}
        part = request.url.path.rpartition("/")[2].replace("-", "_")
        return known.get(part, says(404, ENVELOPE))(request)

    return answer


@pytest.mark.parametrize(
    "vendor",
    [
        routes(upload_link=says(200, b"<html>")),
        routes(upload_link=says(500, b"")),
        routes(upload_link=says(200, RESERVED), x=says(500, b"")),
    ],
)
async def test_a_step_before_the_write_never_stands_for_the_write(vendor: Answer) -> None:
    async with agent_of(vendor) as agent:
        result = await agent.call_tool("create_attachment", UPLOAD)
        assert result.is_error
        assert (result.structured_content or {})["error"]["outcome"] == "not_committed"


async def test_a_flag_is_not_said_to_be_set_because_its_call_was_attached() -> None:
    vendor = routes(
        flags=says(409, {"errors": [{"error": "call_not_attached", "message": ""}]}), resources=says(201, b"<")
    )
    async with agent_of(vendor) as agent:
        flag = {**ISSUE, "call_id": "c", "type": "x", "attach_if_missing": True}
        result = await agent.call_tool("add_flag", flag)
        assert (result.structured_content or {})["error"]["outcome"] == "not_committed"


async def test_a_file_stored_under_an_unreadable_id_is_committed_and_its_evidence_is_not() -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        issue = {"id": ISSUE["issue_id"], "triage_id": "T-1", "title": "t", "status": "todo", "severity": "low"}
        issue |= {"category": "c", "created_at": "", "updated_at": "", "last_activity_at": ""}
        named = {ISSUE["issue_id"].replace("-", "_"): says(200, {"data": issue}), "2023_03": says(200, b"<html>")}
        return routes(upload_link=says(200, RESERVED), x=says(200, b""), **named)(request)

    async with agent_of(answer) as agent:
        named = ISSUE["issue_id"]
        result = await agent.call_tool("create_attachment", {**UPLOAD, "attach_to": named})
        body = result.structured_content or {}
        assert (body.get("outcome"), body.get("evidence")) == ("committed", {"outcome": "not_committed"}), body


@pytest.mark.parametrize("answer", [breaks(httpx2.ReadError), says(500, ENVELOPE)])
async def test_what_may_have_happened_is_never_called_retryable(answer: Answer) -> None:
    down = False

    def post_fails(request: httpx2.Request) -> httpx2.Response:
        nonlocal down
        down = down or request.method == "POST"  # from then on it cannot be looked for either
        none = says(200, {"data": {"items": [], "next_cursor": None}, "errors": None})
        return (answer if down else none)(request)

    new = {"title": "T", "severity": "low", "category": "B"}
    async with agent_of(post_fails) as agent:
        error = ((await agent.call_tool("create_issue", new)).structured_content or {})["error"]
        assert (error["outcome"], error["retryable"]) == ("unknown", False)
        assert "call again only if it is not there" in error["message"]


async def test_a_write_whose_result_is_too_long_to_show_is_committed_all_the_same() -> None:
    link = {"id": "l", "issue_id": "i", "resource_type": "call", "resource_id": "c", "created_at": ""}
    many = {f"key {number}": "a short label " * 8 for number in range(800)}
    async with agent_of(says(201, {"data": link | {"metadata": many}})) as agent:
        result = await agent.call_tool("attach_resource", LINK)
        assert not result.is_error
        assert (result.structured_content or {})["outcome"] == "committed"
        assert (result.structured_content or {})["id"] == "l"


async def test_a_crash_in_a_write_says_that_its_outcome_is_not_known(
    agent: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crash(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(tools, "perform", crash)
        error = ((await agent.call_tool("attach_resource", LINK)).structured_content or {})["error"]
    assert (error["code"], error["outcome"], error["retryable"]) == ("internal_error", "unknown", False)


async def test_evidence_survives_sources_that_cannot_be_read_and_ids_that_are_not_sent() -> None:
    base = {"created_at": "", "updated_at": "", "last_activity_at": ""}
    issue = base | {
        "id": ISSUE["issue_id"],
        "triage_id": "T-1",
        "title": "t",
        "status": "todo",
        "severity": "low",
        "category": "c",
    }
    flag = {"id": "f", "issue_id": "i", "call_id": "a=b", "type": "x", "message_index": 0, "created_at": ""}
    link = {"id": "l", "issue_id": "i", "resource_type": "file", "resource_id": "secret", "created_at": ""}

    def page(*items: dict[str, Any]) -> Answer:
        return says(200, {"data": {"items": items, "next_cursor": None}})

    vendor = routes(
        **{ISSUE["issue_id"].replace("-", "_"): says(200, {"data": issue})},
        flags=page(flag), resources=page(link), relations=page(), activity=page(), secret=says(403, ENVELOPE),
    )  # fmt: skip
    async with agent_of(vendor) as agent:
        bundle = (await agent.call_tool("get_evidence", ISSUE)).structured_content or {}
        assert [one["id"] for one in bundle["flags"]["items"]] == ["f"], bundle
        assert bundle["omitted"] == [{"section": "sources", "left_out": 2, "codes": ["forbidden", "not_found"]}]
        assert bundle["complete"] is False


async def test_an_error_is_no_longer_than_a_result_may_be() -> None:
    """What a stale update shows of the issue is as long as its description."""
    issue = {
        "id": ISSUE["issue_id"], "triage_id": "T-1001", "title": "T", "status": "todo", "severity": "low",
        "category": "Bug", "created_at": "", "updated_at": "2026-05-06T21:09:57.087Z", "last_activity_at": "",
    }  # fmt: skip
    for more in ({"description": "and so on " * 100_000}, {"external_link": {f"key {n}": "x" for n in range(20_000)}}):
        async with agent_of(says(200, {"data": issue | more, "errors": None})) as agent:
            stale = {"severity": "high", "expect_updated_at": "2020-01-01T00:00:00Z"}
            result = await agent.call_tool("update_issue", {**ISSUE, **stale})
        assert result.is_error
        body = result.structured_content or {}
        assert body["error"]["code"] == "issue_changed"
        assert real_tokens(json.dumps(body, ensure_ascii=False, separators=(",", ":"))) <= 6_000


async def test_a_vendor_that_ignores_a_limit_is_not_asked_for_ever() -> None:
    entry = {"issue_id": ISSUE["issue_id"], "type": "comment", "detail": "word " * 2000, "created_at": ""}
    items = [{"id": str(number), **entry} for number in range(12)]
    asked = 0

    def answer(request: httpx2.Request) -> httpx2.Response:
        nonlocal asked
        asked += 1
        return says(200, {"data": {"items": items, "next_cursor": None}, "errors": None})(request)

    endpoints = endpoints_to(httpx2.MockTransport(answer))
    async with (
        open_client(endpoints) as client,
        Client(build_server(client, version="0", tools=select([ALL]))) as agent,
    ):
        with anyio.fail_after(60):
            result = await agent.call_tool("list_activity", ISSUE)
    body = result.structured_content or {}
    assert asked == 2
    assert body["items"]
    assert body["omitted"], "what does not fit is told"
    assert real_tokens(json.dumps(body, ensure_ascii=False, separators=(",", ":"))) <= 6_000


SETTLES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("create_category", {"name": "Billing"}, {"tool": "list_categories", "arguments": {}}),
    ("create_category", {"name": "Billing\u202e"}, {"tool": "list_categories", "arguments": {}}),
    ("create_agent_session", ISSUE, {"tool": "get_issue", "arguments": ISSUE}),
    ("update_issue", {**ISSUE, "severity": "low"}, {"tool": "get_issue", "arguments": ISSUE}),
    ("add_comment", {**ISSUE, "detail": "x"}, {"tool": "get_evidence", "arguments": ISSUE}),
    ("attach_resource", LINK, {"tool": "get_evidence", "arguments": ISSUE}),
]


@pytest.mark.parametrize(("tool", "arguments", "read"), SETTLES)
async def test_a_write_whose_end_is_unknown_names_the_read_that_shows_it(
    tool: str, arguments: dict[str, Any], read: dict[str, Any]
) -> None:
    endpoints = endpoints_to(httpx2.MockTransport(says(500, ENVELOPE)))
    async with (
        open_client(endpoints, deadline_s=5) as client,
        Client(build_server(client, version="0", tools=select([ALL]))) as agent,
    ):
        result = await agent.call_tool(tool, arguments)
    error = (result.structured_content or {})["error"]
    assert (error["outcome"], error["try_next"]) == ("unknown", read)


def test_every_read_that_settles_a_write_is_a_tool_or_a_name_kept_for_one() -> None:
    named = {tool.tool_name() for tool in select([ALL])} | {"list_attachments", "get_attachment", "delete_attachment"}
    assert {reading for reading, *_ in SETTLED_BY.values()} | set(SETTLED_BY) <= named
