"""The client's end of the wire: vendors' literal JSON served raw to it, and what it sent compared word for word."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast
from urllib.parse import parse_qs

import anyio
import anyio.lowlevel
import httpx2
import pytest
from conftest import KEY, endpoints_to
from pydantic import BaseModel, SecretStr, ValidationError

from calltriage.client.client import Client, open_client
from calltriage.client.credentials import ApiKey, ClientCredentials
from calltriage.client.http import Http
from calltriage.client.public_addresses import Guarded
from calltriage.client.signed_links import Links
from calltriage.errors import (
    CallError,
    Conflict,
    Forbidden,
    NotFound,
    RateLimited,
    Rejected,
    ServerFailure,
    Unauthenticated,
    Unreachable,
    UnreadableAnswer,
)
from calltriage.operations import SCOPES
from calltriage.operations.activity import ListActivity
from calltriage.operations.attachments import (
    CreateAttachment,
    DeleteAttachment,
    GetAttachment,
    GetAttachmentDownloadLink,
    ListAttachments,
    ListFollowingAttachments,
    RequestUploadLink,
)
from calltriage.operations.base import Api, Operation
from calltriage.operations.calls import GetCall
from calltriage.operations.flags import AddFlag, ListFlags, ListFlagTypes
from calltriage.operations.issues import CreateIssue, GetIssue, ListIssues, ResourceRef
from calltriage.operations.relations import LinkIssue, ListRelations
from calltriage.operations.resource_links import AttachResource, ListResources

VENDOR = "https://api.vendor.test"
BUCKET = "https://bucket.s3.us-east-1.amazonaws.com"
TOKEN = "header.payload.signature"
ID = "9bbe5547-d5b1-4b83-9f80-87c4af7c6b34"
OTHER_ID = "849ee9ce-be6b-4f9c-8e55-2736aeeb579f"
ORG = "f5b40b9e-bc05-4b8a-9af1-d8f6a8a3a201"
USER = "75c5c7da-a5d6-4e26-a51e-1ae8ef2bfa4a"
CALL_ID = "3aefc79d-1870-4514-b32b-b9212ae32bc8"
FILE_ID = "123e4567e89b12d3a456426655440010"

ISSUE = {
    "id": "68007859-4325-4ea2-bbd6-e7c8be3a233a", "triage_id": "T-1001", "org_id": ORG, "number": 1001,
    "title": "Agent skipped the verification step", "description": "It went to closing at once.", "status": "todo",
    "severity": "high", "source": "manual", "category": "Routing", "owner_id": None, "assignee_id": USER,
    "author_id": USER, "external_link": None, "created_at": "2026-05-06T21:09:57.081Z",
    "updated_at": "2026-05-06T21:09:57.081Z", "last_activity_at": "2026-05-06T21:09:57.081Z", "resource_count": 1,
    "flag_count": 0, "relation_count": 0, "latest_agent_session": None, "is_processing": False,
    "has_unread_activity": False, "agent_id": "a-1", "dispatch_name": None, "linked_alert_count": 0,
}  # fmt: skip
LINK = {
    "id": "1d8cec02-6b7c-43f9-9f1f-86d4f31b6d8a", "issue_id": ID, "org_id": ORG, "resource_type": "call",
    "resource_id": CALL_ID, "title": "Caller asked for billing after account verification failed.",
    "status": "available", "metadata": {"created_at": "2026-04-30T14:11:08.000Z"}, "attached_by_id": USER,
    "created_at": "2026-05-07T05:25:56.361Z",
}  # fmt: skip
FLAG = {
    "id": "ad0931e4-b0e1-4bd6-a5b1-09e7c9123dba", "org_id": ORG, "issue_id": ID, "call_id": CALL_ID,
    "type": "missed_handoff", "note": "Transferred without confirming the email.", "node_id": None, "node_name": None,
    "message_index": 12, "message_text": "OK, transferring you now.", "author_id": USER,
    "created_at": "2026-05-07T05:26:11.327Z",
}  # fmt: skip
FLAG_TYPES = [
    {"type": "missed_handoff", "description": "Transferred without confirming.", "usage_count": 4,
     "last_used_at": "2026-05-07T05:26:11.327Z"},
    {"type": "wrong_pathway_node", "description": "", "usage_count": 2, "last_used_at": None},
]  # fmt: skip
RELATION = {
    "id": "172c839b-130d-4712-a09c-b767a78542ea", "org_id": ORG, "issue_id": ID, "related_issue_id": OTHER_ID,
    "related_triage_id": "T-1004", "related_title": "Caller transferred to wrong queue",
    "relation_type": "duplicate_of", "created_by_id": USER, "created_at": "2026-05-07T05:28:29.358Z",
    "direction": "outgoing",
}  # fmt: skip
ENTRIES = [
    {"entry_kind": "agent", "id": "b1c7a2de-5b1f-4c59-8c0e-3f3f0c6a9d10", "issue_id": ID, "type": "response",
     "actor": {"kind": "agent", "id": None, "label": "Norm", "avatar_url": None}, "detail": "The draft still skips it.",
     "metadata": {"run_id": "56cae586-0670-4f1b-8113-96a2421d56d5"}, "artifact": None,
     "agent_session": {"id": "0431f6ad-fdd3-4408-a6cc-909842d1db41", "agent_name": "Norm", "status": "active"},
     "created_at": "2026-05-07T05:31:02.118Z"},
    {"entry_kind": "issue", "id": "f8c3d1c3-6c9e-4ebf-bf0a-2a8b5b2e3d31", "issue_id": ID, "type": "alert_transition",
     "actor": {"kind": "system", "id": None, "label": None, "avatar_url": None}, "detail": "An alert fired.",
     "from_status": None, "to_status": None, "metadata": None, "resources": [LINK], "referenced_issues": [],
     "created_at": "2026-05-07T05:26:11.327Z"},
]  # fmt: skip
CALL = {
    "call_id": "12345678-1234-1234-1234-123456789012", "call_length": 0.75, "to": "+12223334444", "completed": True,
    "created_at": "2024-04-27T23:51:18.025251+00:00", "queue_status": "completed", "status": "completed",
    "summary": "Customer booked three rooms for the next day.", "corrected_duration": "45", "pathway_logs": None,
    "transcripts": [
        {"id": 7395694, "created_at": "2024-04-27T23:51:28.568385+00:00", "text": "Hello?", "user": "user"},
        {"id": 7395698, "created_at": "2024-04-27T23:51:30.689815+00:00", "text": "Hi there!", "user": "assistant"},
    ],
}  # fmt: skip
UPLOAD = {
    "request_id": "1323567e89b12d3a343434545",
    "url": "https://bucket.s3.us-east-1.amazonaws.com/9821123e?X-Amz-Expires=900&X-Amz-SignedHeaders=host",
}
FILE = {
    "id": FILE_ID, "name": "call-4711-evidence.wav", "state": "draft", "size": 1143840, "type": "audio/wav",
    "metadata": {"flow_id": "ABCDEF0987654321", "size": 12}, "provider": {"name": "s3", "data": {}},
    "_links": {"self": {"href": "https://xxxx.talkdesk.com/assets/1"}},
}  # fmt: skip


def page(*items: Any, after: str | None = None) -> dict[str, Any]:
    return {"items": list(items), "next_cursor": after}


TRIAGE_CALLS: list[tuple[Operation[Any], str, str, Any, int, Any]] = [
    (
        CreateIssue(
            title="Agent skipped the verification step",
            severity="high",
            category="Routing",
            resource_links=[ResourceRef(resource_type="call", resource_id=CALL_ID)],
        ),
        "POST",
        "/v1/triage/issues",
        {
            "title": "Agent skipped the verification step",
            "severity": "high",
            "category": "Routing",
            "resource_links": [{"resource_type": "call", "resource_id": CALL_ID}],
        },
        201,
        ISSUE,
    ),
    (
        ListIssues(search="T-1042", status=["todo", "in_review"], severity=["high"], category=["Bug, other"], limit=5),
        "GET",
        "/v1/triage/issues?search=T-1042&status=todo&status=in_review&severity=high&category=Bug%2C+other&limit=5",
        None,
        200,
        page(ISSUE, after=ID),
    ),
    (
        ListIssues(
            resource_type="call", owner_id="u 1", assignee_id="u2", date_range="24h", date_field="created_at",
            sort="severity", order="asc", cursor="b+/=",
        ),
        "GET",
        "/v1/triage/issues?resource_type=call&owner_id=u+1&assignee_id=u2&date_range=24h&date_field=created_at"
        "&sort=severity&order=asc&cursor=b%2B%2F%3D",
        None,
        200,
        page(),
    ),
    (GetIssue(issue_id=ID.upper()), "GET", f"/v1/triage/issues/{ID}", None, 200, ISSUE),
    (
        AttachResource(issue_id=ID, resource_type="call", resource_id=CALL_ID),
        "POST",
        f"/v1/triage/issues/{ID}/resources",
        {"resource_type": "call", "resource_id": CALL_ID},
        201,
        LINK,
    ),
    (ListResources(issue_id=ID), "GET", f"/v1/triage/issues/{ID}/resources", None, 200, page(LINK)),
    (
        AddFlag(
            issue_id=ID, call_id=CALL_ID, type="Missed handoff", note="Transferred without confirming the email.",
            message_index=12, message_text="OK, transferring you now.",
        ),
        "POST",
        f"/v1/triage/issues/{ID}/flags",
        {
            "call_id": CALL_ID,
            "type": "Missed handoff",
            "note": "Transferred without confirming the email.",
            "message_index": 12,
            "message_text": "OK, transferring you now.",
        },
        201,
        FLAG,
    ),
    (ListFlags(issue_id=ID, limit=100), "GET", f"/v1/triage/issues/{ID}/flags?limit=100", None, 200, page(FLAG)),
    (ListFlagTypes(cursor="x"), "GET", "/v1/triage/flag-types?cursor=x", None, 200, page(*FLAG_TYPES)),
    (
        LinkIssue(issue_id=ID, related_issue_id=OTHER_ID, relation_type="duplicate_of"),
        "POST",
        f"/v1/triage/issues/{ID}/relations",
        {"related_issue_id": OTHER_ID, "relation_type": "duplicate_of"},
        201,
        RELATION,
    ),
    (ListRelations(issue_id=ID), "GET", f"/v1/triage/issues/{ID}/relations", None, 200, page(RELATION)),
    (ListActivity(issue_id=ID), "GET", f"/v1/triage/issues/{ID}/activity", None, 200, page(*ENTRIES, after=ID)),
    (GetCall(call_id="convo:1@x+y"), "GET", "/v1/calls/convo%3A1%40x%2By", None, 200, CALL),
]  # fmt: skip
ATTACHMENT_CALLS: list[tuple[Operation[Any], str, str, Any, int, Any]] = [
    (
        RequestUploadLink(allowed_mime_types=["audio/mp3", "audio/wav"]),
        "POST",
        "/attachments/2023-03/upload-link",
        {"allowed_mime_types": ["audio/mp3", "audio/wav"]},
        200,
        UPLOAD,
    ),
    (RequestUploadLink(), "POST", "/attachments/2023-03/upload-link", {}, 200, UPLOAD),
    (
        CreateAttachment(name="call-4711-evidence.wav", request_id="5f0c", metadata={"flow_id": "A", "size": 12}),
        "POST",
        "/attachments/2023-03",
        {"name": "call-4711-evidence.wav", "request_id": "5f0c", "metadata": {"flow_id": "A", "size": 12}},
        200,
        FILE,
    ),
    (GetAttachment(attachment_id=FILE_ID), "GET", f"/attachments/2023-03/{FILE_ID}", None, 200, FILE),
    (
        GetAttachmentDownloadLink(attachment_id=FILE_ID), "GET", f"/attachments/2023-03/{FILE_ID}/download-link", None,
        200, {"url": "https://bucket.s3.us-east-1.amazonaws.com/9821123e?X-Amz-Expires=600&X-Amz-Signature=77aa",
              "expire_time": 600},
    ),
    (DeleteAttachment(attachment_id=FILE_ID), "DELETE", f"/attachments/2023-03/{FILE_ID}", None, 204, None),
]  # fmt: skip

Given = tuple[int, Any] | tuple[int, Any, dict[str, str]] | Exception
"""What a vendor does: status, body (bytes as they are, anything else as JSON), headers; or the line breaks."""


def response(given: Given) -> httpx2.Response:
    if isinstance(given, Exception):
        raise given
    body = given[1] if isinstance(given[1], bytes) else json.dumps(given[1]).encode()
    return httpx2.Response(given[0], content=body, headers=given[2] if len(given) == 3 else None)


@asynccontextmanager
async def vendor(
    *answers: Given, tokens: tuple[Given, ...] = (), to: Operation[Any] | None = None
) -> AsyncGenerator[tuple[Client, list[httpx2.Request], list[httpx2.Request]]]:
    """A client whose vendor answers so in turn, the last for ever; the API's requests and the token endpoint's.

    `to` an operation: only requests of its method count. Others, which look for what a write made, find nothing to read.
    """
    token = {"access_token": TOKEN, "token_type": "Bearer", "expires_in": 599, "scope": "attachments:read"}
    waiting, granting = list(answers), list(tokens or ((200, token),))
    came, asked = list[httpx2.Request](), list[httpx2.Request]()

    def serve(request: httpx2.Request) -> httpx2.Response:
        for_token = request.url.path == "/oauth/token"
        if not for_token and to is not None and request.method != to.method:
            return httpx2.Response(404, json={})
        (asked if for_token else came).append(request)
        queue = granting if for_token else waiting
        return response(queue.pop(0) if len(queue) > 1 else queue[0])

    async with open_client(endpoints_to(httpx2.MockTransport(serve), VENDOR)) as client:
        yield client, came, asked


def told(result: Any, literal: Any) -> bool:
    """Whether a result holds the vendor's literal values in every field that it has."""
    if isinstance(result, BaseModel):
        result = result.model_dump(mode="json", by_alias=True)
    if isinstance(result, dict) and isinstance(literal, dict):
        mine, theirs = cast("dict[str, Any]", result), cast("dict[str, Any]", literal)
        if "_links" in theirs:  # HAL, of which an attachment's record keeps the addresses
            theirs = theirs | {"_links": {name: link["href"] for name, link in theirs["_links"].items()}}
        return all(told(value, theirs[name]) if name in theirs else not value for name, value in mine.items())
    if isinstance(result, list) and isinstance(literal, list):
        mine_, theirs_ = cast("list[Any]", result), cast("list[Any]", literal)
        return len(mine_) == len(theirs_) and all(told(one, other) for one, other in zip(mine_, theirs_, strict=True))
    return result == literal


