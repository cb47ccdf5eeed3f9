"""What the two vendors answer, in values of our own: an example for each documented read and write, and a vendor that serves
them with a part changed."""

# ruff: noqa: E501  an example is one row of its table
from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import httpx2

ISSUE_ID = "9bbe5547-d5b1-4b83-9f80-87c4af7c6b34"
OTHER_ID = "849ee9ce-be6b-4f9c-8e55-2736aeeb579f"
ORG = "f5b40b9e-bc05-4b8a-9af1-d8f6a8a3a201"
USER = "75c5c7da-a5d6-4e26-a51e-1ae8ef2bfa4a"
CALL_ID = "3aefc79d-1870-4514-b32b-b9212ae32bc8"
FILE_ID = "123e4567e89b12d3a456426655440010"
SESSION_ID = "0431f6ad-fdd3-4408-a6cc-909842d1db41"
RUN_ID = "56cae586-0670-4f1b-8113-96a2421d56d5"
AT = "2026-05-07T05:26:11.327Z"

SESSION = {"id": SESSION_ID, "agent_profile_id": OTHER_ID, "agent_name": "Norm", "status": "awaiting_input"}
ISSUE = {
    "id": ISSUE_ID, "triage_id": "T-1001", "org_id": ORG, "number": 1001, "title": "Refund promised twice",
    "description": "The agent promised a refund and then refused it.", "status": "todo", "severity": "high",
    "source": "manual", "category": "Dialogue", "owner_id": USER, "assignee_id": USER, "author_id": USER,
    "external_link": {"url": "https://tracker.example/1"}, "created_at": AT, "updated_at": AT, "last_activity_at": AT,
    "resource_count": 2, "flag_count": 1, "relation_count": 1, "latest_agent_session": SESSION,
    "is_processing": False, "has_unread_activity": True,
}  # fmt: skip
LINK = {
    "id": "1d8cec02-6b7c-43f9-9f1f-86d4f31b6d8a", "issue_id": ISSUE_ID, "org_id": ORG, "resource_type": "call",
    "resource_id": CALL_ID, "title": "Caller asked about a refund.", "status": "available",
    "metadata": {"created_at": AT}, "attached_by_id": USER, "created_at": AT,
}  # fmt: skip
FILE_LINK = {**LINK, "id": "1d8cec02-6b7c-43f9-9f1f-86d4f31b6d8b", "resource_type": "file", "resource_id": FILE_ID}
FLAG = {
    "id": "ad0931e4-b0e1-4bd6-a5b1-09e7c9123dba", "org_id": ORG, "issue_id": ISSUE_ID, "call_id": CALL_ID,
    "type": "broken_promise", "note": "Said twice.", "node_id": "n1", "node_name": "Refund", "message_index": 1,
    "message_text": "You will have it on Monday.", "author_id": USER, "created_at": AT,
}  # fmt: skip
FLAG_TYPE = {"type": "broken_promise", "description": "Said twice.", "usage_count": 4, "last_used_at": AT}
RELATION = {
    "id": "172c839b-130d-4712-a09c-b767a78542ea", "org_id": ORG, "issue_id": ISSUE_ID, "related_issue_id": OTHER_ID,
    "related_triage_id": "T-1004", "related_title": "Refund refused", "relation_type": "blocks",
    "created_by_id": USER, "created_at": AT, "direction": "outgoing",
}  # fmt: skip
ACTOR = {"kind": "agent", "id": None, "label": "Norm", "avatar_url": None}
ANSWERED = {
    "entry_kind": "agent", "id": "b1c7a2de-5b1f-4c59-8c0e-3f3f0c6a9d10", "issue_id": ISSUE_ID, "type": "response",
    "actor": ACTOR, "detail": "The refund node has no exit.", "metadata": {"run_id": RUN_ID},
    "agent_session": SESSION, "artifact": {
        "id": "a-1", "type": "verification_report", "title": "Report", "renderer": "markdown", "status": "ready",
        "payload": {"text": "Three calls, one fault."}, "external_urls": [{"label": "Draft", "url": "https://x.example"}],
    }, "created_at": AT,
}  # fmt: skip
PROMPTED = {**ANSWERED, "id": "b1c7a2de-5b1f-4c59-8c0e-3f3f0c6a9d11", "type": "prompt", "artifact": None}
COMMENT = {
    "entry_kind": "issue", "id": "5a9d0fa9-27b7-414c-9e49-5fc32f240c01", "issue_id": ISSUE_ID, "type": "comment",
    "actor": {"kind": "user", "id": USER, "label": "Ada", "avatar_url": None}, "detail": "Seen again today.",
    "from_status": "todo", "to_status": "todo", "metadata": {"from": 1}, "resources": [LINK],
    "referenced_issues": [{"id": OTHER_ID, "triage_id": "T-1004"}], "created_at": AT,
}  # fmt: skip
CALL = {
    "call_id": CALL_ID, "call_length": 0.75, "to": "+12223334444", "from": "+17163511654", "completed": True,
    "inbound": False, "created_at": "2026-04-27T23:51:18.025251+00:00", "queue_status": "completed",
    "status": "completed", "answered_by": "human", "record": False, "recording_url": None,
    "summary": "Caller asked about a refund.", "pathway_id": "p-1", "pathway_version": 1, "pathway_logs": None,
    "corrected_duration": "45", "metadata": {"shop": "north"}, "transcripts": [
        {"id": 1, "created_at": "2026-04-27T23:51:28.568385+00:00", "text": "Where is my refund?", "user": "user"},
        {"id": 2, "created_at": "2026-04-27T23:51:30.689815+00:00", "text": "You will have it on Monday.",
         "user": "assistant"},
    ],
}  # fmt: skip
SMS = {
    "id": "convo_1", "created_at": AT, "updated_at": AT, "user_number": "+15550001111", "agent_number": "+15550002222",
    "variables": {"name": "Ada"}, "current_node_id": "n1", "curr_pathway_id": "p-1", "curr_pathway_version": "latest",
    "is_active": True, "message_count": 1, "last_message": "Hello", "summary": "A greeting.", "messages": [
        {"id": 100002, "created_at": AT, "message": "Hello", "from": "+15550002222", "to": "+15550001111",
         "sender": "AGENT", "status": "delivered", "error_code": None},
    ], "disposition_logs": [],
}  # fmt: skip
FILE = {
    "id": FILE_ID, "name": "refund.wav", "state": "published", "size": 1143840, "type": "audio/wav",
    "metadata": {"shop": "north"}, "provider": {"name": "s3", "data": {}},
    "_links": {"self": {"href": "https://xxxx.example/assets/1"}},
}  # fmt: skip
CURIES = [{"name": "t", "href": "https://docs.example/{rel}", "templated": True}]


