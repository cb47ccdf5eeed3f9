"""Pages are trusted as far as they prove themselves: which cursors lead on, and what is said of those that lead nowhere."""

from __future__ import annotations

import gc
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import mcp_types
import pytest
from conftest import endpoints_to
from mcp.client import Client
from vendor_examples import ANSWERED, FILE, FLAG, ISSUE_ID, OF_ISSUE, RELATION, Vendor, enveloped

from calltriage.client.attachments import Uploaded, create
from calltriage.client.client import open_client
from calltriage.errors import CallError
from calltriage.offering import ALL
from calltriage.operations.issues import Issue
from calltriage.server.answers.results import LOST, REPEATS, STANDING
from calltriage.server.app import build_server
from calltriage.server.tools.norm import IN_PART
from calltriage.server.toolsets import select

ISSUES = [{"id": f"9bbe5547-d5b1-4b83-9f80-87c4af7c6b3{n}", "triage_id": f"T-{n}", "title": "t"} for n in range(3)]


@asynccontextmanager
async def agent_of(page: Callable[[str | None], Any]) -> AsyncGenerator[Client]:
    """An agent whose vendor answers each list with the page of a cursor."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        body = {"data": page(request.url.params.get("cursor")), "errors": None}
        return httpx2.Response(200, content=json.dumps(body).encode())

    endpoints = endpoints_to(httpx2.MockTransport(answer))
    async with open_client(endpoints, deadline_s=5) as client, Client(build_server(client, version="0")) as agent:
        yield agent


async def listed(agent: Client, **arguments: Any) -> dict[str, Any]:
    result = await agent.call_tool("list_issues", arguments)
    assert not result.is_error, result.structured_content
    return result.structured_content or {}


@pytest.mark.parametrize("length", [1, 512, 513, 600, 2000, 8192])
async def test_a_cursor_that_was_handed_out_is_taken_back(length: int) -> None:
    cursor = "c" * length
    pages = {None: {"items": ISSUES[:1], "next_cursor": cursor}, cursor: {"items": ISSUES[1:], "next_cursor": None}}
    async with agent_of(pages.__getitem__) as agent:
        first = await listed(agent)
        assert (first["complete"], first["next_cursor"]) == (False, cursor)
        second = await listed(agent, cursor=first["next_cursor"])
    assert (second["complete"], second["returned"]) == (True, 2)


async def test_a_cursor_is_whole_where_texts_beside_it_are_cut() -> None:
    long = {**ISSUES[0], "title": "word " * 20_000}
    async with agent_of(lambda _: {"items": [long], "next_cursor": "c" * 6000}) as agent:
        assert (await listed(agent))["next_cursor"] == "c" * 6000


@pytest.mark.parametrize("cursor", ["", " ", None])
async def test_a_blank_cursor_ends_a_list(cursor: str | None) -> None:
    async with agent_of(lambda _: {"items": ISSUES, "next_cursor": cursor}) as agent:
        page = await listed(agent)
    assert page["complete"] is True
    assert "next_cursor" not in page


async def test_a_list_may_leave_its_cursor_out() -> None:
    async with agent_of(lambda _: {"items": ISSUES}) as agent:
        assert (await listed(agent))["complete"] is True


@pytest.mark.parametrize("items", [ISSUES, []])
async def test_a_cursor_that_stands_still_ends_a_list_and_is_told(items: list[Any]) -> None:
    async with agent_of(lambda _: {"items": items, "next_cursor": "same"}) as agent:
        page = await listed(agent, cursor="same")
    assert (page["complete"], page["note"]) == (False, STANDING)
    assert "next_cursor" not in page


@pytest.mark.parametrize("cursor", [["a"], {"after": 1}, "c" * 8193, "a\x00b"])
@pytest.mark.parametrize("items", [ISSUES, []])
async def test_a_cursor_that_cannot_be_passed_back_never_means_that_the_list_is_complete(
    cursor: Any, items: list[Any]
) -> None:
    async with agent_of(lambda _: {"items": items, "next_cursor": cursor}) as agent:
        page = await listed(agent)
    assert (page["complete"], page["note"]) == (False, LOST)
    assert "next_cursor" not in page


async def test_a_cursor_that_is_a_number_is_taken_back_as_text() -> None:
    async with agent_of(lambda _: {"items": ISSUES, "next_cursor": 17}) as agent:
        assert (await listed(agent))["next_cursor"] == "17"


@pytest.mark.parametrize(("length", "rows"), [(400, 10), (2_000, 10), (2_000, 30)])
async def test_rows_show_how_descriptions_begin_as_far_as_there_is_room(length: int, rows: int) -> None:
    when = "2026-05-06T21:09:57.087Z"
    whole = {**ISSUES[0], "created_at": when, "updated_at": when, "last_activity_at": when, "severity": "high",
             "status": "todo", "category": "Routing", "title": "The agent hangs up before the handoff",
             "description": "The caller asks for a person. " * (length // 30 + 1)}  # fmt: skip
    async with agent_of(lambda _: {"items": [whole] * rows, "next_cursor": None}) as agent:
        page = await listed(agent)
    assert page["returned"] == rows, "rows go before their texts"
    for row in page["items"]:
        assert (row["created_at"], row["updated_at"]) == (when, when)
        assert "description" not in row, "what is not whole is not called the description"
        assert row["description_begins"].startswith("The caller asks")
    assert {len(row["description_begins"]) for row in page["items"]} <= {300, 200, 120, 60}


async def test_a_short_description_stands_in_its_row_whole() -> None:
    async with agent_of(lambda _: {"items": [{**ISSUES[0], "description": "Short."}, ISSUES[1]]}) as agent:
        page = await listed(agent)
    assert page["items"][0]["description"] == "Short."
    assert not any(name.startswith("description") for name in page["items"][1])


async def test_a_page_that_is_too_long_is_asked_for_again_as_long_as_fits() -> None:
    asked = list[int]()
    rows = [{**ISSUES[0], "title": "A title of some length, as people write them " * 3}] * 100

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(int(request.url.params.get("limit", "50")))
        body = {"data": {"items": rows[: asked[-1]], "next_cursor": "more"}, "errors": None}
        return httpx2.Response(200, content=json.dumps(body).encode())

    async with (
        open_client(endpoints_to(httpx2.MockTransport(answer)), deadline_s=5) as client,
        Client(build_server(client, version="0")) as agent,
    ):
        page = await listed(agent, limit=100)
    assert asked[0] == 100
    assert page["returned"] == asked[-1]
    assert 50 < asked[-1] < 100, "more than half of them fit"


async def test_a_page_that_is_too_long_is_gone_while_the_next_one_is_waited_for() -> None:
    """Hundreds of callers may wait at once, each for its turn."""
    held = list[int]()

    def answer(request: httpx2.Request) -> httpx2.Response:
        gc.collect()
        held.append(sum(type(one) is Issue and one.title.startswith("A title of") for one in gc.get_objects()))
        rows = [{**ISSUES[0], "title": "A title of some length, as people write them " * 3}] * 100
        body = {"data": {"items": rows[: int(request.url.params["limit"])], "next_cursor": "more"}, "errors": None}
        return httpx2.Response(200, content=json.dumps(body).encode())

    async with (
        open_client(endpoints_to(httpx2.MockTransport(answer)), deadline_s=5) as client,
        Client(build_server(client, version="0")) as agent,
    ):
        await listed(agent, limit=100)
    assert len(held) > 1
    assert held == [0] * len(held)


Answer = Callable[[httpx2.Request], Any]


@asynccontextmanager
async def agent_with(lists: dict[str, Answer], person: Any = None) -> AsyncGenerator[Client]:
    """An agent with every tool, whose vendor answers these paths so and everything else as documented."""
    rest = Vendor()

    def answer(request: httpx2.Request) -> httpx2.Response:
        own = lists.get(request.url.path)
        return rest(request) if own is None else httpx2.Response(200, json=own(request))

    endpoints = endpoints_to(httpx2.MockTransport(answer))
    async with (
        open_client(endpoints, deadline_s=5) as client,
        Client(build_server(client, version="0", tools=select([ALL])), elicitation_callback=person) as agent,
    ):
        yield agent


FILES = "/attachments/2023-03"
BROKEN = {"after": 1}
"""A cursor that cannot be passed back."""


@pytest.mark.parametrize("more", [{}, {"_links": {}}, {"_links": {"next": None}}, {"page": 1, "per_page": 50}])
@pytest.mark.parametrize("total", [2, "2", 40])
async def test_a_page_of_files_without_a_next_one_is_not_complete_where_there_are_more(total: Any, more: Any) -> None:
    body = {"total": total, "_embedded": {"list": [FILE]}, **more}
    async with agent_with({FILES: lambda _: body}) as agent:
        page = (await agent.call_tool("list_attachments", {})).structured_content or {}
    assert (page["returned"], page["complete"], page["note"]) == (1, False, LOST)


@pytest.mark.parametrize("place", [{}, {"page": 1, "per_page": 1}, {"page": 3, "per_page": 25}])
async def test_a_page_of_files_is_complete_with_as_many_as_it_counts(place: dict[str, int]) -> None:
    body = {"total": 51 if place.get("page") == 3 else 1, "_embedded": {"list": [FILE]}, **place}
    async with agent_with({FILES: lambda _: body}) as agent:
        page = (await agent.call_tool("list_attachments", {})).structured_content or {}
    assert page["complete"] is True
    assert "note" not in page


async def test_a_file_whose_answer_was_lost_is_not_made_again_where_the_list_does_not_prove_itself() -> None:
    sent = list[str]()

    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/oauth/token":
            return httpx2.Response(200, json={"access_token": "t", "token_type": "Bearer", "expires_in": 599})
        sent.append(request.method)
        if request.method == "POST":
            return httpx2.Response(500)
        return httpx2.Response(200, json={"total": 3, "_embedded": {"list": [{**FILE, "name": "other"}]}})

    async with open_client(endpoints_to(httpx2.MockTransport(answer)), deadline_s=5) as client:
        with pytest.raises(CallError) as caught:
            await create(client, "a.txt", Uploaded("r-1", "text/plain", 3))
    assert (caught.value.outcome, sent.count("POST")) == ("unknown", 1)


@pytest.mark.parametrize("loop", ["again", "back"])
async def test_evidence_says_of_a_page_that_repeats_under_another_cursor_that_more_may_be_missing(loop: str) -> None:
    following = {None: "a", "a": "b", "b": "again" if loop == "again" else "a"}
    rows = {None: 0, "a": 1, "b": 1}

    def relations(request: httpx2.Request) -> Any:
        cursor = request.url.params.get("cursor")
        row = {**RELATION, "id": f"{RELATION['id'][:-1]}{rows.get(cursor, 1)}"}
        return enveloped({"items": [row], "next_cursor": following.get(cursor, "again-and-again")})

    async with agent_with({f"{OF_ISSUE}/relations": relations}) as agent:
        result = await agent.call_tool("get_evidence", {"issue_id": ISSUE_ID, "section": "relations"})
    body = result.structured_content or {}
    assert body["complete"] is False
    assert len(body["relations"]["items"]) == 2
    assert "relations behind a page that repeats" in {gap["section"] for gap in body["omitted"]}


ROUNDS = {"next": {"a": "b", "b": "c", "c": "d"}, "back": {"a": "b", "b": "c", "c": "a"}}
"""The cursor behind each cursor: always another one, or one that was there before."""


@pytest.mark.parametrize("way", ROUNDS)
@pytest.mark.parametrize("first", [1, 2])
async def test_a_list_that_repeats_its_pages_under_other_cursors_ends_over_several_calls(way: str, first: int) -> None:
    """`first` pages are new; then they come again."""
    calls = list[str | None]()

    def page(cursor: str | None) -> Any:
        calls.append(cursor)
        return {"items": [ISSUES[(len(calls) - 1) % first]], "next_cursor": ROUNDS[way].get(cursor or "", "a")}

    async with agent_of(page) as agent:
        shown = await listed(agent)
        for _ in range(first):
            assert shown["complete"] is False
            shown = await listed(agent, cursor=shown["next_cursor"])
        assert (shown["complete"], shown["note"]) == (False, REPEATS)
        assert "next_cursor" not in shown
        assert "next_cursor" in await listed(agent), "whoever begins again reads it again"


async def test_a_page_that_is_asked_for_again_by_its_own_cursor_repeats_none() -> None:
    pages = {None: {"items": ISSUES[:1], "next_cursor": "a"}, "a": {"items": ISSUES[1:2], "next_cursor": "b"},
             "b": {"items": ISSUES[2:], "next_cursor": None}}  # fmt: skip
    async with agent_of(pages.__getitem__) as agent:
        for cursor in (None, "a", "a", None, None, "a", "b", "b", "a"):
            page = await listed(agent, **({"cursor": cursor} if cursor else {}))
            assert "note" not in page
            assert page.get("next_cursor") == pages[cursor]["next_cursor"]


async def test_pages_of_lists_with_other_filters_or_of_other_issues_repeat_none() -> None:
    async with agent_of(lambda cursor: {"items": ISSUES, "next_cursor": "b" if cursor else "a"}) as agent:
        await listed(agent)
        assert "note" not in await listed(agent, severity="high", cursor="a")
        assert (await listed(agent, cursor="a"))["note"] == REPEATS


async def test_calls_and_files_that_repeat_end_over_several_calls() -> None:
    calls = {"total_count": 784, "calls": [{"call_id": f"c-{n}"} for n in range(20)]}
    files = {"total": 784, "_embedded": {"list": [FILE]}, "_links": {"next": {"href": "https://x.example/?page=2"}}}
    async with agent_with({"/v1/calls": lambda _: calls, FILES: lambda _: files}) as agent:
        for tool in ("find_calls", "list_attachments"):
            first = (await agent.call_tool(tool, {})).structured_content or {}
            assert first["complete"] is False
            second = (await agent.call_tool(tool, {"cursor": first["next_cursor"]})).structured_content or {}
            assert second["complete"] is False
            assert second["note"].startswith(REPEATS), tool
            assert "next_cursor" not in second


async def test_evidence_that_is_read_on_by_cursor_ends_where_its_pages_repeat() -> None:
    cursors = iter("abcdefghijklmnopqrstuvwxyz")
    long = [{**RELATION, "id": f"{RELATION['id'][:-2]}{n:02}", "related_title": "word " * 150} for n in range(20)]
    lists = {f"{OF_ISSUE}/relations": lambda _: enveloped({"items": long, "next_cursor": next(cursors)})}
    given: dict[str, Any] = {"issue_id": ISSUE_ID, "section": "relations", "max_tokens": 4000}
    body: dict[str, Any] = {}
    async with agent_with(lists) as agent:
        for _ in range(10):
            body = (await agent.call_tool("get_evidence", given)).structured_content or {}
            on = [gap["try_next"]["arguments"] for gap in body["omitted"] if "try_next" in gap]
            if not on:
                break
            given = on[0]
    assert "relations behind a page that repeats" in {gap["section"] for gap in body["omitted"]}


@pytest.mark.parametrize("following", ["same", "", BROKEN, "other"])
async def test_waiting_for_a_run_ends_where_its_feed_leads_nowhere_and_says_so(following: Any) -> None:
    asked = list[str | None]()

    def feed(request: httpx2.Request) -> Any:
        asked.append(request.url.params.get("cursor"))
        cursor = f"other-{len(asked)}" if following == "other" else following
        return enveloped({"items": [{**ANSWERED, "metadata": None}], "next_cursor": cursor})

    async with agent_with({f"{OF_ISSUE}/activity": feed}) as agent:
        result = await agent.call_tool("wait_for_norm", {"issue_id": ISSUE_ID, "timeout_s": 1})
    body = result.structured_content or {}
    assert len(body["entries"]["items"]) == 1, "a row that comes again counts once"
    assert len(asked) <= 2
    assert (IN_PART in body["note"]) == (following != "")
    assert body["complete"] is (following == "")


@pytest.mark.parametrize(
    "page",
    [{"items": ISSUES, "next_cursor": BROKEN}, {"items": [*ISSUES, 17], "next_cursor": None}],
    ids=["cursor", "row"],
)
async def test_a_ticket_that_an_unread_part_of_the_list_may_have_is_not_said_to_be_unknown(page: Any) -> None:
    async with agent_of(lambda _: page) as agent:
        result = await agent.call_tool("get_issue", {"issue_id": "T-77"})
    assert result.is_error
    assert "not among the newest issues" in json.dumps(result.structured_content)


@pytest.mark.parametrize("page", [{"items": [], "next_cursor": BROKEN}, {"items": [17], "next_cursor": None}])
@pytest.mark.parametrize(
    ("tool", "name", "listed"),
    [
        ("remove_flag", "flag_id", "flags"),
        ("remove_resource", "resource_link_id", "resources"),
        ("remove_relation", "relation_id", "relations"),
    ],
)
async def test_what_an_unread_part_of_a_list_may_have_can_be_removed(
    tool: str, name: str, listed: str, page: Any
) -> None:
    asked = list[str]()

    async def person(_: Any, params: mcp_types.ElicitRequestParams) -> mcp_types.ElicitResult:
        asked.append(params.message)
        return mcp_types.ElicitResult(action="decline")

    lists = {f"{OF_ISSUE}/{listed}": lambda _: enveloped(page)}
    async with agent_with(lists, person) as agent:
        await agent.call_tool(tool, {"issue_id": ISSUE_ID, name: FLAG["id"]})
    [question] = asked
    assert "What it is cannot be told" in question