def name_of(value: object) -> str:
    return type(value).__name__ if isinstance(value, BaseModel) else ""


# --- requests and documented answers ---


@pytest.mark.parametrize(("operation", "method", "target", "body", "status", "data"), TRIAGE_CALLS, ids=name_of)
async def test_a_triage_operation_sends_the_documented_request_and_reads_the_documented_answer(
    operation: Operation[Any], method: str, target: str, body: Any, status: int, data: Any
) -> None:
    answer = data if isinstance(operation, GetCall) else {"data": data, "errors": None, "extra": {"x": 1}}
    async with vendor((status, answer), to=operation) as (client, came, asked):
        result = await client.send(operation)
    [request] = came
    assert (request.method, str(request.url)) == (method, VENDOR + target)
    assert request.headers["authorization"] == KEY
    assert request.headers["accept-encoding"] == "identity"
    assert (json.loads(request.content) if request.content else None) == body
    assert body is None or request.headers["content-type"] == "application/json"
    assert told(result, data)
    assert asked == []


@pytest.mark.parametrize(("operation", "method", "target", "body", "status", "data"), ATTACHMENT_CALLS, ids=name_of)
async def test_an_attachments_operation_sends_its_documented_request_with_a_fresh_token(
    operation: Operation[Any], method: str, target: str, body: Any, status: int, data: Any
) -> None:
    async with vendor((status, data, {"content-type": "application/hal+json"})) as (client, came, asked):
        result = await client.send(operation)
    [request], [token] = came, asked
    assert (request.method, str(request.url)) == (method, VENDOR + target)
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.headers["accept-encoding"] == "identity"
    assert (json.loads(request.content) if request.content else None) == body
    assert told(result, data)
    assert (token.method, str(token.url)) == ("POST", f"{VENDOR}/oauth/token")
    assert token.headers["content-type"] == "application/x-www-form-urlencoded"
    assert token.headers["authorization"] == "Basic " + base64.b64encode(f"desk:{KEY}".encode()).decode()
    assert parse_qs(token.content.decode()) == {
        "grant_type": ["client_credentials"],
        "scope": [" ".join(SCOPES)],
    }