def enveloped(data: Any) -> dict[str, Any]:
    return {"data": data, "errors": None}


def page(*items: Any) -> dict[str, Any]:
    return enveloped({"items": list(items), "next_cursor": None})


@dataclass(frozen=True)
class Example:
    """One documented answer.

    Attributes:
        route: method and a pattern of the whole path.
        body: the answer.
        tools: calls that read it, its own tool first.
        identity: places in the body without which there is nothing to show.
        status: of the answer.
    """

    route: str
    body: Any
    tools: tuple[tuple[str, dict[str, Any]], ...] = ()
    identity: frozenset[tuple[str | int, ...]] = frozenset()
    status: int = 200


ISSUE_IS: dict[str, Any] = {"issue_id": ISSUE_ID}
EVIDENCE: tuple[str, dict[str, Any]] = ("get_evidence", ISSUE_IS)
WAIT: tuple[str, dict[str, Any]] = ("wait_for_norm", {**ISSUE_IS, "run_id": RUN_ID, "timeout_s": 1})
LISTED = frozenset[tuple[str | int, ...]]({("data",), ("data", "items")})
OF_ISSUE = f"/v1/triage/issues/{ISSUE_ID}"


def _reading() -> dict[str, Example]:
    one = frozenset[tuple[str | int, ...]]({("data",), ("data", "id")})
    call = frozenset[tuple[str | int, ...]]({("call_id",)})
    return {
        "issue": Example(f"GET {OF_ISSUE}", enveloped(ISSUE), (("get_issue", ISSUE_IS), EVIDENCE, WAIT), one),
        "issues": Example("GET /v1/triage/issues", page(ISSUE, {**ISSUE, "id": OTHER_ID}), (("list_issues", {}),), LISTED),
        "resources": Example(f"GET {OF_ISSUE}/resources", page(LINK, FILE_LINK), (("list_resources", ISSUE_IS), EVIDENCE), LISTED),
        "flags": Example(f"GET {OF_ISSUE}/flags", page(FLAG), (("list_flags", ISSUE_IS), EVIDENCE), LISTED),
        "relations": Example(f"GET {OF_ISSUE}/relations", page(RELATION), (("list_relations", ISSUE_IS), EVIDENCE), LISTED),
        "activity": Example(f"GET {OF_ISSUE}/activity", page(ANSWERED, PROMPTED, COMMENT), (("list_activity", ISSUE_IS), EVIDENCE, WAIT), LISTED),
        "affected": Example(f"GET {OF_ISSUE}/affected", enveloped({
            "issue_id": ISSUE_ID, "calls": [{"call_id": CALL_ID, "pathway_id": "p-1", "persona_id": "s-1"}],
            "pathways": [{"pathway_id": "p-1", "pathway_name": "Refunds", "call_count": 1, "call_ids": [CALL_ID]}],
            "personas": [{"persona_id": "s-1", "persona_name": "Ann", "call_count": 1, "call_ids": [CALL_ID]}],
        }), (("get_affected_context", ISSUE_IS),), frozenset({("data",)})),
        "flag types": Example("GET /v1/triage/flag-types", page(FLAG_TYPE), (("list_flag_types", {}),), LISTED),
        "categories": Example("GET /v1/triage/categories", page({"id": "built-in:bug", "org_id": ORG, "name": "Bug", "created_at": AT}), (("list_categories", {}),), LISTED),
        "agents": Example("GET /v1/triage/agents", page({"id": OTHER_ID, "provider_type": "blandcode", "display_name": "Norm", "description": "Agent", "is_active": True}), (("list_triage_agents", {}),), LISTED),
        "call": Example(f"GET /v1/calls/{CALL_ID}", CALL, (("get_transcript", {"call_id": CALL_ID}), ("get_call", {"call_id": CALL_ID}), EVIDENCE), call),
        "calls": Example("GET /v1/calls", {"total_count": 784, "count": 1, "calls": [{name: value for name, value in CALL.items() if name != "transcripts"}]}, (("find_calls", {}),), frozenset({("calls",)})),
        "corrected": Example(f"GET /v1/calls/{CALL_ID}/correct", {"status": "success", "corrected": [{"start": 4.932, "end": 8.074, "text": "Yes.", "speaker": 1, "speaker_label": "user", "confidence": 0.654}]}, (("get_corrected_transcript", {"call_id": CALL_ID}),), frozenset({("corrected",)})),
        "events": Example(f"GET /v1/pathway_calls/{CALL_ID}", [{"conversation_id": CALL_ID, "sequence": 7, "event_type": "webhook.result", "node_id": "n1", "operation_id": 6, "payload": {"status": 200}, "created_at": AT}], (("get_pathway_call_events", {"call_id": CALL_ID}),)),
        "event stream": Example(f"GET /v1/event_stream/{CALL_ID}", [{"level": "call", "message": "Call connected", "category": "info", "call_id": CALL_ID, "timestamp": AT}], (("get_call_event_stream", {"call_id": CALL_ID}),)),
        "conversation": Example("GET /v1/sms/conversations/convo_1", enveloped(SMS), (("get_sms_conversation", {"conversation_id": "convo_1"}),), one),
        "conversations": Example("GET /v1/sms/conversations", {"data": [SMS], "errors": None, "extra": {"pagination": {"totalItems": 1, "totalPages": 1, "currentPage": 1, "pageSize": 25}}}, (("list_sms_conversations", {}),), frozenset({("data",)})),
        "members": Example(f"GET /v1/orgs/{ORG}/members", enveloped([{"org_id": ORG, "user_id": USER, "permissions": ["owner"], "is_owner": True, "first_name": "Ada", "last_name": "Smith"}]), (("list_org_members", {}),), frozenset({("data",)})),
        "attachment": Example(f"GET /attachments/2023-03/{FILE_ID}", FILE, (("get_attachment", {"attachment_id": FILE_ID}), EVIDENCE), frozenset({("id",)})),
        "attachments": Example("GET /attachments/2023-03", {
            "total": 2, "page": 1, "per_page": 50, "_embedded": {"list": [FILE, {**FILE, "id": "f" * 32}]},
            "_links": {"self": {"href": "https://x.example/?page=1"}, "next": {"href": "https://x.example/?page=2"}, "prev": None, "curies": CURIES},
        }, (("list_attachments", {}),), frozenset({("_embedded",), ("_embedded", "list")})),
    }  # fmt: skip


