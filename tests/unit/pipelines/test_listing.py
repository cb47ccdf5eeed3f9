"""The list of calls, read from a watermark on: nothing is left out and nothing comes twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from conftest import call_line, endpoints_to, load_lines

from calltriage.client.client import Client, open_client
from calltriage.desk.app import Desk
from calltriage.operations.calls import Call, ListCalls
from calltriage.pipelines.listing import is_sampled, pages, settled_at

Row = dict[str, Any]


async def ids(client: Client, size: int, since: str | None = None, until: str | None = None) -> list[str]:
    return [
        call.call_id
        async for page in pages(client, ListCalls(), since=since, until=until, size=size)
        for call in page.calls
    ]


def at(minute: int) -> str:
    return f"2026-04-01T10:{minute:02}:00.000Z"


@pytest.mark.parametrize("size", [2, 3, 5, 1000])
async def test_every_call_comes_once_and_oldest_first(the_desk: Desk, client: Client, size: int) -> None:
    made = [f"c{n:02}" for n in range(11)]
    await load_lines(the_desk, *(call_line(one, "hello", created_at=at(n)) for n, one in enumerate(made)))
    assert (await ids(client, size))[:11] == made


@pytest.mark.parametrize("size", [2, 3, 4])
async def test_calls_of_one_instant_come_once_though_a_page_does_not_hold_them(
    the_desk: Desk, client: Client, size: int
) -> None:
    made = [f"c{n:02}" for n in range(9)]
    await load_lines(the_desk, *(call_line(one, "hello", created_at=at(n // 4)) for n, one in enumerate(made)))
    assert sorted(await ids(client, size))[:9] == made


async def test_a_window_holds_what_was_made_in_it(the_desk: Desk, client: Client) -> None:
    await load_lines(the_desk, *(call_line(f"c{n}", "hello", created_at=at(n)) for n in range(6)))
    assert await ids(client, 2, since=at(2), until=at(4)) == ["c2", "c3", "c4"]


async def test_calls_that_come_in_while_the_list_is_read_hide_no_other(the_desk: Desk, client: Client) -> None:
    await load_lines(the_desk, *(call_line(f"c{n}", "hello", created_at=at(n)) for n in range(6)))
    seen = list[str]()
    async for page in pages(client, ListCalls(), since=None, size=2):
        seen += [call.call_id for call in page.calls]
        if len(seen) == 2:  # older than all: by offset, each later page would move by one
            await load_lines(the_desk, call_line("late", "hello", created_at="2026-03-01T10:00:00.000Z"))
    assert [one for one in seen if one.startswith("c") and len(one) == 2] == [f"c{n}" for n in range(6)]


def days_only(rows: list[Row]) -> Callable[[httpx2.Request], httpx2.Response]:
    """An API whose `start_date` means the whole day."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked = request.url.params
        day = asked.get("start_date", "")[:10]
        first, size = int(asked.get("from", 0)), int(asked["limit"])
        found = [row for row in rows if row["created_at"][:10] >= day][first : first + size]
        return httpx2.Response(200, text=json.dumps({"total_count": len(rows), "count": len(found), "calls": found}))

    return answer


async def test_an_api_that_only_knows_days_gives_every_call_too() -> None:
    rows = [{"call_id": f"c{n:02}", "created_at": at(n)} for n in range(9)]
    transport = httpx2.MockTransport(days_only(rows))
    async with open_client(endpoints_to(transport, "https://vendor.example")) as client:
        assert await ids(client, 4) == [row["call_id"] for row in rows]


def test_a_sample_is_the_same_calls_each_time_and_about_its_share() -> None:
    calls = [f"call-{n}" for n in range(4000)]
    first = [one for one in calls if is_sampled(one, 0.2)]
    assert first == [one for one in calls if is_sampled(one, 0.2)]
    assert 0.17 < len(first) / len(calls) < 0.23
    assert not any(is_sampled(one, 0) for one in calls)
    assert all(is_sampled(one, 1) for one in calls)


def test_a_call_has_settled_a_while_after_its_end() -> None:
    call = Call.model_validate({"call_id": "a", "created_at": at(0), "call_length": 1.5})
    settled = settled_at(call, timedelta(minutes=2))
    assert settled is not None
    assert settled.isoformat() == "2026-04-01T10:03:30+00:00"