async def test_a_page_of_attachments_is_asked_for_and_read_as_the_vendor_writes_it() -> None:
    next_link = "https://elsewhere.test/attachments?page=2&per_page=1&cursor=a%2Fb"
    page = {
        "total": 2, "count": 1, "page": 1, "per_page": 1, "_embedded": {"list": [FILE]},
        "_links": {"self": {"href": "/attachments?page=1"}, "next": {"href": next_link}},
    }  # fmt: skip
    last = {"total": 2, "page": 2, "per_page": 1, "_links": {"self": {"href": "/attachments?page=2"}}}
    asked_for = ListAttachments(
        name="a b&c", types=["image/png", "audio/wav"], metadata='{"flow_id":"abc"}', state="published", per_page=1
    )
    async with vendor((200, page), (200, last)) as (client, came, _):
        first = await client.send(asked_for)
        assert told(first.items, [FILE])
        assert first.total == 2
        second = await client.send(ListFollowingAttachments(query=first.following or ""))
    assert (second.items, second.following) == ([], None)
    one, two = (request.url for request in came)
    assert parse_qs(one.query.decode()) == {
        "name": ["a b&c"], "types": ["image/png", "audio/wav"], "metadata": ['{"flow_id":"abc"}'],
        "state": ["published"], "per_page": ["1"],
    }  # fmt: skip
    assert str(two).split("?")[0] == f"{VENDOR}/attachments/2023-03", "host and path of the link are not followed"
    assert parse_qs(two.query.decode()) == {"page": ["2"], "per_page": ["1"], "cursor": ["a/b"]}


