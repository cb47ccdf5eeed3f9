"""Correcting a flag: what is not passed is kept, and at no moment both flags are gone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
from conftest import call_line, endpoints_to, load_lines
from faults import Scripted, answers, passes
from mcp.client import Client
from tool_calls import ok, refused, with_call
from vendors import agent_before, says

from calltriage.client.client import Client as ApiClient
from calltriage.client.client import open_client
from calltriage.desk.app import Desk
from calltriage.errors import SettingsError
from calltriage.journal.journal import Journal
from calltriage.offering import ALL
from calltriage.operations.flags import ListFlags
from calltriage.server.app import build_server
from calltriage.server.call.table import describe
from calltriage.server.tools.update_flag import UpdateFlagTool
from calltriage.server.toolsets import select

SAID = ("Hello.", "I lost my card.", "Which card?", "The blue card, I said.")


async def flagged(agent: Client, desk: Desk, **flag: Any) -> tuple[str, dict[str, Any]]:
    """An issue with a call and a flag at the wrong turn."""
    await load_lines(desk, call_line("k", *SAID))
    ticket = await with_call(agent, "k")
    given = {"type": "lost_card", "note": "n", "node_id": "N", "message_index": 2, **flag}
    return ticket, await ok(agent, "add_flag", issue_id=ticket, call_id="k", **given)


async def stored(agent: Client, client: ApiClient, ticket: str) -> list[Any]:
    issue = await ok(agent, "get_issue", issue_id=ticket)
    return (await client.send(ListFlags(issue_id=issue["id"]))).items


async def test_a_correction_keeps_what_is_not_passed_and_names_both_flags(
    agent: Client, client: ApiClient, the_desk: Desk
) -> None:
    ticket, old = await flagged(agent, the_desk)
    found = await ok(agent, "update_flag", issue_id=ticket, flag_id=old["id"], quote="the blue card")
    assert (found["outcome"], found["replaced_flag_id"]) == ("committed", old["id"])
    assert found["replaced"]["flag"]["message_text"] == "Which card?"
    (flag,) = await stored(agent, client, ticket)
    assert (flag.id, flag.message_index, flag.message_text) == (found["id"], 3, SAID[3])
    assert (flag.type, flag.note, flag.node_id, flag.call_id) == ("lost_card", "n", None, "k"), (
        "the node was the old turn's"
    )
    again = await ok(agent, "update_flag", issue_id=ticket, flag_id=flag.id, message_index=1, node_id="M")
    assert (again["node_id"], again["message_index"]) == ("M", 1)
    once_more = await ok(agent, "update_flag", issue_id=ticket, flag_id=again["id"], note="kept")
    assert once_more["node_id"] == "M"


async def test_the_guard_value_that_a_correction_answers_holds_for_the_next_write(
    agent: Client, the_desk: Desk
) -> None:
    ticket, old = await flagged(agent, the_desk)
    found = await ok(agent, "update_flag", issue_id=ticket, flag_id=old["id"], note="better")
    (issue,) = found["issues"]
    assert issue["triage_id"] == ticket
    assert found["replaced"]["removed_at"] >= found["created_at"]
    guarded = {"issue_id": ticket, "severity": "high", "expect_updated_at": issue["updated_at"]}
    assert (await ok(agent, "update_issue", **guarded))["outcome"] == "committed"


FEEDS: dict[str, Any] = {
    "somebody commented since": (
        [{"type": "comment"}, {"type": "flag_removed", "metadata": {"flag_id": "OLD"}}],
        False,
    ),
    "another flag was removed since": ([{"type": "flag_removed", "metadata": {"flag_id": "other"}}], False),
    "an unnamed flag, removed by another": (
        [{"type": "flag_removed", "actor": {"id": "b"}}, {"type": "flag_added"}],
        False,
    ),
    "an unnamed flag, removed by the same": ([{"type": "flag_removed"}, {"type": "flag_added"}], True),
    "the flag by its name": ([{"type": "flag_removed", "metadata": {"flag_id": "OLD"}}], True),
    "no feed": (None, False),
}


@pytest.mark.parametrize("feed", FEEDS)
async def test_the_guard_value_is_given_only_where_the_removal_is_the_last_that_happened(
    agent: Client, the_desk: Desk, feed: str
) -> None:
    entries, is_given = FEEDS[feed]
    ticket, old = await flagged(agent, the_desk)
    issue = await ok(agent, "get_issue", issue_id=ticket)
    at = issue["updated_at"]

    def told(request: httpx2.Request) -> httpx2.Response:
        path = request.url.path
        if path.endswith("/activity"):
            listed = json.loads(json.dumps(entries or []).replace("OLD", old["id"]))
            items = [{"id": f"e{n}", "created_at": at, "actor": {"id": "a"}, **one} for n, one in enumerate(listed)]
            return says(500, {})(request) if entries is None else says(200, page(items))(request)
        if request.method == "DELETE":
            return httpx2.Response(204)
        if path.endswith("/flags"):
            made = {**old, "created_at": at, "note": "better", "id": "00000000-0000-4000-8000-000000000009"}
            is_added = request.method == "POST"
            return says(201 if is_added else 200, {"data": made, "errors": None} if is_added else page([old]))(request)
        return says(200, {"data": issue, "errors": None} if path.endswith(issue["id"]) else page([issue]))(request)

    async with agent_before(told) as before:
        found = await ok(before, "update_flag", issue_id=issue["id"], flag_id=old["id"], note="better")
    assert found["outcome"] == "committed"
    assert ("removed_at" in found["replaced"]) is is_given


def page(items: list[Any]) -> dict[str, Any]:
    return {"data": {"items": items, "next_cursor": None}, "errors": None}


@pytest.mark.parametrize(
    ("change", "field", "right"),
    [({"message_index": 1}, "message_text", SAID[1]), ({"type": "Wrong Card"}, "type", "wrong_card"),
     ({"note": "better"}, "note", "better"), ({"node_name": "Greeting"}, "node_name", "Greeting")],
)  # fmt: skip
async def test_each_part_can_be_corrected_alone(
    agent: Client, client: ApiClient, the_desk: Desk, change: dict[str, Any], field: str, right: str
) -> None:
    ticket, old = await flagged(agent, the_desk)
    await ok(agent, "update_flag", issue_id=ticket, flag_id=old["id"], **change)
    (flag,) = await stored(agent, client, ticket)
    assert getattr(flag, field) == right
    assert (
        len({name for name in ("type", "note", "node_name", "message_text") if getattr(flag, name) != old.get(name)})
        == 1
    )


async def test_a_correction_that_says_nothing_or_the_same_writes_nothing(
    agent: Client, client: ApiClient, the_desk: Desk
) -> None:
    ticket, old = await flagged(agent, the_desk)
    assert (await refused(agent, "update_flag", issue_id=ticket, flag_id=old["id"]))["code"] == "empty_update"
    same = await ok(agent, "update_flag", issue_id=ticket, flag_id=old["id"], message_index=2)
    assert (same["outcome"], same["id"]) == ("replayed", old["id"])
    error = await refused(agent, "update_flag", issue_id=ticket, flag_id=old["id"], quote="nobody said this")
    assert (error["code"], error["outcome"]) == ("quote_not_found", "not_committed")
    assert [flag.id for flag in await stored(agent, client, ticket)] == [old["id"]]


async def test_a_flag_that_is_not_there_is_named(agent: Client, the_desk: Desk) -> None:
    ticket, old = await flagged(agent, the_desk)
    error = await refused(agent, "update_flag", issue_id=ticket, flag_id=old["issue_id"], note="x")
    assert (error["code"], error["field"], error["outcome"]) == ("not_found", "flag_id", "not_committed")
    assert error["try_next"]["arguments"]["section"] == "flags"


async def test_a_removal_that_fails_leaves_both_and_the_same_call_finishes_it(
    agent: Client, client: ApiClient, the_desk: Desk
) -> None:
    ticket, old = await flagged(agent, the_desk)
    network = Scripted(inner=httpx2.ASGITransport(the_desk), only=lambda request: request.method == "DELETE")
    network.script(answers(403), passes)
    change = {"issue_id": ticket, "flag_id": old["id"], "message_index": 3}
    async with (
        open_client(endpoints_to(network)) as through,
        Client(build_server(through, version="0")) as halting,
    ):
        error = await refused(halting, "update_flag", **change)
        assert (error["outcome"], error["replaced_flag_id"]) == ("not_committed", old["id"])
        both = await stored(agent, client, ticket)
        assert [flag.id for flag in both] == [old["id"], error["added"]["flag_id"]]
        assert error["try_next"] == {"tool": "update_flag", "arguments": change}
        again = await ok(halting, "update_flag", **change)
    assert (again["outcome"], again["id"]) == ("committed", both[1].id)
    assert [flag.id for flag in await stored(agent, client, ticket)] == [both[1].id]


@pytest.mark.parametrize("status", [400, 403, 409, 500])
async def test_an_addition_that_fails_leaves_the_old_flag_alone(
    agent: Client, client: ApiClient, the_desk: Desk, status: int
) -> None:
    ticket, old = await flagged(agent, the_desk)
    network = Scripted(
        inner=httpx2.ASGITransport(the_desk),
        only=lambda request: request.method != "GET" and "/flags" in request.url.path,
    )
    network.script(*[answers(status)] * 9)
    async with (
        open_client(endpoints_to(network)) as through,
        Client(build_server(through, version="0")) as halting,
    ):
        await refused(halting, "update_flag", issue_id=ticket, flag_id=old["id"], message_index=3)
    assert {request.method for request in network.writes} == {"POST"}
    assert [flag.id for flag in await stored(agent, client, ticket)] == [old["id"]]


def test_it_is_offered_only_where_a_flag_may_be_removed() -> None:
    assert UpdateFlagTool in select()
    assert UpdateFlagTool not in select(confirm="deny")
    assert UpdateFlagTool not in select([ALL], ["remove_flag"])
    assert UpdateFlagTool not in select([ALL], read_only=True)
    with pytest.raises(SettingsError):
        select(excluded=["update_flags"])
    hints = describe(UpdateFlagTool).annotations
    assert hints is not None
    assert (hints.destructive_hint, hints.read_only_hint) == (False, False)


async def test_a_corrected_flag_answers_the_same_correction_and_refuses_another(the_desk: Desk, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    endpoints = endpoints_to(httpx2.ASGITransport(the_desk, raise_app_exceptions=False))
    async with (
        open_client(endpoints, ledger=journal) as client,
        Client(build_server(client, version="0", tools=select([ALL]), journal=journal)) as agent,
    ):
        ticket, old = await flagged(agent, the_desk)
        correction = {"issue_id": ticket, "flag_id": old["id"], "quote": "the blue card"}
        made = await ok(agent, "update_flag", **correction)
        again = await ok(agent, "update_flag", **correction)
        assert (again["id"], again["outcome"]) == (made["id"], "replayed")
        error = await refused(agent, "update_flag", **{**correction, "type": "other_type"})
        assert (error["code"], error["outcome"], error["current"]["id"]) == (
            "flag_replaced",
            "not_committed",
            made["id"],
        )
        other = {"issue_id": ticket, "flag_id": old["id"], "message_index": 1}
        advice = (await refused(agent, "update_flag", **other))["try_next"]
        assert advice == {"tool": "update_flag", "arguments": {**other, "flag_id": made["id"]}}
        assert (await ok(agent, advice["tool"], **advice["arguments"]))["outcome"] == "committed"
        (flag,) = await stored(agent, client, ticket)
        assert (flag.message_index, flag.type) == (1, "lost_card")
    await journal.close()
