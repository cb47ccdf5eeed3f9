"""Finding SMS conversations in a vendor's pages, and reading them whole within a budget."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import anyio
import httpx2
import pytest
from conftest import add_conversation, load_lines
from mcp.client import Client
from tokens import real_tokens
from tool_calls import every_row, ok, refused
from vendors import agent_before

from calltriage.desk.app import Desk
from calltriage.leaves.gate import compact


@pytest.mark.parametrize("limit", [None, 1, 7, 100])
async def test_every_conversation_is_listed_once_however_long_a_page_is(
    full_agent: Client, the_desk: Desk, limit: int | None
) -> None:
    for number in range(45):
        await add_conversation(the_desk, f"convo-{number}", "hello", "and so on " * 300)
    rows = await every_row(full_agent, "list_sms_conversations", limit=limit)
    assert len({row["id"] for row in rows}) == len(rows) == 45
    assert not any("messages" in row for row in rows)


async def test_a_conversation_is_read_whole_by_following_what_was_omitted(full_agent: Client, the_desk: Desk) -> None:
    texts = [f"message {n} " + "and so on and so forth " * 20 for n in range(150)]
    await add_conversation(the_desk, "convo-1", *texts, summary="They wrote a lot.")
    seen: list[int] = []
    arguments: dict[str, Any] = {"conversation_id": "convo-1"}
    for _ in range(50):
        window = await ok(full_agent, "get_sms_conversation", **arguments)
        assert real_tokens(compact(window)) <= 6_000
        assert (window["total"], window["conversation"]["trust"]) == (150, "untrusted")
        assert window["conversation"]["summary"] == "They wrote a lot."
        seen += [message["message_index"] for message in window["conversation"]["messages"]]
        if window["complete"]:
            break
        arguments = window["omitted"][0]["try_next"]["arguments"]
    assert seen == list(range(150))
    part = await ok(full_agent, "get_sms_conversation", conversation_id="convo-1", **{"from": 3, "to": 4})
    assert [one["message_index"] for one in part["conversation"]["messages"]] == [3, 4]
    odd = {"conversation_id": "convo-1", "from": 150}
    assert (await refused(full_agent, "get_sms_conversation", **odd))["field"] == "from"


async def test_a_message_longer_than_the_budget_is_shown_in_part(full_agent: Client, the_desk: Desk) -> None:
    await add_conversation(the_desk, "convo-1", "x" * 60_000, "short")
    window = await ok(full_agent, "get_sms_conversation", conversation_id="convo-1")
    assert window["returned"] == 1
    assert [gap["section"] for gap in window["omitted"]] == ["text of turn 0", "transcript"]
    await add_conversation(the_desk, "empty")
    assert (await ok(full_agent, "get_sms_conversation", conversation_id="empty"))["complete"] is True


@pytest.mark.parametrize("length", [1, 590, 650, 716, 3_000])
@pytest.mark.parametrize("filling", ["caller asked about opening hours ", "\u200b"])
@pytest.mark.parametrize("budget", [500, 6_000])
async def test_a_summary_leaves_room_for_messages_and_what_it_lost_is_said(
    full_agent: Client, the_desk: Desk, length: int, filling: str, budget: int
) -> None:
    summary = (filling * length)[:length]
    await add_conversation(the_desk, "convo-1", "hello there", "hi", summary=summary)
    with anyio.fail_after(60):
        window = await ok(full_agent, "get_sms_conversation", conversation_id="convo-1", max_tokens=budget)
    assert real_tokens(compact(window)) <= budget
    assert window["conversation"]["messages"][0]["text"] == "hello there"
    said = {gap["section"]: gap["left_out"] for gap in window.get("omitted", [])}
    shown = window["conversation"].get("summary")
    if shown is None:
        assert said["fields"] == 1
        assert window["conversation"]["left_out"] == ["summary"]
    elif filling != "\u200b":
        assert len(shown) + said.get("characters of summary", 0) == length


async def test_a_window_that_holds_nothing_names_the_argument_and_what_is_counted(
    full_agent: Client, the_desk: Desk
) -> None:
    await add_conversation(the_desk, "convo-1", "hello")
    error = await refused(full_agent, "get_sms_conversation", conversation_id="convo-1", **{"from": 9})
    assert (error["field"], "1 messages" in error["message"]) == ("from", True)
    assert (await refused(full_agent, "get_transcript", call_id="call-card", around=99))["field"] == "around"


ROW = {"created_at": "2024-11-20T14:01:00.000Z", "user_number": "+15550001111", "is_active": True, "message_count": 5}


def conversations(count: int) -> list[dict[str, Any]]:
    return [{"id": f"convo_{n}", **ROW} for n in range(count)]


def paging(
    rows: list[Any], *, size: int | None = None, counted: Any = ..., short: int = 0, repeats: bool = False
) -> Callable[[httpx2.Request], httpx2.Response]:
    """A vendor's list: `size` rows a page whatever was asked for, `counted` as its total (None: not said), the first page
    `short` of some rows, and the same page again and again if it `repeats`."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked = int(request.url.params["pageSize"])
        each, page = size or asked, 1 if repeats else int(request.url.params["page"])
        found = rows[(page - 1) * each : page * each - (short if page == 1 else 0)]
        total = len(rows) if counted is ... else counted
        extra = {} if total is None else {"extra": {"pagination": {"totalItems": total, "currentPage": page}}}
        return httpx2.Response(200, json={"data": found, "errors": None, **extra})

    return answer


