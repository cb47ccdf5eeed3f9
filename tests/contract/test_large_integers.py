"""Integers beyond what a database's column holds: refused, or taken as they are, and never a failure of the desk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from conftest import DESK_URL, KEY, load_lines
from contract.described import DOCUMENT, resolved
from uuid_utils import uuid4
from vendor_examples import at, places, with_changed

from calltriage.desk.app import Desk
from calltriage.desk.handlers.beside_contract import NEIGHBOURS

LARGE = [2**31, 2**63 - 1, 2**63, 2**70, -(2**70), 10**400]


METHODS = ("get", "post", "put", "patch", "delete")


def routes() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        yield from ((method.upper(), path, methods[method]) for method in METHODS if method in methods)
    yield from (("GET", path, {}) for path in NEIGHBOURS)


@pytest.fixture
async def given(the_desk: Desk, desk: httpx2.AsyncClient) -> dict[str, str]:
    """Ids of things that are there, by the path's field, and a bearer token under `token`."""
    await load_lines(
        the_desk,
        json.dumps(
            {"kind": "sms_conversation", "conversation_id": "convo", "created_at": "2026-05-01", "messages": []}
        ),
    )
    issue = {"title": "t", "severity": "low", "category": "c"}
    ids = [(await desk.post("/v1/triage/issues", json=issue)).json()["data"] for _ in "ab"]
    form = {"grant_type": "client_credentials"}
    token = (await desk.post("/oauth/token", data=form, auth=("desk", KEY))).json()["access_token"]
    here = f"/v1/triage/issues/{ids[0]['id']}"
    session = (await desk.post(f"{here}/agent-sessions")).json()["data"]["id"]
    await desk.post(f"{here}/resources", json={"resource_type": "call", "resource_id": "call-card"})
    return {
        "org_id": ids[0]["org_id"], "issue_id": ids[0]["id"], "call_id": "call-card", "conversation_id": "convo",
        "resource_link_id": str(uuid4()), "flag_id": str(uuid4()), "relation_id": str(uuid4()), "session_id": session,
        "attachment_id": "f" * 32, "other": ids[1]["id"], "token": token,
    }  # fmt: skip


def headers(path: str, given: dict[str, str]) -> dict[str, str]:
    return {"authorization": f"Bearer {given['token']}" if path.startswith("/attachments") else KEY}


async def test_no_route_fails_over_a_large_integer_in_its_query_or_path(
    desk: httpx2.AsyncClient, given: dict[str, str]
) -> None:
    failed = list[Any]()
    for method, path, described in routes():
        names = [one["name"] for one in described.get("parameters", ()) if one["in"] == "query"]
        for number in map(str, LARGE):
            for name in names:
                answer = await desk.request(
                    method, path.format(**given), params={name: number}, headers=headers(path, given)
                )
                if answer.status_code >= 500:
                    failed.append((method, path, name, number[:25]))
            for name in given:
                if f"{{{name}}}" in path and method == "GET":
                    answer = await desk.request(
                        method, path.format(**{**given, name: number}), headers=headers(path, given)
                    )
                    if answer.status_code >= 500:
                        failed.append((method, path, name, number[:25]))
    assert failed == []


BODIES: dict[str, dict[str, Any]] = {
    "/v1/triage/issues": {"title": "t", "severity": "low", "category": "c", "description": "d", "owner_id": "u"},
    "/v1/triage/issues/{issue_id}": {"title": "t"},
    "/v1/triage/issues/{issue_id}/flags": {"call_id": "call-card", "type": "a", "message_index": 1, "note": "n"},
}