def _writing() -> dict[str, Example]:
    return {
        "created": Example("POST /v1/triage/issues", enveloped(ISSUE), (("create_issue", {"title": "t", "severity": "low", "category": "c", "on_duplicate": "create"}),), status=201),
        "updated": Example(f"PATCH {OF_ISSUE}", enveloped(ISSUE), (("update_issue", {**ISSUE_IS, "title": "t"}),)),
        "attached": Example(f"POST {OF_ISSUE}/resources", enveloped(LINK), (("attach_resource", {**ISSUE_IS, "resource_type": "call", "resource_id": CALL_ID}),), status=201),
        "flagged": Example(f"POST {OF_ISSUE}/flags", enveloped(FLAG), (("add_flag", {**ISSUE_IS, "call_id": CALL_ID, "type": "a", "message_index": 1}),), status=201),
        "linked": Example(f"POST {OF_ISSUE}/relations", enveloped(RELATION), (("link_issue", {**ISSUE_IS, "related_issue_id": OTHER_ID, "relation_type": "blocks"}),), status=201),
        "commented": Example(f"POST {OF_ISSUE}/comments", enveloped(COMMENT), (("add_comment", {**ISSUE_IS, "detail": "Seen."}),), status=201),
        "viewed": Example(f"PUT {OF_ISSUE}/view", enveloped({**ISSUE_IS, "last_viewed_at": AT}), (("mark_issue_viewed", ISSUE_IS),)),
        "category made": Example("POST /v1/triage/categories", enveloped({"id": OTHER_ID, "org_id": ORG, "name": "Bug", "created_at": AT}), (("create_category", {"name": "Bug"}),), status=201),
        "session": Example(f"POST {OF_ISSUE}/agent-sessions", enveloped({**SESSION, "status": "active"}), (("create_agent_session", ISSUE_IS),), status=201),
        "prompted": Example(f"POST {OF_ISSUE}/agent-sessions/{SESSION_ID}/prompts", enveloped({"session_id": SESSION_ID, "run_id": RUN_ID, "intent": "status"}), (("prompt_norm", {**ISSUE_IS, "detail": "Look.", "session_id": SESSION_ID}),), status=202),
    }  # fmt: skip