async def seen_by(answer: Callable[[httpx2.Request], httpx2.Response], limit: int) -> tuple[list[str], dict[str, Any]]:
    """All ids, page after page, and the last page."""
    ids, cursor = list[str](), None
    async with agent_before(answer) as agent:
        for _ in range(200):
            page = await ok(agent, "list_sms_conversations", limit=limit, cursor=cursor)
            ids += [row["id"] for row in page["items"]]
            cursor = page.get("next_cursor")
            if cursor is None:
                return ids, page
    raise AssertionError("the pages do not end")


@pytest.mark.parametrize("limit", [pytest.param(1, marks=pytest.mark.slow), 20, 25, 42, 100])
@pytest.mark.parametrize("counted", [..., None, "42"])
@pytest.mark.parametrize("size", [10, 21, 25, 60])
async def test_no_conversation_is_lost_however_long_the_vendors_pages_are(size: int, counted: Any, limit: int) -> None:
    ids, last = await seen_by(paging(conversations(42), size=size, counted=counted), limit)
    assert ids == [f"convo_{n}" for n in range(42)]
    assert last["complete"] is True


async def test_a_page_shorter_than_asked_for_does_not_end_a_list_that_counts_more() -> None:
    ids, last = await seen_by(paging(conversations(60), short=3), 20)
    assert ids == [f"convo_{n}" for n in (*range(22), *range(25, 60))]
    assert (last["complete"], last["total"]) == (False, 60)
    assert last["note"].startswith("The API counts 60 conversations and its pages brought 57.")


@pytest.mark.parametrize("counted", [..., None])
@pytest.mark.parametrize("limit", [10, 25, 100])
async def test_a_page_that_repeats_the_one_before_it_ends_the_list_and_is_told(counted: Any, limit: int) -> None:
    ids, last = await seen_by(paging(conversations(42), counted=counted, repeats=True), limit)
    assert ids == [f"convo_{n}" for n in range(25)]
    assert last["complete"] is False
    assert "repeats an earlier one" in last["note"]


async def test_a_page_loses_its_broken_rows_alone_and_none_twice() -> None:
    rows: list[Any] = conversations(42)
    rows[3], rows[30] = {"id": {}}, 17
    ids, last = await seen_by(paging(rows), 100)
    assert len(ids) == len(set(ids)) == 40
    assert (last["unreadable_rows"], last["complete"], last["total"]) == ([3, 30], False, 42)


async def test_a_row_that_moved_to_the_next_page_meanwhile_is_shown_once() -> None:
    rows = conversations(40)
    moved = [*rows[:25], rows[24], *rows[25:39]]
    ids, _ = await seen_by(paging(moved, size=25), 100)
    assert ids == [f"convo_{n}" for n in range(39)]