@pytest.mark.parametrize(("status", "outcome"), [(201, "committed"), (200, "replayed")])
@pytest.mark.parametrize("operation", [TRIAGE_CALLS[4], TRIAGE_CALLS[9]], ids=["AttachResource", "LinkIssue"])
async def test_200_instead_of_201_is_told_as_found_done_already(operation: Any, status: int, outcome: str) -> None:
    async with vendor((status, {"data": operation[5], "errors": None})) as (client, _, _):
        assert (await client.deliver(operation[0])).outcome == outcome


async def test_a_key_may_be_sent_after_bearer_where_an_account_wants_that() -> None:
    http = Http(httpx2.MockTransport(lambda _: httpx2.Response(200)), VENDOR)
    assert await ApiKey(SecretStr("org_1")).header(http) == "org_1"
    assert await ApiKey(SecretStr("sk-1"), scheme="bearer").header(http) == "Bearer sk-1"


@pytest.mark.parametrize("issue_id", ["T-1042", "9bbe5547", f"{ID}/flags", ""])
async def test_an_issue_id_that_is_no_uuid_is_refused_before_sending(issue_id: str) -> None:
    with pytest.raises(ValidationError):
        GetIssue(issue_id=issue_id)


async def test_no_more_than_four_triage_requests_are_in_flight() -> None:
    now, most = 0, 0

    async def serve(request: httpx2.Request) -> httpx2.Response:
        nonlocal now, most
        now += 1
        most = max(most, now)
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        now -= 1
        return httpx2.Response(200, json={"data": ISSUE, "errors": None})

    async with (
        open_client(endpoints_to(httpx2.MockTransport(serve), VENDOR)) as client,
        anyio.create_task_group() as tg,
    ):
        for _ in range(12):
            tg.start_soon(client.send, GetIssue(issue_id=ID))
    assert most == 4