READING, WRITING = _reading(), _writing()
Path = tuple[str | int, ...]


@dataclass
class Vendor:
    """Serves the examples; `changed` has the bodies that differ, by the example's name."""

    changed: dict[str, Any] = field(default_factory=dict[str, Any])

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/oauth/token":
            return httpx2.Response(200, json={"access_token": "t", "token_type": "Bearer", "expires_in": 599})
        if request.url.path == "/v1/me":
            return httpx2.Response(200, json=enveloped({"org_id": ORG}))
        asked = f"{request.method} {request.url.path}"
        for name, example in (READING | WRITING).items():
            if re.fullmatch(example.route, asked):
                body = self.changed.get(name, example.body)
                return httpx2.Response(example.status, content=json.dumps(body).encode())
        return httpx2.Response(404, json={"data": None, "errors": [{"error": "not_found", "message": "No route"}]})


def places(node: Any, before: Path = ()) -> Iterator[Path]:
    """Each place inside a JSON value, outer ones first."""
    members: Any = ()
    if isinstance(node, dict):
        members = cast("dict[str, Any]", node).items()
    elif isinstance(node, list):
        members = enumerate(cast("list[Any]", node))
    for key, member in members:
        yield (*before, key)
        yield from places(member, (*before, key))


def at(body: Any, place: Path) -> Any:
    for key in place:
        body = body[key]
    return body


LEFT_OUT = object()


def with_changed(body: Any, place: Path, value: Any) -> Any:
    """The body with another value at a place, or without it for LEFT_OUT."""
    copied = copy.deepcopy(body)
    holder = at(copied, place[:-1])
    if value is LEFT_OUT:
        del holder[place[-1]]
    else:
        holder[place[-1]] = value
    return copied


def others(value: Any) -> tuple[Any, ...]:
    """Values of other types than this one."""
    return (
        ("odd",) if isinstance(value, dict | list) else (({"odd": 1},) if value is None else ({"odd": 1}, 17, ["odd"]))
    )