async def test_the_documented_filters_go_out_as_documented() -> None:
    asked = list[dict[str, str]]()

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(dict(request.url.params))
        return paging([])(request)

    more = [
        {"field": "variables", "operator": "contains", "value": "Oslo"},
        {"field": "message_count", "operator": "gte", "value": "3"},
        {"field": "curr_pathway_id", "operator": "eq"},
    ]
    async with agent_before(answer) as agent:
        given = {
            "user_number": "+15550001111",
            "is_active": False,
            "start_date": "2026-05-01",
            "end_date": "2026-05-02",
        }
        await ok(agent, "list_sms_conversations", **given, filters=more, sort="timed_out_at", order="asc")
    (sent,) = asked
    assert (sent["page"], sent["pageSize"], sent["sortBy"], sent["sortDir"]) == ("1", "25", "timed_out_at", "asc")
    assert [tuple(one.values()) for one in json.loads(sent["filters"])] == [
        ("user_number", "eq", "+15550001111"),
        ("is_active", "eq", False),
        ("created_at", "gte", "2026-05-01T00:00:00.000Z"),
        ("created_at", "lte", "2026-05-02T23:59:59.999Z"),
        ("variables", "contains", "Oslo"),
        ("message_count", "gte", 3),
        ("curr_pathway_id", "eq", None),
    ]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"user_number": "+1"}, ["a"]), ({"agent_number": "+9"}, ["b", "a"]), ({"is_active": True}, ["b"]),
        ({"start_date": "2026-05-02"}, ["b"]), ({"end_date": "2026-05-01"}, ["a"]),
        ({"filters": [{"field": "user_number", "operator": "endsWith", "value": 2}]}, ["b"]),
        ({"filters": {"field": "is_active", "operator": "eq", "value": "false"}}, ["a"]),
        ({"filters": '[{"field": "current_node_id", "operator": "eq", "value": "n"}]'}, ["a"]),
        ({"filters": [{"field": "timed_out_at", "operator": "eq"}], "sort": "user_number", "order": "asc"}, ["a", "b"]),
    ],
)  # fmt: skip
async def test_conversations_are_found_by_what_they_are(
    full_agent: Client, the_desk: Desk, given: dict[str, Any], wanted: list[str]
) -> None:
    line = {"kind": "sms_conversation", "agent_number": "+9", "messages": []}
    first = {"conversation_id": "a", "created_at": "2026-05-01T10:00:00Z", "user_number": "+1", "current_node_id": "n"}
    second = {"conversation_id": "b", "created_at": "2026-05-02T10:00:00Z", "user_number": "+2", "is_active": True}
    await load_lines(the_desk, json.dumps({**line, **first}), json.dumps({**line, **second}))
    found = await ok(full_agent, "list_sms_conversations", **given)
    assert [row["id"] for row in found["items"]] == wanted


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"filters": [{"field": "id", "operator": "eq", "value": "a"}]}, "filters"),
        ({"filters": [{"field": "message_count", "operator": "contains", "value": 1}]}, "filters"),
        ({"filters": [{"field": "created_at", "operator": "gt", "value": "soon"}]}, "filters"),
        ({"filters": [{"field": "user_number", "operator": "eq", "value": "a", "and": 1}]}, "filters"),
        ({"start_date": "2026-02-30"}, "start_date"), ({"cursor": "20"}, "cursor"), ({"cursor": "0.1.1.1"}, "cursor"),
    ],
)  # fmt: skip
async def test_a_filter_that_makes_no_sense_is_refused_by_name(
    full_agent: Client, given: dict[str, Any], field: str
) -> None:
    assert (await refused(full_agent, "list_sms_conversations", **given))["field"] == field


async def test_what_the_parties_and_the_vendor_said_of_a_conversation_is_read_whole(
    full_agent: Client, the_desk: Desk
) -> None:
    line = {
        "kind": "sms_conversation", "conversation_id": "c", "created_at": "2026-05-01T10:00:00Z", "user_number": "+1",
        "agent_number": "+2", "variables": {"city": "Oslo"}, "curr_pathway_id": "p", "disposition_tag": "booked",
        "disposition_logs": [{"disposition_id": "d", "status": "ERROR", "error": "no date"}], "inbound_id": 7,
        "messages": [
            {"sender": "agent", "text": "At nine.", "status": "undelivered", "error_code": 30003},
            {"sender": "user", "text": "", "status": "received", "media_urls": ["https://media.example/door.jpg"]},
            {"sender": "user", "text": "x", "notes": "n" * 90_000},
        ],
    }  # fmt: skip
    await load_lines(the_desk, json.dumps(line))
    window = await ok(full_agent, "get_sms_conversation", conversation_id="c")
    assert real_tokens(compact(window)) <= 6_000
    about = window["conversation"]
    for name in ("user_number", "agent_number", "variables", "curr_pathway_id", "disposition_tag", "disposition_logs"):
        assert about[name] == line[name]
    assert about["inbound_id"] == 7
    failed, media, noted = about["messages"]
    assert (failed["status"], failed["error_code"], failed["text"]) == ("undelivered", "30003", "At nine.")
    assert media["media_urls"] == ["https://media.example/door.jpg"]
    assert "from" not in media
    assert noted["left_out"] == ["notes"]
    assert window["complete"] is False
    (gap,) = window["omitted"]
    assert (gap["section"], gap["left_out"]) == ("facts about messages", 1)
    alone = await ok(full_agent, gap["try_next"]["tool"], **gap["try_next"]["arguments"])
    assert [one["message_index"] for one in alone["conversation"]["messages"]] == [2]