# --- errors ---

SAID, SENT = "zq vendor words", "zq sent words"
READ, WRITE = GetIssue(issue_id=ID), AddFlag(issue_id=ID, call_id="zq-sent-call", type=SENT, note=SENT)
SHAPES: list[Any] = [
    {"data": None, "errors": [{"error": SAID, "message": SAID}]},
    {"data": None, "errors": [{"error": 7, "message": None}]},
    {"data": SAID, "errors": [], "extra": {SAID: SAID}},
    {"status": "error", "message": SAID},
    {"status": "error", "message": SAID, "errors": [SAID]},
    {"error": SAID},
    {"error": {"message": SAID}},
    {"code": "9999999", "message": SAID, "description": SAID, "fields": [{"name": SAID, "description": SAID}]},
    {"code": 7, "message": [SAID], "fields": [SAID, None, {"name": {"x": 1}}]},
    {"code": "0", "message": SAID, "fields": SAID},
    {"code": "0", "message": SAID, "fields": 7},
    {},
    [],
    [SAID],
    7,
    SAID,
    None,
    b"",
    b"{",
    b"\xff\xfe\x00",
    f"<html><body>{SAID}</body></html>".encode(),
    b"[" * 100_000,
]
VERDICTS: list[tuple[int, type[CallError], str]] = [
    (400, Rejected, "invalid_arguments"),
    (401, Unauthenticated, "unauthenticated"),
    (403, Forbidden, "forbidden"),
    (404, NotFound, "not_found"),
    (409, Conflict, "conflict"),
    (413, Rejected, "invalid_arguments"),
    (415, Rejected, "invalid_arguments"),
    (418, Rejected, "invalid_arguments"),
    (422, Rejected, "invalid_arguments"),
    (429, RateLimited, "rate_limited"),
    (500, ServerFailure, "server_failure"),
    (502, ServerFailure, "server_failure"),
    (503, ServerFailure, "server_failure"),
    (302, UnreadableAnswer, "unreadable_answer"),
]


def safe(error: CallError) -> None:
    """Nothing of the vendor's words and nothing that was sent stands in what is shown."""
    shown = str(error) + json.dumps(error.body())
    assert "zq" not in shown
    assert KEY not in shown
    assert TOKEN not in shown


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: ascii(shape)[:40])
async def test_a_status_becomes_its_error_whatever_the_body_looks_like(shape: Any) -> None:
    status = 0

    def serve(_: httpx2.Request) -> httpx2.Response:
        return response((status, shape, {"location": "https://zq.example/"}))

    async with open_client(endpoints_to(httpx2.MockTransport(serve), VENDOR)) as client:
        for status, kind, code in VERDICTS:
            for operation in (READ, WRITE):
                with pytest.raises(CallError) as caught:
                    await client.send(cast("Operation[Any]", operation))
                error = caught.value
                assert (type(error), error.code, error.status, error.body()["code"]) == (kind, code, status, code)
                not_done = "not_committed" if 400 <= status < 500 else "unknown"
                assert error.outcome == (None if operation is READ else not_done)
                safe(error)


