"""Types of flags are found by words, and the answer says whose types they are."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from mcp.client import Client
from tool_calls import ok, with_call
from vendors import agent_before, says

TYPES = {
    "missed_handoff": "Caller was not put through.",
    "wrong_price": "Said €5 and charged 50.",
    "cafe_noise": "Café",
}


@pytest.fixture
async def with_types(agent: Client) -> Client:
    ticket = await with_call(agent, "call-card")
    for kind, note in TYPES.items():
        await ok(agent, "add_flag", issue_id=ticket, call_id="call-card", type=kind, note=note, message_index=0)
    return agent


@pytest.mark.parametrize(
    ("search", "found"),
    [("handoff", ["missed_handoff"]), ("Hand off", ["missed_handoff"]), ("PRICE charged", ["wrong_price"]),
     ("café", ["cafe_noise"]),
     ("wrong_price", ["wrong_price"]), ("nothing so", [])],
)  # fmt: skip
async def test_a_type_is_found_by_parts_of_words_in_type_and_meaning(
    with_types: Client, search: str, found: list[str]
) -> None:
    page = await ok(with_types, "list_flag_types", search=search)
    assert [row["type"] for row in page["items"]] == found
    assert (page["total"], page["complete"]) == (len(found), True)
    assert "organisation" in page["scope"]


async def test_pages_of_types_follow_each_other(with_types: Client) -> None:
    seen, page = list[str](), dict[str, Any]()
    while not seen or "next_cursor" in page:
        page = await ok(with_types, "list_flag_types", limit=2, cursor=page.get("next_cursor"))
        seen += [row["type"] for row in page["items"]]
    assert sorted(seen) == sorted(TYPES)


def vendor(pages: list[list[Any]]) -> Any:
    def answer(request: httpx2.Request) -> httpx2.Response:
        place = int(request.url.params.get("cursor", "0"))
        after = str(place + 1) if place + 1 < len(pages) else None
        return says(200, {"data": {"items": pages[place], "next_cursor": after}, "errors": None})(request)

    return answer


async def test_every_page_of_a_vendor_is_searched_and_broken_rows_are_named() -> None:
    pages: list[list[Any]] = [
        [{"type": f"kind_{n}"} for n in range(100)],
        [{"type": None}, {"type": "late_kind", "usage_count": "3"}],
    ]
    async with agent_before(vendor(pages)) as agent:
        page = await ok(agent, "list_flag_types", search="late")
        assert ([row["type"] for row in page["items"]], page["items"][0]["usage_count"]) == (["late_kind"], 3)
        assert (page["unreadable_rows"], page["complete"]) == ([100], False)
        last = await ok(agent, "list_flag_types", cursor="99")
        assert ([row["type"] for row in last["items"]], last["unreadable_rows"]) == (["kind_99", "late_kind"], [100])
