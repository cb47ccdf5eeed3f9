"""The documents' literal examples through the real server: what a tool gets and shows, and what is on the wire for it."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import httpx2
import pytest
from conftest import endpoints_to, no_sleep
from mcp.client import Client
from vendor_examples import CALL_ID as EXAMPLE_CALL
from vendor_examples import READING, Vendor

from calltriage.client.client import open_client
from calltriage.offering import ALL
from calltriage.operations.base import Api
from calltriage.server.app import build_server
from calltriage.server.toolsets import select

TRIAGE, FILES = "https://api.bland.test", "https://api.talkdesk.test"
ID = "9bbe5547-d5b1-4b83-9f80-87c4af7c6b34"
SESSION_ID = "0431f6ad-fdd3-4408-a6cc-909842d1db41"
RUN_ID = "56cae586-0670-4f1b-8113-96a2421d56d5"
CALL_ID = "3aefc79d-1870-4514-b32b-b9212ae32bc8"
FILE_ID = "54eaa506-8b68-4be7-8d14-1ff260899eee"
USER = "75c5c7da-a5d6-4e26-a51e-1ae8ef2bfa4a"

ISSUE: dict[str, Any] = {
    "id": ID, "triage_id": "T-1001", "org_id": "685b69b7-b903-4d98-9755-af3c957df9e3", "number": 1001,
    "title": "Agent skipped the verification step", "description": "", "status": "todo", "severity": "high",
    "source": "manual", "category": "Routing", "owner_id": None, "assignee_id": None, "author_id": USER,
    "external_link": None, "created_at": "2026-05-06T21:09:57.081Z", "updated_at": "2026-05-06T21:09:57.081Z",
    "last_activity_at": "2026-05-06T21:09:57.081Z", "resource_count": 1, "flag_count": 0, "relation_count": 0,
    "latest_agent_session": None, "is_processing": False, "has_unread_activity": False,
}  # fmt: skip
SESSION = {
    "id": SESSION_ID, "agent_profile_id": "66720f06-f492-4ce6-a2f2-cd84fd54613e", "agent_name": "Norm",
    "status": "active",
}  # fmt: skip
RESPONSE: dict[str, Any] = {
    "entry_kind": "agent", "id": "b1c7a2de-5b1f-4c59-8c0e-3f3f0c6a9d10", "issue_id": ID, "type": "response",
    "actor": {"kind": "agent", "id": None, "label": "Norm", "avatar_url": None},
    "detail": "The draft still skips verification on the second path.", "metadata": {"run_id": RUN_ID},
    "agent_session": SESSION, "artifact": None, "created_at": "2026-05-07T05:31:02.118Z",
}  # fmt: skip
COMMENT: dict[str, Any] = {
    "entry_kind": "issue", "id": "5a9d0fa9-27b7-414c-9e49-5fc32f240c01", "issue_id": ID, "type": "comment",
    "actor": {"kind": "user", "id": USER, "label": "John Bland", "avatar_url": None},
    "detail": "@norm please check the routing on the closing node, same bug as T-1029?", "from_status": None,
    "to_status": None, "metadata": None, "resources": [], "referenced_issues": [],
    "created_at": "2026-05-07T05:26:21.449Z",
}  # fmt: skip
LINK: dict[str, Any] = {
    "id": "0a9d6b23-3e0f-4f3b-9d5e-2bfa3ddbd86c", "issue_id": ID, "org_id": ISSUE["org_id"], "resource_type": "file",
    "resource_id": FILE_ID, "title": "recording.wav", "status": "available",
    "metadata": {"created_at": "2026-04-30T14:11:08.000Z"}, "attached_by_id": USER,
    "created_at": "2026-05-07T05:25:56.361Z",
}  # fmt: skip
FLAG: dict[str, Any] = {
    "id": "ad0931e4-b0e1-4bd6-a5b1-09e7c9123dba", "org_id": ISSUE["org_id"], "issue_id": ID, "call_id": CALL_ID,
    "type": "missed_handoff", "note": "Transferred without confirming the email.", "node_id": None, "node_name": None,
    "message_index": 12, "message_text": "OK, transferring you now.", "author_id": USER,
    "created_at": "2026-05-07T05:26:11.327Z",
}  # fmt: skip
CALL = {"call_id": CALL_ID, "transcripts": [{"id": 1, "user": "user", "text": "Hello?"}]}
FILE: dict[str, Any] = {
    "id": "123e4567e89b12d3a456426655440010", "name": "attachment1", "state": "published", "size": 5,
    "type": "text/plain", "metadata": {"flow_id": "ABCDEF0987654321", "size": 12},
    "provider": {"name": "s3", "data": {"bucket": "b", "secret_access_key": "SECRET-1"}},
    "_links": {
        "self": {"href": "https://xxxx.talkdesk.com/assets/1"},
        "download_link": {"href": "https://user:SECRET-2@xxxx.talkdesk.com/assets/1/download-link?sig=SECRET-3"},
        "curies": [{"name": "t", "href": "https://docs.example/{rel}", "templated": True}], "prev": None,
    },
}  # fmt: skip


class Vendors:
    """Both vendors; `sent` has what came, bodies as they were, and `data` what each route of the triage vendor answers."""

    def __init__(self, **data: Any) -> None:
        self.data, self.sent = data, list[tuple[str, str, Any]]()

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        body = json.loads(request.content) if request.headers.get("content-type") == "application/json" else None
        self.sent.append((request.method, str(request.url), body))
        kind = request.url.path.rpartition("/")[2]
        if request.url.path == "/oauth/token":
            return httpx2.Response(200, json={"access_token": "t", "token_type": "Bearer", "expires_in": 599})
        if kind == "upload-link":
            return httpx2.Response(200, json={"request_id": "5f0c", "url": f"{FILES}/bytes"})
        if kind == "bytes":
            return httpx2.Response(200)
        if "/attachments/" in request.url.path:
            page = {"total": 1, "page": 1, "per_page": 25, "_embedded": {"list": [FILE]}, "_links": {}}
            return httpx2.Response(200, json=page if kind == "2023-03" and request.method == "GET" else FILE)
        if "/calls/" in request.url.path:
            return httpx2.Response(200, json=CALL)
        status = {"POST flags": 201, "POST prompts": 202, "POST issues": 201}.get(f"{request.method} {kind}", 200)
        one = self.data.get(kind, [] if kind in {"activity", "flags", "resources", "relations", "issues"} else ISSUE)
        data = one if isinstance(one, dict) else {"items": one, "next_cursor": None}
        if request.method == "POST" and isinstance(one, list):
            data = one[0] if one else ISSUE
        return httpx2.Response(status, json={"data": data, "errors": None})

    def bodies(self, method: str, end: str) -> list[Any]:
        return [body for verb, url, body in self.sent if verb == method and url.endswith(end)]


@asynccontextmanager
async def agent_of(vendors: Vendors) -> AsyncGenerator[Client]:
    endpoints = endpoints_to(httpx2.MockTransport(vendors), TRIAGE)
    apart = endpoints_to(httpx2.MockTransport(vendors), FILES)[Api.ATTACHMENTS]
    both = {**endpoints, Api.ATTACHMENTS: replace(apart, base_url=FILES)}
    async with (
        open_client(both, deadline_s=5) as client,
        Client(build_server(client, version="0", tools=select([ALL]), sleep=no_sleep)) as agent,
    ):
        yield agent


async def called(agent: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await agent.call_tool(tool, arguments)
    body = result.structured_content or {}
    return body["error"] if result.is_error else body


@pytest.mark.parametrize("payload", [{"version_id": "v-7", "nodes": ["Closing"]}, "A snippet.", ["one", "two"], None])
async def test_an_artifact_of_the_feed_is_shown_by_each_tool_that_shows_the_feed(payload: Any) -> None:
    artifact = {
        "id": "a-1", "type": "pathway_version", "title": "Draft of Closing", "renderer": "diff", "status": "ready",
        "payload": payload, "external_urls": [{"label": "Open", "url": "https://app.bland.ai/draft/7"}],
    }  # fmt: skip
    vendors = Vendors(activity=[{**RESPONSE, "artifact": artifact}, COMMENT])
    async with agent_of(vendors) as agent:
        shown = [
            (await called(agent, "list_activity", issue_id=ID))["items"],
            (await called(agent, "get_evidence", issue_id=ID))["activity"]["items"],
            (await called(agent, "wait_for_norm", issue_id=ID, run_id=RUN_ID))["entries"]["items"],
        ]
    expected = {name: value for name, value in artifact.items() if value is not None}
    for entries in shown:
        assert entries[0]["artifact"] == expected
        assert entries[0]["agent_session"].items() <= SESSION.items()
        assert {"id", "agent_name", "status"} <= entries[0]["agent_session"].keys()


async def test_a_prompt_sends_the_documented_body_and_its_answer_is_what_came_after_it() -> None:
    accepted = {"session_id": SESSION_ID, "run_id": RUN_ID, "intent": "verify"}
    vendors = Vendors(activity=[COMMENT], prompts=accepted)
    async with agent_of(vendors) as agent:
        run = await called(
            agent, "prompt_norm", issue_id=ID, session_id=SESSION_ID, detail="/verify does the draft ask for the email?"
        )
        assert vendors.bodies("POST", "/prompts") == [{"detail": "verify does the draft ask for the email?"}]
        given = run["try_next"]["arguments"]
        assert given == {"issue_id": ID, "run_id": RUN_ID, "after": COMMENT["id"]}
        vendors.data["activity"] = [{**RESPONSE, "metadata": None}, COMMENT]
        body = await called(agent, "wait_for_norm", **given)
    assert (body["state"], body["complete"]) == ("answered", True)
    assert [one["detail"] for one in body["entries"]["items"]] == [RESPONSE["detail"]]


async def test_a_flag_beyond_a_partial_transcript_is_sent_word_for_word_and_marked() -> None:
    vendors = Vendors(flags=[FLAG])
    given = {
        "call_id": CALL_ID, "type": "Missed handoff", "note": "Transferred without confirming the email.",
        "message_index": 12, "message_text": "OK, transferring you now.",
    }  # fmt: skip
    async with agent_of(vendors) as agent:
        flag = await called(agent, "add_flag", issue_id=ID, **given)
    assert vendors.bodies("POST", "/flags") == [given]
    assert (flag["type"], flag["unverified"]) == ("missed_handoff", ["message_index", "message_text"])


async def test_labels_are_sent_as_they_are_and_filter_the_list() -> None:
    vendors, labels = Vendors(), {"flow_id": "ABCDEF0987654321", "size": 12}
    async with agent_of(vendors) as agent:
        made = await called(agent, "create_attachment", name="attachment1", text="hello", metadata=labels)
        [body] = [body for body in vendors.bodies("POST", "/attachments/2023-03") if "name" in body]
        assert made["outcome"] == "committed", made
        assert labels.items() <= body["metadata"].items()
        assert body.keys() == {"name", "request_id", "metadata"}
        for given in (labels, json.dumps(labels)):
            assert (await called(agent, "list_attachments", labels=given))["returned"] == 1
            asked = httpx2.URL(vendors.sent[-1][1])
            assert json.loads(asked.params["metadata"]) == labels
        assert (await called(agent, "list_attachments", labels={"flow_id": "other"}))["returned"] == 0
        too_long = await called(agent, "list_attachments", labels={"k": "v" * 127})
        assert (too_long["code"], too_long["field"]) == ("invalid_arguments", "labels")


async def test_an_attachment_shows_where_it_is_kept_and_its_links_without_secrets() -> None:
    async with agent_of(Vendors()) as agent:
        one = await called(agent, "get_attachment", attachment_id=FILE["id"])
        row = (await called(agent, "list_attachments"))["items"][0]
    assert one["provider"] == {"name": "s3", "data": {"bucket": "b"}}
    links = {"self": "https://xxxx.talkdesk.com/assets/1"}
    assert one["links"] == {**links, "download_link": "https://xxxx.talkdesk.com/assets/1/download-link"}
    assert "SECRET" not in json.dumps(one)
    assert not {"provider", "links"} & row.keys()


@pytest.mark.parametrize("given", [{"text": "x", "name": "n.txt"}, {"upload": "new", "name": "n.txt"}])
async def test_nothing_is_stored_where_a_file_of_one_vendor_cannot_be_evidence_of_the_other(
    given: dict[str, Any],
) -> None:
    vendors = Vendors()
    async with agent_of(vendors) as agent:
        error = await called(agent, "create_attachment", **given, attach_to="T-1001")
    assert (error["code"], error["field"], error["outcome"]) == ("ids_not_shared", "attach_to", "not_committed")
    assert "attach_to" not in error.get("try_next", {}).get("arguments", {})
    assert vendors.sent == []


async def test_a_file_link_of_the_triage_vendor_shows_what_it_says_and_why_there_are_no_bytes() -> None:
    vendors = Vendors(resources=[LINK])
    async with agent_of(vendors) as agent:
        bundle = await called(agent, "get_evidence", issue_id=ID)
    [file] = [one for one in bundle["resources"]["items"] if one["resource_type"] == "file"]
    assert (file["resource_id"], file["title"], file["metadata"]) == (FILE_ID, LINK["title"], LINK["metadata"])
    assert "no documented request" in file["no_bytes"]
    assert bundle["complete"] is True
    assert not any(url.startswith(FILES) for _, url, _ in vendors.sent), "its id means nothing there"


async def test_the_ids_of_an_agent_are_sent_only_when_given_and_shown_when_answered() -> None:
    ids = {"agent_id": "agent-1", "agent_version_id": "version-2"}
    vendors = Vendors(issues=[{**ISSUE, **ids}])
    new = {"title": "Agent skipped the verification step", "severity": "high", "category": "Routing"}
    async with agent_of(vendors) as agent:
        made = await called(agent, "create_issue", **new, **ids, on_duplicate="create")
        await called(agent, "create_issue", **new, on_duplicate="create")
        await called(agent, "list_issues", **ids)
        vendors.data[ID] = {**ISSUE, **ids}
        read = await called(agent, "get_issue", issue_id=ID)
    assert vendors.bodies("POST", "/issues") == [{**new, **ids}, new]
    assert vendors.sent[-2][1] == f"{TRIAGE}/v1/triage/issues?agent_id=agent-1&agent_version_id=version-2"
    assert made["id"] == ID
    assert ids.items() <= read.items()


@pytest.mark.parametrize("odd", [None, "", "yesterday", 17, {"at": 1}, ["2026"], "left out"])
async def test_a_guard_whose_instant_cannot_be_read_writes_nothing(odd: Any) -> None:
    issue = {name: value for name, value in ISSUE.items() if name != "updated_at"}
    vendors = Vendors()
    vendors.data[ID] = issue if odd == "left out" else {**issue, "updated_at": odd}
    async with agent_of(vendors) as agent:
        error = await called(
            agent, "update_issue", issue_id=ID, status="in_progress", expect_updated_at=ISSUE["updated_at"]
        )
    assert (error["code"], error["outcome"]) == ("cannot_compare", "not_committed")
    assert "try_next" not in error
    assert [method for method, _, _ in vendors.sent] == ["GET"]


def pairs(node: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Each value of an answer that is no object, under its name; numbers as text, which ids become."""
    if isinstance(node, dict):
        for key, member in cast("dict[str, Any]", node).items():
            yield from pairs(member, key)
    elif isinstance(node, list):
        for member in cast("list[Any]", node):
            yield from pairs(member, name)
    elif node is not None:
        yield name, node if isinstance(node, bool) else str(node)


