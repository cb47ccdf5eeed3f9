"""Finding calls by what they were and by words said in them: on a desk by its index, on a vendor by reading."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
import sqlalchemy as sql
from conftest import call_line, endpoints_to, load_lines
from mcp.client import Client
from mcp.shared.exceptions import MCPError
from tool_calls import UNKNOWN, ok, refused, with_call
from vendors import agent_before, says

from calltriage.client.client import open_client
from calltriage.client.transcripts import Transcripts
from calltriage.desk.app import Desk
from calltriage.desk.database.tables import call_words, calls, organisations
from calltriage.desk.handlers import call_search
from calltriage.operations.base import Api
from calltriage.server.app import build_server
from calltriage.server.tools.find_calls import FindCallsTool

AT = "2026-05-0{}T10:00:00Z"


async def test_words_find_the_call_the_turn_and_the_issue(agent: Client, the_desk: Desk) -> None:
    said = ("Hi.", "What are your Opening Hours?", "Nine to five.")
    await load_lines(the_desk, call_line("hours", *said, created_at=AT.format(4), **{"from": "+491"}))
    ticket = await with_call(agent, "hours")
    found = await ok(agent, "find_calls", query="hours opening nine", start_date="2026-05-04", end_date="2026-05-04")
    (row,) = found["items"]
    assert (row["call_id"], row["issues"], row["matches"]) == ("hours", [ticket], 2)
    assert [(turn["message_index"], turn["text"]) for turn in row["turns"]] == [(1, said[1]), (2, said[2])]
    assert (found["complete"], found["trust"], found["days"]) == (True, "untrusted", "Both ends included, in UTC.")
    assert (await ok(agent, "find_calls", query='"hours opening"'))["items"] == []


async def test_nothing_found_says_what_was_searched(agent: Client) -> None:
    found = await ok(agent, "find_calls", query="zebra")
    assert (found["items"], found["complete"]) == ([], True)
    assert "every transcript" in found["searched"]["scope"]
    assert "other forms" in found["note"]


async def test_a_search_that_read_a_part_of_the_calls_says_so(
    agent: Client, the_desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_search, "MOST_EXAMINED", 2)
    await load_lines(
        the_desk, *(call_line(f"c{n}", "Hello.", "My refund.", created_at=AT.format(n)) for n in (1, 2, 3))
    )
    asked = {"query": "refund", "speaker": "agent", "limit": 2}
    page = await ok(agent, "find_calls", **asked)
    assert (page["items"], page["complete"]) == ([], False)
    assert "part of the calls" in page["note"]
    page = await ok(agent, "find_calls", **asked, cursor=page["next_cursor"])
    assert (page["items"], page["complete"], "next_cursor" in page) == ([], True, False)
    whole = await ok(agent, "find_calls", query="refund", limit=2)
    assert (whole["returned"], "note" in whole) == (2, False)


@pytest.mark.parametrize(
    ("query", "told"),
    [("refund zebra", "Said in no call within the filters: zebra. Said in some: refund."),
     ('"refund now"', "no call holds all of it. Without quotation marks"), ("zebra, giraffe!", "zebra, giraffe. Whole"),
     ("refund money", "no call holds all of it.")],
)  # fmt: skip
async def test_an_empty_search_says_which_of_its_words_were_said(
    agent: Client, the_desk: Desk, query: str, told: str
) -> None:
    await load_lines(the_desk, call_line("one", "Now for my refund."), call_line("two", "Where is the money?"))
    found = await ok(agent, "find_calls", query=query)
    assert (found["items"], found["complete"]) == ([], True)
    assert told in found["note"]


@pytest.mark.parametrize(
    ("query", "near"),
    [
        ("refudn", ["refund"]),
        ("refund cancellations", ["cancellation"]),
        ("cancelation", ["cancellation"]),
        ("zebra", None),
    ],
)
async def test_an_empty_search_names_words_that_were_said_and_come_near(
    agent: Client, the_desk: Desk, query: str, near: list[str] | None
) -> None:
    await load_lines(
        the_desk, call_line("one", "Now for my refund."), call_line("two", "A replacement, or a cancellation?")
    )
    found = await ok(agent, "find_calls", query=query)
    assert (found["items"], found["complete"], found["trust"]) == ([], True, "untrusted")
    assert found["searched"].get("near_words") == near
    assert ("near_words were said." in found["note"]) is (near is not None)
    narrowed = await ok(agent, "find_calls", query=query, start_date="2026-06-01")
    assert "near_words" not in narrowed["searched"], "what was said outside of the filters"


async def test_words_of_other_organisations_come_near_to_nothing(agent: Client, the_desk: Desk) -> None:
    await load_lines(the_desk, call_line("one", "Now for my refund."))
    move = sql.update(calls).where(calls.c.id == "one").values(org_id="another")

    def away(connection: sql.Connection) -> None:
        [row] = connection.execute(sql.select(call_words).where(call_words.c.call_id == "one")).mappings()
        connection.execute(sql.delete(call_words).where(call_words.c.call_id == "one"))
        connection.execute(
            sql.insert(organisations).values(id="another", name="Another", last_number=0, created_at=AT.format(1))
        )
        connection.execute(move)
        connection.execute(sql.insert(call_words).values(**{**row, "org_id": "another"}))

    await the_desk.store.write(away)
    assert "near_words" not in (await ok(agent, "find_calls", query="refudn"))["searched"]


async def test_a_number_is_found_on_either_side_page_by_page(agent: Client, the_desk: Desk) -> None:
    sides = [{"from": "+77"}, {"to": "+77"}, {"from": "+77"}, {"to": "+78"}]
    await load_lines(
        the_desk, *(call_line(f"n{n}", "x", created_at=AT.format(n), **side) for n, side in enumerate(sides, 1))
    )
    seen, cursor = list[str](), None
    for _ in range(9):
        page = await ok(agent, "find_calls", number="+77", limit=1, cursor=cursor)
        seen += [row["call_id"] for row in page["items"]]
        cursor = page.get("next_cursor")
        if cursor is None:
            break
    assert seen == ["n3", "n2", "n1"]
    assert [row["call_id"] for row in (await ok(agent, "find_calls", number="+77", query="x"))["items"]] == seen


@pytest.mark.parametrize("written", ["+1 415 555 0143", "+1 (415) 555-0143", "+1.415.555.0143", "+14155550143"])
async def test_a_number_is_found_however_it_is_written(agent: Client, the_desk: Desk, written: str) -> None:
    await load_lines(
        the_desk,
        call_line("in", "hello", created_at=AT.format(5), **{"from": "+14155550143"}),
        call_line("out", "hello", created_at=AT.format(4), to="+1 415 555-0143"),
        call_line("other", "hello", **{"from": "+14155550134"}),
    )
    for asked in ({"number": written}, {"number": written, "query": "hello"}):
        assert [row["call_id"] for row in (await ok(agent, "find_calls", **asked))["items"]] == ["in", "out"]
    assert [row["call_id"] for row in (await ok(agent, "find_calls", from_number=written))["items"]] == ["in"]


@pytest.mark.parametrize("query", [{}, {"query": "hello"}])
async def test_a_number_is_one_with_its_plus_sign_and_without(
    agent: Client, the_desk: Desk, query: dict[str, str]
) -> None:
    await load_lines(
        the_desk,
        call_line("plus", "hello", created_at=AT.format(5), **{"from": "+14155550143"}),
        call_line("bare", "hello", created_at=AT.format(4), **{"from": "14155550143"}),
        call_line("to", "hello", created_at=AT.format(3), to="14155550143"),
    )
    for number in ("+14155550143", "14155550143", "1 (415) 555-0143"):
        found = await ok(agent, "find_calls", number=number, **query)
        assert [row["call_id"] for row in found["items"]] == ["plus", "bare", "to"]
        found = await ok(agent, "find_calls", from_number=number, **query)
        assert [row["call_id"] for row in found["items"]] == ["plus", "bare"]


async def test_rows_of_a_day_name_the_issues_that_hold_the_calls(agent: Client, the_desk: Desk) -> None:
    await load_lines(the_desk, *(call_line(f"c{n}", "Hi.", created_at=AT.format(n)) for n in (2, 3)))
    tickets = [await with_call(agent, "c2") for _ in range(2)]
    found = await ok(agent, "find_calls", start_date="2026-05-02", end_date="2026-05-03")
    assert [(row["call_id"], row.get("issues", [])) for row in found["items"]] == [("c3", []), ("c2", tickets)]


async def test_a_number_of_no_call_says_that_nothing_fits(agent: Client) -> None:
    found = await ok(agent, "find_calls", number="+1 415 555 0143")
    assert (found["items"], found["try_next"]) == ([], {"tool": "find_calls", "arguments": {}})
    assert "Nothing fits" in found["note"]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [({"speaker": "agent"}, "speaker"), ({"query": "x", "ascending": True}, "ascending"), ({"query": "\u200b"}, "query"),
     ({"cursor": "1.2"}, "cursor"), ({"query": "x", "cursor": "nonsense"}, "cursor"),
     ({"time_zone": "no zone"}, "time_zone"), ({"time_zone": "Mars/Olympus"}, "time_zone"),
     ({"number": "+1", "from_number": "+2"}, "number"), ({"number": "+1", "to_number": "+2"}, "number"),
     ({"end_date": "2026-02-30"}, "end_date"), ({"duration_gt": 5, "duration_lt": 1}, "duration_gt"),
     ({"start_date": "2026-06-01", "end_date": "2026-05-01"}, "start_date")],
)  # fmt: skip
async def test_what_does_not_fit_is_refused_by_name(agent: Client, arguments: dict[str, Any], field: str) -> None:
    assert (await refused(agent, "find_calls", **arguments))["field"] == field


EVERY_ARGUMENT: dict[str, Any] = {
    "speaker": "agent", "start_date": "2026-05-01", "end_date": "2026-05-09", "time_zone": "Europe/Berlin", "number": "+77",
    "from_number": "+77", "to_number": "+77", "inbound": False, "completed": True, "answered_by": "human", "batch_id": "b-1",
    "duration_gt": 0, "duration_lt": 9, "ascending": False, "limit": 1,
}  # fmt: skip


@pytest.mark.parametrize("argument", EVERY_ARGUMENT)
async def test_a_search_by_words_takes_each_other_argument(agent: Client, argument: str) -> None:
    found = await ok(agent, "find_calls", query="zebra", **{argument: EVERY_ARGUMENT[argument]})
    assert (found["items"], found["complete"]) == ([], True)


def test_each_argument_of_a_search_is_tried() -> None:
    assert set(FindCallsTool.model_fields) == {"query", "cursor", *EVERY_ARGUMENT}


async def test_the_former_name_names_the_new_one(full_agent: Client) -> None:
    with pytest.raises(MCPError, match="find_calls"):
        await full_agent.call_tool("list_calls", {})


def listed(rows: list[Any], following: str | None = None) -> dict[str, Any]:
    return {"data": {"items": rows, "next_cursor": following}, "errors": None}


def vendor(calls: int, broken: int | None = None) -> Any:
    """A vendor of so many calls, the newest first; every tenth says "refund". It knows no search, and has no issue."""
    ids = [f"c{n}" for n in range(calls)]

    def answer(request: httpx2.Request) -> httpx2.Response:
        path = request.url.path
        if path == "/v1/triage/issues":
            return says(200, listed([]))(request)
        if path == "/v1/calls":
            first, size = int(request.url.params.get("from", 0)), int(request.url.params["limit"])
            rows = [{"call_id": one, "created_at": AT.format(1)} for one in ids[first : first + size]]
            return says(200, {"total_count": calls, "count": len(rows), "calls": rows})(request)
        number = int(path.removeprefix("/v1/calls/c"))
        if number == broken:
            return says(500, {})(request)
        text = "I want my REFUND now" if number % 10 == 0 else "Hello"
        turns = [{"user": "user", "text": text}]
        return says(200, {"call_id": f"c{number}", "transcripts": turns})(request)

    return answer


async def test_on_a_vendor_calls_are_read_within_a_bound_and_the_answer_says_how_far() -> None:
    seen, cursor, told = list[str](), None, list[tuple[Any, ...]]()

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, total, message))

    async with agent_before(vendor(130)) as agent:
        for _ in range(9):
            given = {"query": "refund want", "cursor": cursor} if cursor else {"query": "refund want"}
            page = (await agent.call_tool("find_calls", given, progress_callback=hear)).structured_content or {}
            seen += [row["call_id"] for row in page["items"]]
            assert page["searched"]["calls_listed"] == 130
            assert page["searched"]["calls_read"] <= 60
            cursor = page.get("next_cursor")
            assert page["complete"] is (cursor is None)
            if cursor is None:
                break
    assert seen == [f"c{n}" for n in range(0, 130, 10)]
    assert told


async def test_on_a_vendor_a_call_that_cannot_be_read_is_counted() -> None:
    async with agent_before(vendor(5, broken=3)) as agent:
        page = await ok(agent, "find_calls", query="refund")
    assert ([row["call_id"] for row in page["items"]], page["complete"]) == (["c0"], False)
    assert page["searched"] == {"calls_read": 4, "calls_listed": 5, "unreadable": 1}


async def test_on_a_vendor_an_empty_search_names_words_that_come_near() -> None:
    async with agent_before(vendor(5)) as agent:
        page = await ok(agent, "find_calls", query="refnud")
        assert (page["items"], page["trust"]) == ([], "untrusted")
        assert page["searched"] == {"calls_read": 5, "calls_listed": 5, "near_words": ["refund"]}
        assert "None of the calls that were read holds it." in page["note"]
        assert "near_words" not in (await ok(agent, "find_calls", query="refund"))["searched"]


class Filed:
    """A vendor with calls, and issues that hold some of them."""

    def __init__(self, holding: dict[str, list[str]], following: str | None = None) -> None:
        self.holding, self.following = holding, following
        self.activity = dict.fromkeys(holding, AT.format(1))
        self.asked = list[str]()
        self._calls = vendor(20)

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        path = request.url.path
        if not path.startswith("/v1/triage/"):
            return self._calls(request)
        self.asked.append(path)
        if path == "/v1/triage/issues":
            assert request.url.params["resource_type"] == "call"
            issues = [self._issue(ticket) for ticket in self.holding]
            return says(200, listed(issues, self.following))(request)
        ticket = f"T-{int(path.split('/')[4][-12:])}"
        links = [{"id": UNKNOWN, "resource_type": "call", "resource_id": one} for one in self.holding[ticket]]
        return says(200, listed(links))(request)

    def _issue(self, ticket: str) -> dict[str, Any]:
        at = self.activity[ticket]
        return {"id": f"{UNKNOWN[:-12]}{int(ticket[2:]):012}", "triage_id": ticket, "last_activity_at": at}


@pytest.mark.parametrize("query", [{}, {"query": "refund"}])
async def test_on_a_vendor_rows_name_the_issues_that_hold_the_calls(query: dict[str, str]) -> None:
    filed = Filed({"T-1": ["c0"], "T-2": ["c10", "c0"], "T-3": ["elsewhere"]})

    async def found(agent: Client) -> dict[str, Any]:
        page = await ok(agent, "find_calls", **query)
        assert "issues:" not in page.get("note", "")
        return {row["call_id"]: row["issues"] for row in page["items"] if "issues" in row}

    async with agent_before(filed) as agent:
        assert await found(agent) == {"c0": ["T-1", "T-2"], "c10": ["T-2"]}
        assert (filed.asked[0], len(filed.asked)) == ("/v1/triage/issues", 4)
        assert await found(agent) == {"c0": ["T-1", "T-2"], "c10": ["T-2"]}
        assert filed.asked[4:] == ["/v1/triage/issues"], "nothing happened to the issues"
        filed.holding["T-3"], filed.activity["T-3"] = ["c10"], AT.format(2)
        assert await found(agent) == {"c0": ["T-1", "T-2"], "c10": ["T-2", "T-3"]}
        assert len(filed.asked) == 7, "the list, and the issue to which something happened"


async def test_on_a_vendor_with_many_issues_the_answer_says_which_were_looked_through() -> None:
    async with agent_before(Filed({f"T-{n}": ["c1"] for n in range(1, 41)}, following="more")) as agent:
        page = await ok(agent, "find_calls")
        assert page["items"][1]["issues"] == [f"T-{n}" for n in range(1, 26)]
        assert page["note"].endswith("issues: of the 25 issues of latest activity that hold calls.")


async def test_on_a_vendor_whose_issues_cannot_be_read_the_calls_are_listed_all_the_same() -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/v1/triage/issues":
            return says(403, {})(request)
        return vendor(3)(request)

    async with agent_before(answer) as agent:
        page = await ok(agent, "find_calls")
        assert [row["call_id"] for row in page["items"]] == ["c0", "c1", "c2"]
        assert page["note"].endswith("could not be read.")


async def test_on_a_vendor_spoken_numbers_and_digits_are_one() -> None:
    said = {
        "c0": "Come at three thirty.",
        "c1": "It is $5.",
        "c2": "It is $50, or five hundred in all.",
        "c3": "At 3:30.",
    }

    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/v1/triage/issues":
            return says(200, listed([]))(request)
        if request.url.path == "/v1/calls":
            rows = [{"call_id": one, "created_at": AT.format(1)} for one in said]
            return says(200, {"total_count": len(said), "count": len(said), "calls": rows})(request)
        call_id = request.url.path.removeprefix("/v1/calls/")
        turns = [{"user": "user", "text": said[call_id]}]
        return says(200, {"call_id": call_id, "transcripts": turns})(request)

    async with agent_before(answer) as agent:
        for query, calls in {"three thirty": ["c0", "c3"], "3:30": ["c0", "c3"], "five": ["c1"], "$5": ["c1"]}.items():
            found = await ok(agent, "find_calls", query=query)
            assert [row["call_id"] for row in found["items"]] == calls, query
            assert [row["turns"][0]["message_index"] for row in found["items"]] == [0] * len(calls)


async def test_a_long_turn_is_shown_where_a_number_is_said(agent: Client, the_desk: Desk) -> None:
    text = (
        "We talked about many other things. " * 20 + "Then come at half past, no, at three thirty. " + "Bye now. " * 40
    )
    await load_lines(the_desk, call_line("long", text))
    (row,) = (await ok(agent, "find_calls", query="3:30"))["items"]
    assert "three thirty" in row["turns"][0]["text"]
    assert row["turns"][0]["offset"] > 0


async def test_on_a_vendor_the_next_search_asks_for_no_transcript_that_was_kept(tmp_path: Path) -> None:
    asked, answer = list[str](), vendor(20)
    over = {"completed": True, "call_length": 1}

    def counted(request: httpx2.Request) -> httpx2.Response:
        body = json.loads(answer(request).content)
        if request.url.path not in {"/v1/calls", "/v1/triage/issues"}:
            asked.append(request.url.path)
            body |= over | {"created_at": AT.format(1)} if request.url.path != "/v1/calls/c7" else {}
        return says(200, body)(request)

    endpoints = endpoints_to(httpx2.MockTransport(counted))
    kept = Transcripts(tmp_path / "transcripts", lambda: "account")
    endpoints[Api.TRIAGE] = replace(endpoints[Api.TRIAGE], transcripts=kept)
    async with open_client(endpoints) as client, Client(build_server(client, version="0")) as agent:
        first = await ok(agent, "find_calls", query="refund")
        assert (len(asked), first["searched"]) == (20, {"calls_read": 20, "calls_listed": 20})
        again = await ok(agent, "find_calls", query="REFUND now")
        assert asked[20:] == ["/v1/calls/c7"], "the one that does not say that it is over"
        assert again["searched"] == {"calls_read": 20, "calls_listed": 20, "of_these_kept_here": 19}
        assert [row["call_id"] for row in again["items"]] == [row["call_id"] for row in first["items"]] == ["c0", "c10"]
        assert again["items"] == first["items"]
        asked.clear()
        await ok(agent, "get_transcript", call_id="c0")
        assert asked == ["/v1/calls/c0"], "who reads one call by its id gets it from the vendor"


@pytest.mark.parametrize("is_exact", [True, False], ids=["compares texts", "compares numbers"])
@pytest.mark.parametrize("limit", [1, 2, 20])
async def test_on_a_vendor_a_number_is_one_with_its_plus_sign_and_without(is_exact: bool, limit: int) -> None:
    numbers = ["+14155550143", "14155550143", "+1 415 555 0143", "+14155550100", "14155550143"]
    rows = [
        {"call_id": f"c{n}", "created_at": AT.format(9 - n), "from": number, "to": "+1"}
        for n, number in enumerate(numbers)
    ]

    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/v1/triage/issues":
            return says(200, listed([]))(request)
        wanted = request.url.params.get("from_number") or request.url.params["to_number"]
        side = "from" if "from_number" in request.url.params else "to"
        digits = wanted.removeprefix("+")
        found = [row for row in rows if row[side] == wanted or (
            not is_exact and row[side].replace(" ", "").removeprefix("+") == digits)]  # fmt: skip
        first = int(request.url.params.get("from", 0))
        page = found[first : first + int(request.url.params["limit"])]
        return says(200, {"total_count": len(found), "count": len(page), "calls": page})(request)

    expected = ["c0", "c1", "c4"] if is_exact else ["c0", "c1", "c2", "c4"]
    async with agent_before(answer) as agent:
        for asked in ({"number": "14155550143"}, {"number": "+1 415 5550143"}, {"from_number": "14155550143"}):
            seen, page = await read_all(agent, **asked, limit=limit)
            assert (seen, page["complete"]) == (expected, True)


def sides(request: httpx2.Request, rows: dict[str, list[Any]], total: int | None = None) -> httpx2.Response:
    """A vendor's page of one of the two lists in which a number may stand."""
    side = "from" if "from_number" in request.url.params else "to"
    first, limit = int(request.url.params.get("from", 0)), int(request.url.params["limit"])
    page = {"calls": rows[side][first : first + limit], "count": 0} | ({} if total is None else {"total_count": total})
    return says(200, page)(request)


