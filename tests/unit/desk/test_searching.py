"""Calls are found by words that were said in them, on both stores alike."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from conftest import call_line, load_lines
from sqlalchemy import text, update

from calltriage.desk.app import Desk
from calltriage.desk.database.tables import settings
from calltriage.desk.operating.deletion import delete_record

ROUTE = "/v1/calltriage/calls"
CALLS = {
    "hours": ("What are your opening hours?", "We open at nine. The café is closed."),
    "door": ("The door is opening by itself.", "For how many hours?"),
    "refund": ("我想退款", "请稍等"),
    "thai": ("ฉันต้องการคืนเงิน", "ค่ะ"),
    "fee": ("The setup fee is $50.", "I can't pay 1.5 percent."),
    "spoken": ("Come at three thirty, please.", "It costs five hundred dollars, said no one."),
    "written": ("Come at 3:30 to room 7.", "It costs $500 with 5 seats, code 555-0142."),
    "clock": ("Come at half past eight.", "It was nine ninety nine, or twelve dollars and fifty cents."),
    "zip": ("It is zero two one three nine.", "PIN 0441."),
    "german": ("Ich habe das nicht, und es ist elf Uhr.", "Das sind fünfhundertzwanzig Euro."),
}


def lines() -> list[str]:
    return [call_line(name, *said, created_at=f"2026-05-{n:02}T10:00:00Z", **{"from": f"+4{n}", "to": "+1"})
            for n, (name, said) in enumerate(CALLS.items(), 1)]  # fmt: skip


@pytest.fixture
async def here(the_desk: Desk) -> Desk:
    await load_lines(the_desk, *lines())
    return the_desk


async def search(desk: httpx2.AsyncClient, **asked: Any) -> dict[str, Any]:
    answer = await desk.get(ROUTE, params=asked)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def ids(desk: httpx2.AsyncClient, **asked: Any) -> list[str]:
    return [call["call_id"] for call in (await search(desk, **asked))["calls"] if call["call_id"] in CALLS]


QUERIES = {
    "hours opening": ["door", "hours"],
    '"opening hours"': ["hours"],
    "CAFE": ["hours"],
    "open": ["hours"],
    "退款": ["refund"],
    "款退": [],
    "คืนเงิน": ["thai"],
    "$5": [],
    "$50": ["fee"],
    "1.5": ["fee"],
    "can't": ["fee"],
    "can": [],
    "zebra": [],
    "the": ["fee", "door", "hours"],
    "three thirty": ["written", "spoken"],
    "3:30": ["written", "spoken"],
    '"at 3:30"': ["written", "spoken"],
    "thirty three": [],
    "five": ["written"],
    "5": ["written"],
    "$500": ["written", "spoken"],
    "costs $500": ["written", "spoken"],
    "500 costs": ["written", "spoken"],
    "five hundred dollars": ["written", "spoken"],
    "five five five oh one four two": ["written"],
    "seven": ["written"],
    "$50?": ["fee"],
    "one point five": ["fee"],
    "520 Euro": ["german"],
    "520": ["german"],
    "11": ["german"],
    "once": [],
    "elf": ["german"],
    "8:30": ["clock"],
    "half past eight": ["clock"],
    "$9.99": ["clock"],
    "$9.99 was": ["clock"],
    "$999": [],
    "$12.50": ["clock"],
    '"or $12.50"': ["clock"],
    "no one": ["spoken"],
    "02139": ["zip"],
    "2139": [],
    "zero four four one": ["zip"],
    "441": [],
}


async def test_words_are_found_in_any_order_and_phrases_as_they_are(desk: httpx2.AsyncClient, here: Desk) -> None:
    assert {query: await ids(desk, query=query) for query in QUERIES} == QUERIES


async def test_without_an_index_the_answers_are_the_same(desk: httpx2.AsyncClient, here: Desk) -> None:
    change = update(settings).where(settings.c.name == "call_index").values(value="none")
    await here.store.write(lambda connection: connection.execute(change))
    assert {query: await ids(desk, query=query) for query in QUERIES} == QUERIES


async def test_a_search_is_narrowed_by_days_numbers_and_speakers(desk: httpx2.AsyncClient, here: Desk) -> None:
    assert await ids(desk, query="the", end_date="2026-05-02") == ["door", "hours"]
    assert await ids(desk, query="the", start_date="2026-05-02", end_date="2026-05-02") == ["door"]
    assert await ids(desk, query="the", from_number="+42") == ["door"]
    assert await ids(desk, query="the", number="+1") == ["fee", "door", "hours"]
    assert await ids(desk, query="the", number="+45") == ["fee"]
    (found,) = [call for call in (await search(desk, query="opening hours"))["calls"] if call["call_id"] == "hours"]
    assert await ids(desk, query="opening hours", speaker=found["turns"][0]["user"]) == ["hours"]
    assert await ids(desk, query="opening hours", speaker="nobody") == []


async def test_pages_follow_each_other(desk: httpx2.AsyncClient, here: Desk) -> None:
    found, cursor = list[str](), None
    for _ in range(9):
        page = await search(desk, query="the", limit=1, **({"cursor": cursor} if cursor else {}))
        found += [call["call_id"] for call in page["calls"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert [one for one in found if one in CALLS] == ["fee", "door", "hours"]


async def test_an_import_that_changes_a_call_and_a_deletion_are_followed(desk: httpx2.AsyncClient, here: Desk) -> None:
    await load_lines(here, call_line("hours", "We sell zebras.", created_at="2026-05-01T10:00:00Z"))
    assert (await ids(desk, query="zebras"), await ids(desk, query='"opening hours"')) == (["hours"], [])
    await delete_record(here, "call", "hours")
    assert await ids(desk, query="zebras") == []
    found = await here.store.read(lambda connection: connection.execute(text("SELECT terms FROM call_words")).all())
    assert len(found) == len(CALLS) - 1 + 2, "two more are on each desk of the tests"


async def test_a_row_shows_the_turns_and_the_issues_that_hold_the_call(desk: httpx2.AsyncClient, here: Desk) -> None:
    body = {
        "title": "T",
        "severity": "low",
        "category": "Bug",
        "resource_links": [{"resource_type": "call", "resource_id": "hours"}],
    }
    issue = (await desk.post("/v1/triage/issues", json=body)).json()["data"]
    (call,) = (await search(desk, query="closed hours"))["calls"]
    assert call["issues"] == [issue["triage_id"]]
    assert [turn["message_index"] for turn in call["turns"]] == [0, 1]
    assert call["turns"][0]["text"] == CALLS["hours"][0]
    assert (call["matches"], call["created_at"][:10]) == (2, "2026-05-01")