async def test_no_route_fails_over_a_large_integer_in_its_body(desk: httpx2.AsyncClient, given: dict[str, str]) -> None:
    failed = list[Any]()
    for method, path, described in routes():
        content = described.get("requestBody", {}).get("content", {}).get("application/json")
        if content is None or method == "GET":
            continue
        body = BODIES.get(path, {})
        for name in resolved(content["schema"]).get("properties", {}):
            for number in LARGE:
                for value in (number, [number], {"k": number}):
                    answer = await desk.request(
                        method,
                        path.format(**given),
                        content=json.dumps({**body, name: value}).encode(),
                        headers=headers(path, given) | {"content-type": "application/json"},
                    )
                    if answer.status_code >= 500:
                        failed.append((method, path, name, str(value)[:25]))
    assert failed == []


@pytest.mark.parametrize("operator", ["eq", "gt", "gte", "lt", "lte"])
async def test_a_filter_of_conversations_compares_with_any_integer(
    desk: httpx2.AsyncClient, given: dict[str, str], operator: str
) -> None:
    assert given
    for number in LARGE:
        filters = f'[{{"field": "message_count", "operator": "{operator}", "value": {number}}}]'
        answer = await desk.get("/v1/sms/conversations", params={"filters": filters})
        if number == 10**400:  # no number of JSON that others read
            assert answer.status_code == 400
            continue
        assert answer.status_code == 200, (number, answer.text)
        fits = {"eq": False, "gt": number < 0, "gte": number < 0, "lt": number > 0, "lte": number > 0}
        assert len(answer.json()["data"]) == int(fits[operator]), number


IMPORTED: dict[str, Any] = {
    "call": {
        "call_id": "c-1", "created_at": "2026-05-01T10:00:00Z", "call_length": 2, "price": 1, "ended_at": 1777629600,
        "corrected_duration": 3, "max_duration": 4, "pathway_version": 5, "from": "+1",
        "turns": [{"speaker": 1, "text": "hello", "start_ms": 5, "duration_ms": 6, "created_at": 7}],
        "pathway_events": [{"sequence": 1, "event_type": "x", "node_id": None, "operation_id": 2, "payload": {"n": 3},
                            "created_at": 1777629600}],
        "corrected": [{"start": 1, "end": 2, "text": "hello", "speaker": 1, "confidence": 1}],
        "event_stream_data": [{"timestamp": "a", "message": "m", "level": 1}], "metadata": {"n": 1},
    },
    "sms": {
        "kind": "sms_conversation", "conversation_id": "s-1", "created_at": 1777629600, "updated_at": 1777629600,
        "timed_out_at": 1777629600, "message_count": 1, "variables": {"n": 1}, "disposition_logs": [{"n": 1}],
        "messages": [{"id": 1, "sender": "user", "text": "hi", "created_at": 1777629600, "n": 1}],
    },
    "file": {"kind": "file", "name": "n", "base64": "aGk=", "metadata": {"size": 1}},
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", IMPORTED)
async def test_an_import_takes_or_names_a_large_integer(desk: httpx2.AsyncClient, kind: str) -> None:
    failed = list[Any]()
    for place in places(IMPORTED[kind]):
        value = at(IMPORTED[kind], place)
        if not isinstance(value, int) or isinstance(value, bool):
            continue
        for number in LARGE:
            line = json.dumps(with_changed(IMPORTED[kind], place, number)).encode()
            answer = await desk.post("/v1/calls/import", content=line)
            if answer.status_code not in {200, 400}:
                failed.append((place, number))
                continue
            for path in ("/v1/calls", "/v1/calls/c-1", "/v1/pathway_calls/c-1", "/v1/sms/conversations",
                         "/v1/event_stream/c-1", "/v1/calls?duration_gt=1", "/v1/sms/conversations/s-1"):  # fmt: skip
                if (await desk.get(path)).status_code >= 500:
                    failed.append((place, number, path))
    assert failed == []


async def test_no_large_integer_of_a_link_or_a_token_fails(desk: httpx2.AsyncClient, given: dict[str, str]) -> None:
    assert given
    for number in LARGE:
        blob = await desk.put(f"{DESK_URL}/blobs/{'a' * 32}", params={"expires": number, "signature": number})
        assert blob.status_code < 500