async def read_all(agent: Client, **arguments: Any) -> tuple[list[str], dict[str, Any]]:
    seen, page = list[Any](), dict[str, Any]()
    while not seen or "next_cursor" in page:
        page = await ok(agent, "find_calls", **arguments, cursor=page.get("next_cursor"))
        seen += [row["call_id"] for row in page["items"]]
        assert len(seen) < 50
    return seen, page


async def test_two_lists_are_read_whole_whatever_their_times_look_like() -> None:
    """Offsets, a missing time and a list out of order: no call is passed over."""
    times = {"from": ["2026-05-05T20:00:00-05:00", "2026-05-05T23:00:00Z", None, "2026-05-05T22:00:00Z"],
             "to": ["2026-05-05T23:30:00Z", "2026-05-05T21:00:00+00:00"]}  # fmt: skip
    rows = {
        side: [{"call_id": f"{side}{n}", "created_at": at} for n, at in enumerate(of)] for side, of in times.items()
    }
    async with agent_before(lambda request: sides(request, rows)) as agent:
        for limit in (1, 2, 3, 20):
            seen, page = await read_all(agent, number="+1", limit=limit)
            assert (sorted(seen), page["complete"]) == (
                sorted(str(row["call_id"]) for of in rows.values() for row in of),
                True,
            )
            assert seen[:2] == ["from0", "to0"], "the newest first"