@asynccontextmanager
async def agent_with_examples() -> AsyncGenerator[Client]:
    """An agent whose vendors answer each request with its documented example."""
    async with (
        open_client(endpoints_to(httpx2.MockTransport(Vendor())), deadline_s=5) as client,
        Client(build_server(client, version="0", tools=select([ALL]))) as agent,
    ):
        yield agent


BRIEF = {
    "issues": {"number", "source", "url", "id", "agent_profile_id", "agent_name", "is_processing", "status",
               "owner_id", "author_id", "has_unread_activity"},
    "affected": {"call_ids"},
    "call": {"id", "user", "text", "created_at"},
    "calls": {"total_count", "count", "shop", "pathway_version", "corrected_duration", "record"},
    "corrected": {"status"},
    "events": {"conversation_id"},
    "event stream": {"call_id"},
    "conversations": {"id", "sender", "status", "message", "from", "to", "created_at", "totalPages", "currentPage",
                      "pageSize", "totalItems"},
    "conversation": {"id", "message", "from", "to"},
    "members": {"org_id", "first_name", "last_name", "permissions"},
    "attachments": {"per_page", "page", "href", "name", "templated"},
    "attachment": {"href"},
}  # fmt: skip
"""Names that a tool leaves out of a row, says once for all rows, or shows in another form or by another tool."""


@pytest.mark.parametrize("name", READING)
async def test_every_field_of_a_documented_example_is_shown_under_its_own_name(name: str) -> None:
    example = READING[name]
    tool, arguments = ("get_call", {"call_id": EXAMPLE_CALL}) if name == "call" else example.tools[0]
    async with agent_with_examples() as agent:
        shown = set(pairs(await called(agent, tool, **arguments)))
    left_out = {"org_id"} | BRIEF.get(name, set())
    assert [pair for pair in pairs(example.body) if pair not in shown and pair[0] not in left_out] == []


async def test_an_sms_page_and_a_conversation_are_shown_as_their_example_says() -> None:
    async with agent_with_examples() as agent:
        [row] = (await called(agent, "list_sms_conversations"))["items"]
        one = (await called(agent, "get_sms_conversation", conversation_id="convo_1"))["conversation"]
    assert {"user_number": "+15550001111", "agent_number": "+15550002222", "last_message": "Hello", "is_active": True,
            "message_count": 1, "curr_pathway_version": "latest"}.items() <= row.items()  # fmt: skip
    [message] = one["messages"]
    assert {"message_index": 0, "id": "100002", "sender": "AGENT", "status": "delivered", "text": "Hello"}.items() <= (
        message.items()
    )
