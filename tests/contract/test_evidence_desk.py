"""Calls and conversations on the desk, raw: every filter and sort of the contract, and what a line of an import becomes."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
from conftest import KEY, call_line, load_lines

from calltriage.desk.app import Desk
from calltriage.errors import ImportFileError


def conversation(name: str, day: int, *texts: str, **more: Any) -> str:
    messages = [{"sender": ("user", "agent")[n % 2], "text": text} for n, text in enumerate(texts)]
    line = {"kind": "sms_conversation", "conversation_id": name, "created_at": f"2026-05-{day:02d}T10:00:00Z"}
    return json.dumps({**line, "messages": messages, **more})


CONVERSATIONS = [
    conversation("convo_a", 1, "Is it open?", "Yes, until six.", user_number="+15550001111", agent_number="+15552223333",
                 is_active=True, variables={"city": "Oslo"}, curr_pathway_id="p1", curr_pathway_version="2",
                 current_node_id="n1", summary="Asks for hours.", timed_out_at="2026-05-01T12:00:00Z", campaign="spring"),
    conversation("convo_b", 2, "Hello", user_number="+15550002222", curr_pathway_id="P1",
                 timed_out_at="2026-05-02T12:00:00+02:00"),
    conversation("convo_c", 3, user_number="+44555", is_active=True, updated_at="2026-06-01T00:00:00Z"),
]  # fmt: skip


async def listed(desk: httpx2.AsyncClient, **query: Any) -> list[str]:
    answer = await desk.get("/v1/sms/conversations", params=query)
    assert answer.status_code == 200, answer.text
    return [row["id"] for row in answer.json()["data"]]


async def test_a_conversation_reads_as_the_documented_object(desk: httpx2.AsyncClient, the_desk: Desk) -> None:
    await load_lines(the_desk, *CONVERSATIONS)
    answer = await desk.get("/v1/sms/conversations/convo_a")
    assert answer.json() == {
        "data": {
            "id": "convo_a",
            "created_at": "2026-05-01T10:00:00.000Z",
            "updated_at": "2026-05-01T10:00:00.000Z",
            "user_number": "+15550001111",
            "agent_number": "+15552223333",
            "variables": {"city": "Oslo"},
            "current_node_id": "n1",
            "curr_pathway_id": "p1",
            "curr_pathway_version": "2",
            "timed_out_at": "2026-05-01T12:00:00.000Z",
            "is_active": True,
            "effective_channel": "sms",
            "summary": "Asks for hours.",
            "disposition_tag": None,
            "disposition_logs": [],
            "pathway_tags": None,
            "campaign": "spring",
            "messages": [
                {"id": 1, "created_at": "2026-05-01T10:00:00.000Z", "message": "Is it open?", "from": "+15550001111",
                 "to": "+15552223333", "sender": "USER", "status": None, "error_code": None},
                {"id": 2, "created_at": "2026-05-01T10:00:00.000Z", "message": "Yes, until six.", "from": "+15552223333",
                 "to": "+15550001111", "sender": "AGENT", "status": None, "error_code": None},
            ],
        },
        "errors": None,
    }  # fmt: skip


async def test_a_list_of_conversations_has_no_messages_but_says_how_many(
    desk: httpx2.AsyncClient, the_desk: Desk
) -> None:
    await load_lines(the_desk, *CONVERSATIONS)
    body = (await desk.get("/v1/sms/conversations", params={"page": 2, "pageSize": 2})).json()
    assert body["extra"]["pagination"] == {"totalItems": 3, "totalPages": 2, "currentPage": 2, "pageSize": 2}
    (row,) = body["data"]
    assert (row["id"], row["message_count"], row["last_message"]) == ("convo_a", 2, "Yes, until six.")
    assert row["last_message_at"] == "2026-05-01T10:00:00.000Z"
    assert not {"messages", "disposition_logs"} & row.keys()


SORTED = [
    ("created_at", "abc"), ("updated_at", "abc"), ("user_number", "abc"), ("agent_number", "bca"),
    ("is_active", "bac"), ("message_count", "cba"), ("curr_pathway_id", "cba"), ("curr_pathway_version", "bca"),
    ("timed_out_at", "cab"),
]  # fmt: skip


async def test_conversations_are_sorted_by_each_key_in_both_directions(
    desk: httpx2.AsyncClient, the_desk: Desk, subtests: pytest.Subtests
) -> None:
    await load_lines(the_desk, *CONVERSATIONS)
    for key, ascending in SORTED:
        with subtests.test(key=key):
            wanted = [f"convo_{letter}" for letter in ascending]
            assert await listed(desk, sortBy=key, sortDir="asc") == wanted
            assert await listed(desk, sortBy=key, sortDir="desc") == wanted[::-1]


CONVERSATION_FILTERS: list[tuple[str, str, Any, str]] = [
    ("user_number", "eq", "+15550001111", "a"), ("user_number", "contains", "555000", "ab"),
    ("user_number", "startsWith", "+44", "c"), ("user_number", "endsWith", "2222", "b"),
    ("user_number", "startsWith", "%", ""), ("user_number", "contains", "_", ""),
    ("curr_pathway_id", "eq", "p1", "a"), ("curr_pathway_id", "contains", "P", "b"),
    ("curr_pathway_id", "eq", None, "c"),
    ("curr_pathway_version", "eq", "2", "a"), ("current_node_id", "eq", "n1", "a"), ("is_active", "eq", True, "ac"),
    ("is_active", "eq", False, "b"), ("message_count", "eq", 1, "b"), ("message_count", "gt", 0, "ab"),
    ("message_count", "gte", 2, "a"), ("message_count", "lt", 1, "c"), ("message_count", "lte", 1, "bc"),
    ("created_at", "gt", "2026-05-02", "bc"), ("created_at", "lte", "2026-05-02T12:00:00+02:00", "ab"),
    ("created_at", "startsWith", "2026-05-03", "c"), ("updated_at", "gte", "2026-06-01T00:00:00Z", "c"),
    ("timed_out_at", "lt", "2026-05-02T00:00:00Z", "a"), ("timed_out_at", "eq", "2026-05-02T10:00:00Z", "b"),
    ("variables", "contains", "Oslo", "a"), ("variables", "eq", None, "bc"),
]  # fmt: skip


async def test_conversations_are_filtered_by_each_field_and_operator(
    desk: httpx2.AsyncClient, the_desk: Desk, subtests: pytest.Subtests
) -> None:
    await load_lines(the_desk, *CONVERSATIONS)
    for field, operator, value, wanted in CONVERSATION_FILTERS:
        with subtests.test(field=field, operator=operator, value=value):
            filters = json.dumps([{"field": field, "operator": operator, "value": value}])
            assert await listed(desk, filters=filters, sortDir="asc") == [f"convo_{letter}" for letter in wanted]


async def test_filters_of_conversations_all_apply_and_count_in_the_total(
    desk: httpx2.AsyncClient, the_desk: Desk
) -> None:
    await load_lines(the_desk, *CONVERSATIONS)
    both = [
        {"field": "is_active", "operator": "eq", "value": True},
        {"field": "message_count", "operator": "gt", "value": 0},
    ]
    body = (await desk.get("/v1/sms/conversations", params={"filters": json.dumps(both)})).json()
    assert [row["id"] for row in body["data"]] == ["convo_a"]
    assert body["extra"]["pagination"]["totalItems"] == 1


@pytest.mark.parametrize(
    "filters",
    [
        "x", "{}", "[1]", "[{}]", '[{"field": "id", "operator": "eq", "value": "a"}]',
        '[{"field": "user_number", "operator": "like", "value": "a"}]', '[{"field": "user_number", "operator": "eq"}]',
        '[{"field": "user_number", "operator": "eq", "value": 5}]',
        '[{"field": "is_active", "operator": "gt", "value": true}]',
        '[{"field": "message_count", "operator": "contains", "value": 1}]',
        '[{"field": "message_count", "operator": "eq", "value": true}]',
        '[{"field": "created_at", "operator": "gt", "value": "soon"}]',
        '[{"field": "created_at", "operator": "gt", "value": "0001-01-01T00:00:00+14:00"}]',
        '[{"field": "user_number", "operator": "gt", "value": null}]',
        '[{"field": "user_number", "operator": "eq", "value": "a", "more": 1}]',
        json.dumps([{"field": "user_number", "operator": "eq", "value": "a"}] * 21),
    ],
)  # fmt: skip
async def test_a_filter_of_conversations_that_makes_no_sense_is_400(desk: httpx2.AsyncClient, filters: str) -> None:
    answer = await desk.get("/v1/sms/conversations", params={"filters": filters})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["message"].startswith("filters: ")


async def test_a_conversation_is_evidence_with_its_count_and_without_numbers(
    desk: httpx2.AsyncClient, the_desk: Desk
) -> None:
    await load_lines(the_desk, *CONVERSATIONS)
    issue = {"title": "t", "severity": "low", "category": "Bug"}
    path = f"/v1/triage/issues/{(await desk.post('/v1/triage/issues', json=issue)).json()['data']['id']}/resources"
    link = (await desk.post(path, json={"resource_type": "sms_conversation", "resource_id": "convo_a"})).json()["data"]
    assert link["title"] == "Asks for hours."
    assert link["metadata"] == {"created_at": "2026-05-01T10:00:00.000Z", "message_count": 2}


CALLS = [
    call_line("call-1", "a", created_at="2026-06-01T23:30:00Z", **{"from": "+1", "to": "+2"}, completed=True, inbound=False,
              answered_by="human", batch_id="b1", campaign_id="c1", ended_at="2026-06-01T23:32:00Z"),
    call_line("call-2", "b", created_at="2026-06-02T10:00:00Z", **{"from": "+3", "to": "+4"}, completed=False, inbound=True,
              answered_by="voicemail", ended_at="2026-06-02T10:10:00Z"),
    call_line("call-3", "c", created_at="2026-06-03T10:00:00Z"),
]  # fmt: skip


CALL_FILTERS: list[tuple[dict[str, Any], str]] = [
    ({}, "321"), ({"ascending": "true"}, "123"), ({"sort_by": "created_at"}, "321"), ({"from": 1}, "21"),
    ({"from": 1, "to": 2}, "2"), ({"limit": 1}, "3"), ({"from_number": "+1"}, "1"), ({"to_number": "+4"}, "2"),
    ({"completed": "true"}, "31"), ({"completed": "false"}, "2"), ({"inbound": "true"}, "2"),
    ({"answered_by": "human"}, "1"), ({"batch_id": "b1"}, "1"), ({"campaign_id": "c1"}, "1"),
    ({"duration_gt": 2}, "2"), ({"duration_lt": 3}, "1"), ({"start_date": "2026-06-02"}, "32"),
    ({"end_date": "2026-06-02"}, "21"), ({"start_date": "2026-06-01T23:30:00Z", "end_date": "2026-06-01"}, "1"),
    ({"created_at": "2026-06-02"}, "2"), ({"created_at": "2026-06-02", "timezone": "Europe/Oslo"}, "21"),
    ({"start_date": "2026-06-02", "timezone": "Europe/Oslo"}, "321"), ({"update_start_date": "2001-01-01"}, "321"),
    ({"update_end_date": "2001-01-01"}, ""), ({"completed": "true", "inbound": "true"}, ""),
    ({"answered_by": "human,voicemail"}, "21"), ({"answered_by": ["voicemail", "human"]}, "21"),
    ({"from_number": "+1, +3"}, "21"), ({"to_number": ["+2,+9", "+4"]}, "21"), ({"batch_id": "b1,b2"}, "1"),
    ({"campaign_id": ["c0", "c1"]}, "1"), ({"limit": 1000}, "321"),
]  # fmt: skip


async def test_calls_are_listed_by_each_filter(
    desk: httpx2.AsyncClient, the_desk: Desk, subtests: pytest.Subtests
) -> None:
    await load_lines(the_desk, *CALLS)
    for query, wanted in CALL_FILTERS:
        with subtests.test(query=query):
            narrow = {"start_date": "2026-06-01", **query} if "created_at" not in query else query
            answer = (await desk.get("/v1/calls", params=narrow)).json()
            assert [row["call_id"] for row in answer["calls"]] == [f"call-{letter}" for letter in wanted]


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ({"created_at": "2026-06-02", "start_date": "2026-06-01"}, "created_at"), ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"timezone": "../etc"}, "timezone"), ({"start_date": "2026-02-30"}, "start_date"),
        ({"end_date": "9999-12-31T23:59:59-14:00"}, "end_date"), ({"start_date": "0001-01-01T00:00:00+14:00"}, "start_date"),
        ({"created_at": "2026-06-02T10:00:00Z"}, "created_at"), ({"update_start_date": "soon"}, "update_start_date"),
        ({"limit": "1001"}, "limit"), ({"limit": "0"}, "limit"),
        ({"batch_id": ",".join("abcdefghijklmnopqrstu")}, "batch_id"),
    ],
)  # fmt: skip
async def test_a_filter_of_calls_that_makes_no_sense_is_named_in_a_400(
    desk: httpx2.AsyncClient, query: dict[str, str], named: str
) -> None:
    answer = await desk.get("/v1/calls", params=query)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["message"].startswith(f"{named}: ")


DOCUMENTED_CALL: dict[str, Any] = {
    "call_id": "12345678-1234-1234-1234-123456789012",
    "call_length": 0.75,
    "to": "+12223334444",
    "from": "+17163511654",
    "completed": True,
    "inbound": False,
    "created_at": "2024-04-27T23:51:18.025251+00:00",
    "queue_status": "completed",
    "status": "completed",
    "answered_by": "human",
    "record": False,
    "recording_url": None,
    "summary": "Customer booked three rooms for the next day.",
    "pathway_id": "b1693602-c05e-4b5c-b187-d0189a42aebf",
    "pathway_version": 1,
    "pathway_logs": None,
    "corrected_duration": "45",
    "transcripts": [
        {"id": 7395694, "created_at": "2024-04-27T23:51:28.568385+00:00", "text": "Hello?", "user": "user"},
        {
            "id": 7395698,
            "created_at": "2024-04-27T23:51:30.689815+00:00",
            "text": "Hi there! I am calling from the hotel booking service.",
            "user": "assistant",
        },
    ],
}
DOCUMENTED_FIELDS = {
    "call_id", "c_id", "created_at", "started_at", "end_at", "call_length", "corrected_duration", "to", "from", "inbound",
    "completed", "status", "queue_status", "error_message", "answered_by", "call_ended_by", "summary",
    "concatenated_transcript", "transcripts", "variables", "metadata", "request_data", "analysis", "record",
    "recording_url", "price", "pathway_id", "pathway_version", "pathway_logs", "batch_id", "transferred_to",
    "transferred_at", "voice_id", "is_proxy_agent_call", "is_canary", "warm_transfer_call", "citations", "endpoint_url",
    "max_duration",
}  # fmt: skip


async def test_the_documented_call_reads_back_as_it_was_documented(desk: httpx2.AsyncClient) -> None:
    loaded = await desk.post("/v1/calls/import", json=DOCUMENTED_CALL)
    assert loaded.status_code == 200, loaded.text
    call = (await desk.get(f"/v1/calls/{DOCUMENTED_CALL['call_id']}")).json()
    said = {name: value for name, value in DOCUMENTED_CALL.items() if name != "transcripts"}
    assert {name: call[name] for name in said} == said
    words = [
        {"created_at": turn["created_at"], "text": turn["text"], "user": turn["user"]} for turn in call["transcripts"]
    ]
    assert words == [
        {name: turn[name] for name in ("created_at", "text", "user")} for turn in DOCUMENTED_CALL["transcripts"]
    ]
    assert (call["c_id"], call["metadata"], call["variables"]) == (call["call_id"], {}, None)


async def test_a_call_has_every_documented_field_and_ended_well_unless_it_is_told(
    desk: httpx2.AsyncClient, the_desk: Desk
) -> None:
    await load_lines(
        the_desk,
        call_line("plain", "a"),
        call_line("failed", "a", error_message="No route.", queue_status="call_error"),
        call_line("live", "a", queue_status="started"),
        call_line("open", "a", completed=False),
        call_line("odd", "a", status={"a": 1}, variables="none", price=True, pathway_logs=7, ended_by="x"),
    )
    calls = {row["call_id"]: row for row in (await desk.get("/v1/calls")).json()["calls"]}
    states = dict[str, Any]()
    for name in ("plain", "failed", "live", "open", "odd"):
        call = (await desk.get(f"/v1/calls/{name}")).json()
        assert call.keys() == DOCUMENTED_FIELDS
        row = {field: value for field, value in calls[name].items() if field != "issues"}  # the desk's own
        assert row == {field: call[field] for field in row}
        states[name] = (call["completed"], call["status"], call["queue_status"], call["error_message"])
    assert states == {
        "plain": (True, "completed", "complete", None),
        "failed": (True, None, "call_error", "No route."),
        "live": (False, None, "started", None),
        "open": (False, None, None, None),
        "odd": (True, "completed", "complete", None),
    }
    kept = (await desk.get("/v1/calls/odd")).json()["metadata"]
    assert kept == {"status": {"a": 1}, "variables": "none", "price": True, "pathway_logs": 7, "ended_by": "x"}
    ended = (await desk.get("/v1/calls", params={"completed": "false"})).json()["calls"]
    assert {row["call_id"] for row in ended} == {"live", "open"}


async def test_the_vendors_own_metadata_of_a_call_stays_its_metadata(desk: httpx2.AsyncClient) -> None:
    body = {**DOCUMENTED_CALL, "metadata": {"shop": "north", "to": "us"}, "unheard_of": [1]}
    await desk.post("/v1/calls/import", json=body)
    call = (await desk.get(f"/v1/calls/{DOCUMENTED_CALL['call_id']}")).json()
    assert (call["to"], call["metadata"]) == ("+12223334444", {"shop": "north", "to": "us", "unheard_of": [1]})


async def test_a_page_of_calls_holds_a_thousand(desk: httpx2.AsyncClient, the_desk: Desk) -> None:
    await load_lines(the_desk, *(call_line(f"n-{n}", "a") for n in range(1001)))
    for query in ({}, {"limit": 1000}):
        page = (await desk.get("/v1/calls", params=query)).json()
        assert (page["count"], len(page["calls"]), page["total_count"]) == (1000, 1000, 1003)


ODD_EVENTS = [
    {"timestamp": 1777629600, "level": 1, "category": {"a": 1}, "message": ["x"], "call_id": None, "leg": 3},
    "hung up", 7, None, ["a"], True, {}, {"message": "Call connected", "level": "call"},
]  # fmt: skip


async def test_events_of_an_imported_call_have_the_documented_types_and_none_is_lost(
    desk: httpx2.AsyncClient, the_desk: Desk
) -> None:
    await load_lines(the_desk, call_line("call-odd-ev", "hi", event_stream_data=ODD_EVENTS))
    assert (await desk.get("/v1/event_stream/call-odd-ev")).json() == [
        {"timestamp": "1777629600", "level": "1", "category": '{"a":1}', "message": '["x"]', "leg": 3},
        {"message": "hung up"}, {"message": "7"}, {}, {"message": '["a"]'}, {"message": "true"}, {},
        {"message": "Call connected", "level": "call"},
    ]  # fmt: skip


async def test_what_other_clients_ask_for_first_is_answered_as_documented(
    desk: httpx2.AsyncClient, the_desk: Desk
) -> None:
    where = "https://recordings.example/1.mp3"
    await load_lines(the_desk, call_line("recorded", "a", recording_url=where))
    me = await desk.get("/v1/me")
    assert me.json() == {"status": "active", "billing": {"current_balance": 0, "refill_to": None}, "total_calls": 3}
    assert (await desk.get("/v1/calls/active")).json() == {"data": [], "errors": None}
    assert (await desk.get("/v1/event_stream/call-card")).json() == []
    assert (await desk.get("/v1/calls/call-card/events")).json() == []
    url = await desk.get("/v1/calls/recorded/recording")
    assert url.json() == {"code": 200, "status": "success", "url": where}
    for path, code in {
        "/v1/calls/call-card/recording": "CALL_RECORDING_NOT_FOUND",
        "/v1/recordings/call-card": "CALL_RECORDING_NOT_FOUND",
        "/v1/recordings/nobody": "CALL_NOT_FOUND",
        "/v1/event_stream/nobody": "CALL_NOT_FOUND",
        "/v1/calls/nobody/events": "CALL_NOT_FOUND",
    }.items():
        answer = await desk.get(path)
        assert (answer.status_code, answer.json()["errors"][0]["error"]) == (404, code), path


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/calls"), ("POST", "/v1/calls/call-card/stop"), ("POST", "/v1/calls/active/stop"),
        ("POST", "/v1/calls/analyze"), ("POST", "/v1/calls/call-card/analyze"), ("GET", "/v1/voices"),
        ("GET", "/v1/convo_pathway"), ("GET", "/v1/inbound"), ("POST", "/v1/sms/send"), ("POST", "/v2/batches/create"),
        ("POST", "/v1/files/attach"), ("DELETE", "/v1/knowledge/k-1"), ("GET", "/v1/postcall/webhooks/call-card"),
    ],
)  # fmt: skip
async def test_what_the_desk_does_not_have_is_501_and_says_so(desk: httpx2.AsyncClient, method: str, path: str) -> None:
    answer = await desk.request(method, path)
    assert answer.status_code == 501
    [error] = answer.json()["errors"]
    assert error["error"] == "not_implemented"
    assert "/openapi.json" in error["message"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/triage/nothing", 404), ("POST", "/v1/triage/agents", 405), ("GET", "/attachments/2020-01", 404)],
)
async def test_no_route_of_the_two_contracts_is_missing_without_a_sentence(
    desk: httpx2.AsyncClient, method: str, path: str, status: int
) -> None:
    answer = await desk.request(method, path)
    assert answer.status_code == status
    assert "/openapi.json" in answer.text


@pytest.mark.parametrize(
    "path",
    ["/v1/me", "/v1/calls/active", "/v1/calls/call-card/events", "/v1/event_stream/call-card", "/v1/recordings/x"],
)
async def test_what_other_clients_ask_for_needs_the_key_as_well(desk: httpx2.AsyncClient, path: str) -> None:
    answer = await desk.get(path, headers={"authorization": "wrong"})
    assert (answer.status_code, answer.json()["errors"][0]["error"]) == (401, "AUTH_FAILURE")


async def attachments(desk: httpx2.AsyncClient) -> dict[str, dict[str, Any]]:
    form = {"grant_type": "client_credentials"}
    token = (await desk.post("/oauth/token", data=form, auth=("desk", KEY))).json()["access_token"]
    answer = await desk.get("/attachments/2023-03", headers={"authorization": f"Bearer {token}"})
    return {row["name"]: row for row in answer.json()["_embedded"]["list"]}


async def test_a_file_line_becomes_an_attachment_with_its_bytes(
    desk: httpx2.AsyncClient, the_desk: Desk, tmp_path: Path
) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "deep" / "may.pdf").write_bytes(b"%PDF" * 1000)
    lines = [
        json.dumps({"kind": "file", "path": "deep/may.pdf", "metadata": {"month": 5}}),
        json.dumps({"kind": "file", "base64": "aGVsbG8=", "name": "hello.txt", "file_id": "file-1"}),
    ]
    report = await load_lines(the_desk, *lines, folder=tmp_path / "in")
    assert (report.added, report.unchanged) == (2, 0)
    report = await load_lines(the_desk, *lines, folder=tmp_path / "in")
    assert (report.added, report.unchanged) == (0, 2)
    found = await attachments(desk)
    assert (found["may.pdf"]["size"], found["may.pdf"]["type"]) == (4000, "application/pdf")
    assert found["may.pdf"]["metadata"] == {"month": 5}
    assert (found["hello.txt"]["id"], found["hello.txt"]["type"]) == ("file-1", "text/plain")
    form = {"grant_type": "client_credentials"}
    token = (await desk.post("/oauth/token", data=form, auth=("desk", KEY))).json()["access_token"]
    path = f"/attachments/2023-03/{found['may.pdf']['id']}/download-link"
    link = (await desk.get(path, headers={"authorization": f"Bearer {token}"})).json()["url"]
    del desk.headers["authorization"]
    fetched = (await desk.get(link)).content
    assert hashlib.sha256(fetched).digest() == hashlib.sha256(b"%PDF" * 1000).digest()


async def test_a_file_that_is_a_calls_recording_is_answered_as_its_audio(
    desk: httpx2.AsyncClient, the_desk: Desk
) -> None:
    wav = b"RIFF\x24\0\0\0WAVEfmt " + b"\0\1" * 500
    line = {"kind": "file", "name": "one.wav", "type": "audio/wav", "base64": base64.b64encode(wav).decode()}
    await load_lines(the_desk, json.dumps({**line, "recording_of": "call-card", "metadata": {"shop": "north"}}))
    answer = await desk.get("/v1/recordings/call-card", headers={"content-type": "audio/wav"})
    assert (answer.status_code, answer.headers["content-type"], answer.content) == (200, "audio/wav", wav)
    part = await desk.get("/v1/recordings/call-card", headers={"range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, wav[4:8])
    assert (await attachments(desk))["one.wav"]["metadata"] == {"shop": "north", "recording_of": "call-card"}
    other = await desk.get("/v1/recordings/call-hours")
    assert (other.status_code, other.json()["errors"][0]["error"]) == (404, "CALL_RECORDING_NOT_FOUND")
    assert (await desk.get("/v1/recordings/call-card", headers={"authorization": "wrong"})).status_code == 401
    stranger = await the_desk.tenants.add_organisation("B")
    assert (await desk.get("/v1/recordings/call-card", headers={"authorization": stranger.key})).status_code == 404


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ({"path": "../outside.txt"}, "path: must stay below"), ({"path": "/etc/hostname"}, "path: must stay below"),
        ({"path": "leads-out"}, "path: must stay below"), ({"path": "absent"}, "path: names no file"),
        ({"path": "."}, "path: names no file"), ({"path": "a\x00b"}, "path: "), ({"path": ""}, "path: "),
        ({"path": "x" * 5000}, "path: "), ({}, "give either"), ({"path": "good.txt", "base64": "aA=="}, "give either"),
        ({"base64": "aA=="}, "name: is needed"), ({"base64": "not base64!", "name": "n"}, "base64: is not base64"),
        ({"path": "good.txt", "name": "n" * 65}, "name: "), ({"path": "good.txt", "type": "image/*"}, "type: "),
        ({"path": "good.txt", "metadata": {"a": {}}}, "metadata: "), ({"path": "good.txt", "file_id": "a/b"}, "file_id: "),
        ({"path": "good.txt", "more": 1}, "holds a field that"),
    ],
)  # fmt: skip
async def test_a_file_line_stays_below_its_folder_and_says_what_is_wrong(
    the_desk: Desk, tmp_path: Path, line: dict[str, Any], complaint: str
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "good.txt").write_text("good")
    (tmp_path / "outside.txt").write_text("secret")
    (folder / "leads-out").symlink_to(tmp_path / "outside.txt")
    with pytest.raises(ImportFileError, match=rf"^line 1: {complaint}"):
        await load_lines(the_desk, json.dumps({"kind": "file", **line}), folder=folder)


async def test_lines_without_a_folder_name_no_paths(the_desk: Desk) -> None:
    with pytest.raises(ImportFileError, match="give base64"):
        await load_lines(the_desk, json.dumps({"kind": "file", "path": "a.txt"}))


async def test_a_file_is_never_replaced_and_nothing_is_loaded_then(desk: httpx2.AsyncClient, the_desk: Desk) -> None:
    await load_lines(the_desk, json.dumps({"kind": "file", "base64": "aGVsbG8=", "name": "a.txt"}))
    other = json.dumps({"kind": "file", "base64": "b3RoZXI=", "name": "a.txt"})
    with pytest.raises(ImportFileError, match=r"^line 2: the desk has another file"):
        await load_lines(the_desk, call_line("new", "hello"), other)
    assert (await desk.get("/v1/calls/new")).status_code == 404
    assert (await attachments(desk))["a.txt"]["size"] == 5


async def test_members_of_the_own_organisation_are_listed_and_of_no_other(
    desk: httpx2.AsyncClient, the_desk: Desk
) -> None:
    issue = {"title": "t", "severity": "low", "category": "Bug"}
    made = (await desk.post("/v1/triage/issues", json=issue)).json()["data"]
    colleague = await the_desk.tenants.add_user(name="Ada King Lovelace")
    stranger = await the_desk.tenants.add_organisation("B")
    answer = await desk.get(f"/v1/orgs/{made['org_id']}/members")
    assert answer.json()["errors"] is None
    assert {row["user_id"] for row in answer.json()["data"]} == {made["author_id"], colleague.user_id}
    assert {row["org_id"] for row in answer.json()["data"]} == {made["org_id"]}
    named = next(row for row in answer.json()["data"] if row["user_id"] == colleague.user_id)
    assert (named["first_name"], named["last_name"]) == ("Ada", "King Lovelace")
    for org_id in (stranger.org_id, "unknown"):
        foreign = await desk.get(f"/v1/orgs/{org_id}/members")
        assert (foreign.status_code, foreign.json()["errors"][0]["error"]) == (404, "ORG_NOT_FOUND")