@pytest.mark.parametrize("limit", [1, 2, 20])
async def test_a_call_from_a_number_to_itself_is_listed_once(agent: Client, the_desk: Desk, limit: int) -> None:
    sides = [{"from": "+77", "to": "+1"}, {"from": "+77", "to": "+77"}, {"from": "+1", "to": "+77"}]
    await load_lines(
        the_desk, *(call_line(f"n{n}", "x", created_at=AT.format(n), **side) for n, side in enumerate(sides, 1))
    )
    seen, page = await read_all(agent, number="+77", limit=limit)
    assert (seen, page["complete"]) == (["n3", "n2", "n1"], True)
    assert "unreadable" not in page


async def test_rows_that_cannot_be_read_end_no_list() -> None:
    good = [{"call_id": f"c{n}", "created_at": AT.format(9 - n)} for n in range(6)]
    rows = {"from": [*good[:2], {"call_id": None}, {"call_id": {}}, *good[2:]], "to": []}
    async with agent_before(lambda request: sides(request, rows)) as agent:
        seen, _ = await read_all(agent, number="+1", limit=2)
        assert seen == [row["call_id"] for row in good]
        page = await ok(agent, "find_calls", number="+1", limit=20)
        assert (page["unreadable"], page["complete"]) == (2, False)


@pytest.mark.parametrize("query", ["refund?", "Refund,", "(refund)", "refund*", '"refund', "refund …", "my: refund!"])
async def test_signs_around_a_word_are_no_part_of_it(agent: Client, the_desk: Desk, query: str) -> None:
    await load_lines(the_desk, call_line("money", "Where is my refund?"))
    assert [row["call_id"] for row in (await ok(agent, "find_calls", query=query))["items"]] == ["money"]