@pytest.mark.parametrize("shape", [s for s in SHAPES if s != {}], ids=lambda shape: ascii(shape)[:40])
async def test_a_success_that_cannot_be_read_is_an_unreadable_answer_and_a_write_stays_done(
    shape: Any,
) -> None:
    for operation, status in ((READ, 200), (WRITE, 201)):
        async with vendor((status, shape), to=cast("Operation[Any]", operation)) as (client, came, _):
            with pytest.raises(UnreadableAnswer) as caught:
                await client.send(cast("Operation[Any]", operation))
        assert (caught.value.code, len(came)) == ("unreadable_answer", 1)
        proves_nothing = shape in ([], None, b"") or (isinstance(shape, dict) and shape.get("data") is None)
        done = "unknown" if proves_nothing else "committed"
        assert caught.value.outcome == (None if operation is READ else done)
        safe(caught.value)


@pytest.mark.parametrize("body", [[CALL], {"status": "error", "message": SAID}, b"RIFF\x00", {"data": CALL}])
async def test_a_bare_call_that_is_not_one_is_an_unreadable_answer(body: Any) -> None:
    async with vendor((200, body)) as (client, _, _):
        with pytest.raises(UnreadableAnswer) as caught:
            await client.send(GetCall(call_id=CALL_ID))
    safe(caught.value)


KNOWN: list[tuple[Operation[Any], int, Any, type[CallError], str, str | None]] = [
    (WRITE, 409, {"data": None, "errors": [{"error": "call_not_attached", "message": "Call must be attached"}]},
     Conflict, "call_not_attached", None),
    (ATTACHMENT_CALLS[2][0], 409, {"code": "2320004", "message": "Attachments name exist"},
     Conflict, "name_conflict", None),
    (TRIAGE_CALLS[0][0], 400,
     {"data": None, "errors": [{"error": "bad_request", "message": "severity: must be one of critical, high"}]},
     Rejected, "invalid_arguments", "severity"),
    (ATTACHMENT_CALLS[2][0], 400,
     {"code": "2320000", "message": "Bad request error", "description": SAID,
      "fields": [{"name": "metadata.flow_id", "description": "must be 1 to 127 characters"}]},
     Rejected, "invalid_arguments", "metadata"),
    (ATTACHMENT_CALLS[3][0], 404, {"code": "2320009", "message": "Attachment do not exist"},
     NotFound, "not_found", None),
    (ATTACHMENT_CALLS[3][0], 403, {"code": "2320002", "message": "Forbidden"}, Forbidden, "forbidden", None),
    (TRIAGE_CALLS[12][0], 404, {"data": None, "errors": [{"error": "CALL_NOT_FOUND", "message": "Call not found"}]},
     NotFound, "not_found", None),
    (READ, 401, {"data": None, "errors": [{"error": "AUTH_FAILURE", "message": "Unauthorized"}]},
     Unauthenticated, "unauthenticated", None),
]  # fmt: skip


@pytest.mark.parametrize(("operation", "status", "body", "kind", "code", "field"), KNOWN)
async def test_a_documented_error_keeps_its_meaning(
    operation: Operation[Any], status: int, body: Any, kind: type[CallError], code: str, field: str | None
) -> None:
    async with vendor((status, body), to=operation) as (client, came, _):
        with pytest.raises(kind) as caught:
            await client.send(operation)
    assert (caught.value.code, caught.value.status) == (code, status)
    assert field is None or caught.value.field == field
    assert len(came) == (1 if status != 401 or operation is READ else 2)
    safe(caught.value)


@pytest.mark.parametrize("word", ["call_not_attached", "2320004"])
@pytest.mark.parametrize(("status", "code"), [(500, "server_failure"), (404, "not_found"), (429, "rate_limited")])
async def test_the_status_comes_before_the_vendors_code(word: str, status: int, code: str) -> None:
    async with vendor((status, {"data": None, "errors": [{"error": word, "message": ""}]})) as (client, _, _):
        with pytest.raises(CallError) as caught:
            await client.send(READ)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("operation", "body", "headers"),
    [
        (READ, {"status": "error", "message": "Rate limit exceeded"}, {"retry-after": "7"}),
        (ATTACHMENT_CALLS[3][0], {"code": "0012001", "message": "Too many"}, {"retry-after": "7"}),
        (
            ATTACHMENT_CALLS[3][0],
            {"code": "0020017", "message": "Too many", "fields": [{"name": "retry-after", "description": "7"}]},
            {},
        ),
    ],
)
async def test_a_rate_limit_tells_how_long_to_wait(
    operation: Operation[Any], body: Any, headers: dict[str, str]
) -> None:
    async with vendor((429, body, headers)) as (client, _, _):
        with pytest.raises(RateLimited) as caught:
            await client.send(operation)
    assert caught.value.retry_after_s == 7


