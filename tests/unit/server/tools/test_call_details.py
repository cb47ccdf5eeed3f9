"""What a call left besides its transcript, and who an issue can belong to."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest
from conftest import CALLS, call_line, load_lines
from mcp.client import Client
from tokens import real_tokens
from tool_calls import filed, ok, refused
from vendors import agent_before

from calltriage.desk.app import Desk
from calltriage.leaves.gate import compact, estimate_tokens


def event(sequence: int, **more: Any) -> dict[str, Any]:
    return {
        "sequence": sequence, "event_type": "node.transition", "node_id": f"n-{sequence}", "operation_id": None,
        "payload": None, "created_at": "2026-05-01T10:00:01Z", **more,
    }  # fmt: skip


def line(number: int, text: str) -> dict[str, Any]:
    return {"start": number / 2, "end": number / 2 + 0.4, "text": text, "speaker_label": "user", "confidence": 0.65}


async def whole(agent: Client, tool: str, **arguments: Any) -> list[dict[str, Any]]:
    """Every page, following next_cursor."""
    pages = [await ok(agent, tool, **arguments)]
    while "next_cursor" in pages[-1]:
        assert len(pages) < 100, "in circles"
        pages.append(await ok(agent, tool, **arguments, cursor=pages[-1]["next_cursor"]))
    return pages


async def test_the_transcript_from_the_recording_is_read_with_its_seconds(full_agent: Client, the_desk: Desk) -> None:
    said = [f"line {n} of the recording" for n in range(200)]
    await load_lines(the_desk, call_line("call-rec", "hi", corrected=[line(n, text) for n, text in enumerate(said)]))
    pages = await whole(full_agent, "get_corrected_transcript", call_id="call-rec", max_tokens=1500)
    assert [row["text"] for page in pages for row in page["items"]] == said
    assert pages[0]["items"][1] == line(1, said[1])
    assert (pages[0]["total"], pages[0]["complete"], pages[-1]["complete"]) == (200, False, True)
    assert all(real_tokens(compact(page)) <= 1500 for page in pages)


async def test_a_call_without_a_recording_says_so(full_agent: Client, the_desk: Desk) -> None:
    await load_lines(the_desk, *CALLS)
    error = await refused(full_agent, "get_corrected_transcript", call_id="call-card")
    assert error["code"] == "not_found"


@pytest.mark.slow
async def test_the_way_through_a_pathway_is_read_in_order_whatever_its_payloads_are(
    full_agent: Client, the_desk: Desk
) -> None:
    events = [event(n, payload={"note": "the webhook answered " * n * 4}) for n in range(60, 0, -1)]
    events.append(event(61, payload={f"key {n}": "v" for n in range(5000)}))
    events.append(event(62, event_type="漢" * 200, node_id="漢" * 200))
    await load_lines(the_desk, call_line("call-path", "hi", pathway_events=events))
    for budget in (500, 6000):
        pages = await whole(full_agent, "get_pathway_call_events", call_id="call-path", max_tokens=budget)
        rows = [row for page in pages for row in page["items"]]
        assert len(rows) == 62
        assert [row["sequence"] for row in rows[:61]] == list(range(1, 62))
        assert all(real_tokens(compact(page)) <= budget for page in pages)
        assert not any(page["complete"] and "omitted" in page for page in pages)
    assert rows[0]["payload"] == {"note": "the webhook answered " * 4}
    assert rows[59]["payload_text"].startswith('{"note":"the webhook answered')


@pytest.mark.slow
async def test_the_call_that_reads_a_payload_on_is_paid_for_whatever_its_id_costs(
    full_agent: Client, the_desk: Desk
) -> None:
    call_id = "a1B2-" * 25
    events = [event(n, payload={f"field_{m}": f"value {m}" for m in range(40)}) for n in range(30)]
    await load_lines(the_desk, call_line(call_id, "hi", pathway_events=events))
    for budget in range(500, 1500, 17):
        page = await ok(full_agent, "get_pathway_call_events", call_id=call_id, max_tokens=budget)
        assert page["omitted"]
        assert estimate_tokens(compact(page)) <= budget


async def test_a_payload_of_many_members_is_read_to_its_end(full_agent: Client, the_desk: Desk) -> None:
    payload = {f"field_{n}": f"value {n}" for n in range(400)}
    events = [event(1), event(2, payload=payload), event(3, payload={"short": 1}), event(4, payload=payload)]
    await load_lines(the_desk, call_line("call-hook", "hi", pathway_events=events))
    page = await ok(full_agent, "get_pathway_call_events", call_id="call-hook")
    assert (page["returned"], page["complete"]) == (4, False)
    (gap,) = page["omitted"]
    assert (gap["section"], gap["left_out"]) == ("payloads", 2)
    text, calls, step = "", set[str](), gap["try_next"]["arguments"]
    while "." in step["cursor"]:
        assert step["cursor"] not in calls, "in circles"
        calls.add(step["cursor"])
        part = await ok(full_agent, "get_pathway_call_events", **step, max_tokens=1000)
        assert real_tokens(compact(part)) <= 1000
        text += part["items"][0]["payload_text"]
        step = {"call_id": "call-hook", "cursor": part["next_cursor"]}
    assert json.loads(text) == payload
    rest = await ok(full_agent, "get_pathway_call_events", **step)
    assert [row["sequence"] for row in rest["items"]] == [3, 4], "and the way goes on after it"
    for beyond in ("9", "1.99999999"):
        error = await refused(full_agent, "get_pathway_call_events", call_id="call-hook", cursor=beyond)
        assert (error["code"], error["field"]) == ("invalid_arguments", "cursor")


async def test_a_colleague_is_found_by_name_and_can_be_given_an_issue(full_agent: Client, the_desk: Desk) -> None:
    issue = await filed(full_agent)
    ada = await the_desk.tenants.add_user(name="Ada Lovelace")
    await the_desk.tenants.add_user(name="Grace Hopper")
    await the_desk.tenants.add_organisation("Other")
    found = await ok(full_agent, "list_org_members", name="LOVE")
    assert found["items"] == [{"user_id": ada.user_id, "name": "Ada Lovelace"}]
    assert found["trust"] == "untrusted"
    assert (await ok(full_agent, "list_org_members"))["total"] == 3
    changed = await ok(full_agent, "update_issue", issue_id=issue["id"], assignee_id=ada.user_id)
    assert changed["assignee_id"] == ada.user_id


async def test_members_of_an_organisation_without_issues_are_not_known_yet(full_agent: Client) -> None:
    error = await refused(full_agent, "list_org_members")
    assert error["code"] == "not_found"
    assert "File one first" in error["message"]


async def test_what_happened_on_the_platform_is_read_page_by_page(full_agent: Client, the_desk: Desk) -> None:
    events = [
        {
            "level": "call",
            "category": "info",
            "message": f"event {n}",
            "timestamp": f"2026-05-01T10:{n:02}:00Z",
            "leg": n,
        }
        for n in range(50)
    ]
    await load_lines(the_desk, call_line("call-ev", "hi", event_stream_data=[*events, {"message": "x" * 90_000}]))
    pages = await whole(full_agent, "get_call_event_stream", call_id="call-ev", max_tokens=500)
    rows = [row for page in pages for row in page["items"]]
    assert rows[:50] == events
    assert rows[50]["characters_left_out"]["message"] > 80_000
    assert all(real_tokens(compact(page)) <= 500 for page in pages)
    assert (await ok(full_agent, "get_call_event_stream", call_id="call-card"))["items"] == []
    assert (await refused(full_agent, "get_call_event_stream", call_id="nobody"))["code"] == "not_found"


@pytest.mark.parametrize(
    "around", [lambda events: events, lambda events: {"status": "success", "event_stream_data": events}]
)
async def test_events_are_read_with_an_object_around_them_and_without(around: Any) -> None:
    events = [
        {"level": "call", "message": "Call connected", "category": "info", "timestamp": "2026-09-07T18:30:00.000Z"},
        7,
    ]

    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json=around(events))

    async with agent_before(answer) as agent:
        page = await ok(agent, "get_call_event_stream", call_id="c-1")
    assert page["items"][0] == events[0]
    assert page["trust"] == "untrusted"