# --- repeating ---

LOST, REFUSED = httpx2.ReadError("cut"), httpx2.ConnectError("refused")
GOOD_FLAG = (201, {"data": FLAG, "errors": None})
GOOD_LINK = (201, {"data": LINK, "errors": None})
GOOD_ISSUE = (200, {"data": ISSUE, "errors": None})
LIMITED = (429, {"status": "error", "message": "Rate limit exceeded"})


@pytest.mark.parametrize(
    ("operation", "answers"),
    [
        (READ, [(503, b""), LOST, GOOD_ISSUE]),
        (READ, [LIMITED, REFUSED, GOOD_ISSUE]),
        (WRITE, [LIMITED, REFUSED, GOOD_FLAG]),
        (TRIAGE_CALLS[4][0], [(502, b"<html>"), LOST, GOOD_LINK]),
        (ATTACHMENT_CALLS[0][0], [(500, b""), LOST, (200, UPLOAD)]),
        (ATTACHMENT_CALLS[2][0], [LIMITED, REFUSED, (200, FILE)]),
    ],
)
async def test_what_did_not_arrive_or_does_no_harm_is_sent_again(
    operation: Operation[Any], answers: list[Given]
) -> None:
    async with vendor(*answers, to=operation) as (client, came, _):
        await client.send(operation)
    assert len(came) == 3
    assert len({(request.method, str(request.url), request.content) for request in came}) == 1


@pytest.mark.parametrize("given", [LOST, (500, b""), (502, b"<html>"), (503, b"")], ids=str)
@pytest.mark.parametrize(
    "operation", [WRITE, TRIAGE_CALLS[0][0], TRIAGE_CALLS[9][0], ATTACHMENT_CALLS[2][0]], ids=name_of
)
async def test_a_post_that_adds_is_never_repeated_blindly(operation: Operation[Any], given: Given) -> None:
    async with vendor(given) as (client, came, _):
        with pytest.raises(CallError) as caught:
            await client.send(operation)
    sent = [request for request in came if request.method == operation.method]
    assert (len(sent), caught.value.outcome) == (1, "unknown")
    if isinstance(caught.value, Unreachable):
        assert (caught.value.maybe_applied, caught.value.code) == (True, "outcome_unknown")
    safe(caught.value)


@pytest.mark.parametrize("status", [400, 403, 404, 409])
async def test_a_verdict_is_never_asked_for_twice(status: int) -> None:
    for operation in (READ, WRITE, TRIAGE_CALLS[4][0], ATTACHMENT_CALLS[2][0]):
        async with vendor((status, {}), to=cast("Operation[Any]", operation)) as (client, came, _):
            with pytest.raises(CallError):
                await client.send(cast("Operation[Any]", operation))
        assert len(came) == 1


@pytest.mark.parametrize("given", [REFUSED, (503, b""), LIMITED], ids=str)
async def test_repeats_end(given: Given) -> None:
    async with vendor(given) as (client, came, _):
        with pytest.raises(CallError):
            await client.send(ATTACHMENT_CALLS[3][0])
    assert len(came) == 3


# --- tokens ---


async def test_a_401_buys_one_new_token_and_one_repeat() -> None:
    tokens = [(200, {"access_token": f"t{n}", "token_type": "Bearer", "expires_in": 599}) for n in (1, 2, 3)]
    refusal = (401, {"code": "2320001", "message": "Authorization failed"})
    async with vendor(refusal, (200, FILE), tokens=tuple(tokens)) as (client, came, asked):
        await client.send(ATTACHMENT_CALLS[2][0])
    assert [request.headers["authorization"] for request in came] == ["Bearer t1", "Bearer t2"]
    assert len(asked) == 2
    async with vendor(refusal, tokens=tuple(tokens)) as (client, came, asked):
        with pytest.raises(Unauthenticated) as caught:
            await client.send(ATTACHMENT_CALLS[2][0])
    assert (len(came), len(asked)) == (2, 2)
    safe(caught.value)


async def test_fifty_calls_at_once_ask_for_one_token() -> None:
    async with vendor((200, FILE)) as (client, came, asked), anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(client.send, ATTACHMENT_CALLS[3][0])
    assert (len(came), len(asked)) == (50, 1)


async def test_a_token_is_renewed_sixty_seconds_before_it_ends() -> None:
    now, asked = [0.0], list[httpx2.Request]()

    def serve(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        return httpx2.Response(200, json={"access_token": f"t{len(asked)}", "expires_in": 599})

    credentials = ClientCredentials(
        f"{VENDOR}/oauth/token", "me", SecretStr("s"), ("attachments:read",), clock=lambda: now[0]
    )
    headers = list[str]()
    for now[0] in (0, 538, 540, 541):
        headers.append(await credentials.header(Http(httpx2.MockTransport(serve), VENDOR)))
    assert headers == ["Bearer t1", "Bearer t1", "Bearer t2", "Bearer t2"]


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ((400, {"error": "invalid_request", "error_description": SAID}), Unauthenticated),
        ((401, {"error": "unauthorized", "error_description": SAID}), Unauthenticated),
        ((200, f"<html>{SAID}".encode()), UnreadableAnswer),
        ((200, {"access_token": "a b", "expires_in": 599}), UnreadableAnswer),
        ((200, [TOKEN]), UnreadableAnswer),
    ],
    ids=str,
)
async def test_without_a_token_nothing_is_sent(given: Given, kind: type[CallError]) -> None:
    async with vendor((200, FILE), tokens=(given,)) as (client, came, _):
        with pytest.raises(kind) as caught:
            await client.send(ATTACHMENT_CALLS[2][0])
    assert came == []
    safe(caught.value)


# --- bytes ---


async def content() -> AsyncGenerator[bytes]:
    yield b"RI"
    yield b"FF"


async def put(client: Client, url: str) -> None:
    await client.links.put(url, content, size=4, media_type="audio/wav")


@asynccontextmanager
async def store(*answers: Given) -> AsyncGenerator[tuple[Client, list[httpx2.Request]]]:
    """A client to whom every public address is one object store that answers so in turn; the requests that came there."""
    waiting, came = list(answers), list[httpx2.Request]()

    def serve(request: httpx2.Request) -> httpx2.Response:
        came.append(request)
        return response(waiting.pop(0) if len(waiting) > 1 else waiting[0])

    async def somewhere(_host: str, _port: int) -> list[str]:
        return ["93.184.216.34"]

    endpoints = endpoints_to(httpx2.MockTransport(lambda _: response((500, b""))), VENDOR)
    guarded = Guarded(httpx2.MockTransport(serve), somewhere)
    http = Http(httpx2.MockTransport(lambda _: response((500, b""))), VENDOR)
    yield Client(endpoints, dict.fromkeys(Api, http), Links(endpoints[Api.ATTACHMENTS], 5.0, guarded), 5.0), came


@pytest.mark.parametrize("status", [200, 201, 204])
async def test_bytes_are_put_to_the_link_as_it_was_returned_without_a_credential(status: int) -> None:
    target = "/blobs/8c1f%7E0d?expires=1795353600&signature=9b%2Be2%2f&x=a+b%20c"
    async with store((status, b"")) as (client, came):
        await put(client, BUCKET + target)
    [request] = came
    assert (request.method, request.extensions["target"].decode()) == ("PUT", target)
    assert request.headers["host"] == "bucket.s3.us-east-1.amazonaws.com"
    assert request.content == b"RIFF"
    assert (request.headers["content-length"], request.headers["content-type"]) == ("4", "audio/wav")
    assert not {"authorization", "cookie", "transfer-encoding"} & set(request.headers)
    assert not any(name.startswith("x-amz-") for name in request.headers)


async def test_an_upload_that_broke_off_is_sent_again_whole() -> None:
    async with store(LOST, (503, b""), (200, b"")) as (client, came):
        await put(client, f"{BUCKET}/blobs/8c1f?signature=1")
    assert [request.content for request in came] == [b"RIFF"] * 3


async def test_an_expired_upload_link_is_forbidden_and_not_asked_again() -> None:
    xml = f"<Error><Code>AccessDenied</Code><Message>{SAID}</Message></Error>".encode()
    async with store((403, xml)) as (client, came):
        with pytest.raises(Forbidden) as caught:
            await put(client, f"{BUCKET}/blobs/8c1f?signature=1")
    assert len(came) == 1
    safe(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://192.0.2.1/x", "https://127.0.0.1/x", "https://10.0.0.1/x", "https://169.254.169.254/x",
        "https://[::1]/x", "https://user:word@192.0.2.1/x", "ftp://192.0.2.1/x", "file:///etc/passwd", "x",
    ],
)  # fmt: skip
async def test_an_upload_link_that_leads_inside_or_is_not_https_gets_no_bytes(url: str) -> None:
    async with vendor((200, b"")) as (client, came, asked):
        with pytest.raises(UnreadableAnswer) as caught:
            await put(client, url)
    assert (came, asked, caught.value.outcome) == ([], [], "not_committed")


async def test_a_link_that_was_signed_over_a_header_we_do_not_know_gets_no_bytes() -> None:
    async with store((200, b"")) as (client, came):
        with pytest.raises(CallError):
            await put(
                client, f"{BUCKET}/x?X-Amz-SignedHeaders=content-type%3Bhost%3Bx-amz-meta-owner&X-Amz-Signature=1"
            )
    assert came == []
