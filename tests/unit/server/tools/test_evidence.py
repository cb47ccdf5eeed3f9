"""The evidence bundle: read whole by following what it left out, reading no more than it shows."""

from __future__ import annotations

from collections import Counter
from typing import Any

import httpx2
import pytest
import sqlalchemy as sql
from conftest import call_line, endpoints_to, load_lines
from evidence import large_case
from faults import Scripted
from mcp.client import Client as McpClient
from tokens import real_tokens
from tool_calls import entries, filed, ok, read_on, refused

from calltriage.client.client import Client, open_client
from calltriage.desk.app import Desk
from calltriage.desk.database import tables
from calltriage.leaves.gate import compact
from calltriage.server.app import build_server

SECTIONS = ("flags", "resources", "relations", "activity")


@pytest.mark.slow
@pytest.mark.parametrize("budget", [2000, 6000, 19_000])
async def test_a_large_case_is_read_whole_and_nothing_twice_by_following_the_advice_of_the_core_tools(
    agent: McpClient, client: Client, the_desk: Desk, budget: int
) -> None:
    issue_id = await large_case(the_desk, client, links=120, flags=110, relations=105)
    bodies = await read_on(agent, issue_id=issue_id, max_tokens=budget)
    seen = {name: entries(bodies, name) for name in SECTIONS}
    assert [flag["note"] for flag in seen["flags"]] == [f"note {n}" for n in range(110)]
    assert [flag["turns"][1]["text"] for flag in seen["flags"]] == [f"turn of {n}" for n in range(110)]
    assert [link["resource_id"] for link in seen["resources"]] == [f"call-{n}" for n in range(120)]
    assert {one["related_title"] for one in seen["relations"]} == {f"Other {n}" for n in range(105)}
    assert len(seen["relations"]) == 105
    assert Counter(entry["type"] for entry in seen["activity"]).total() > 300
    for body in bodies:  # what is said to be left out is what was
        for gap in body.get("omitted", ()):
            if gap["section"] in {"flags", "resources", "relations"}:
                before = int(gap["try_next"]["arguments"]["cursor"].split(".")[0])
                assert before + gap["left_out"] == len(seen[gap["section"]])


async def test_no_section_crowds_out_the_others(agent: McpClient, client: Client, the_desk: Desk) -> None:
    issue_id = await large_case(the_desk, client, links=30, flags=30, relations=3)
    bundle = await ok(agent, "get_evidence", issue_id=issue_id, max_tokens=3000)
    for name in ("flags", "resources", "relations", "activity"):
        assert bundle[name]["items"], name
    assert real_tokens(compact(bundle)) <= 3000


@pytest.mark.parametrize("links", [40, 90])
async def test_no_more_calls_are_read_than_are_shown(client: Client, the_desk: Desk, links: int) -> None:
    issue_id = await large_case(the_desk, client, links=links, flags=links)
    network = Scripted(inner=httpx2.ASGITransport(the_desk, raise_app_exceptions=False))
    async with open_client(endpoints_to(network)) as counted, McpClient(build_server(counted, version="0")) as agent:
        bundle = await ok(agent, "get_evidence", issue_id=issue_id, max_tokens=2000)
    read = sum(request.url.path.startswith("/v1/calls/") for request in network.requests)
    shown = len(bundle["flags"]["items"])
    assert 0 < shown <= read <= shown + 4, "the next four are read side by side"


async def test_a_file_stands_once_among_what_is_attached_with_its_attachment_in_its_row(
    agent: McpClient, client: Client, the_desk: Desk
) -> None:
    issue_id = await large_case(the_desk, client, links=101, flags=0)
    stored = await ok(agent, "create_attachment", name="late report", text="x", attach_to=issue_id)
    bodies = await read_on(agent, issue_id=issue_id)
    assert [body["evidence_count"] for body in bodies if "evidence_count" in body] == [102], "in the first answer"
    *links, file = entries(bodies, "resources")
    assert not any("attachment" in link for link in links)
    assert (file["resource_type"], file["resource_id"]) == ("file", stored["id"])
    assert file["attachment"]["name"] == "late report"
    assert not any("attachments" in body for body in bodies)


async def test_evidence_is_counted_by_its_rows_where_an_issue_says_no_count(agent: McpClient) -> None:
    calls = [{"resource_type": "call", "resource_id": name} for name in ("call-card", "call-hours")]
    full = await ok(agent, "create_issue", title="Two", severity="low", category="Bug", resource_links=calls)
    assert (await ok(agent, "get_evidence", issue_id=full["id"]))["evidence_count"] == 2
    empty = await filed(agent)
    assert (await ok(agent, "get_evidence", issue_id=empty["id"]))["evidence_count"] == 0
    part = await ok(agent, "get_evidence", issue_id=full["id"], section="resources")
    assert "evidence_count" not in part


async def test_what_is_longer_than_the_whole_budget_is_shown_in_part(agent: McpClient, the_desk: Desk) -> None:
    """Notes that cost a token a character, and evidence described by more words than any answer may have."""
    many = {f"key {n}": "v" for n in range(8000)}
    await load_lines(the_desk, call_line("call-wide", *["漢字" * 499] * 3, summary="s", batch=many))
    issue = await filed(agent)
    call = {"issue_id": issue["id"], "call_id": "call-wide"}
    await ok(agent, "add_flag", **call, type="x", note="漢" * 1999, message_index=1, attach_if_missing=True)
    await ok(agent, "add_flag", **call, type="x", note="short")
    first, *rest = await read_on(agent, issue_id=issue["id"], max_tokens=1000)
    assert first["complete"] is False
    flags = entries(rest, "flags")
    assert "".join(flag.get("note", "") for flag in flags) == "漢" * 1999 + "short", "piece by piece"
    turns = [turn["text"] for flag in flags for turn in flag.get("turns", ())]
    assert turns == ["漢字" * 499] * 3, "with more room, since they are shown in one piece"
    assert [link["resource_id"] for link in entries([first, *rest], "resources")] == ["call-wide"]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"cursor": "0.0."}, "section"),
        ({"section": "flags", "cursor": "x"}, "cursor"),
        ({"section": "flags", "cursor": "-1.0."}, "cursor"),
        ({"section": "flags", "cursor": "0.0.bad"}, "cursor"),
        ({"section": "issue"}, "section"),
    ],
)
async def test_a_place_that_is_none_is_refused(agent: McpClient, arguments: dict[str, Any], field: str) -> None:
    error = await refused(agent, "get_evidence", issue_id=(await filed(agent))["id"], **arguments)
    assert (error["field"], error["retryable"]) == (field, False)


async def test_a_case_without_flags_brings_the_words_of_its_calls(agent: McpClient, the_desk: Desk) -> None:
    await load_lines(
        the_desk, call_line("short", "Hello.", "Refund, please."), call_line("long", *(["word " * 300] * 40))
    )
    calls = [{"resource_type": "call", "resource_id": name} for name in ("short", "long")]
    issue = await ok(agent, "create_issue", title="Words", severity="low", category="Bug", resource_links=calls)
    for budget in (1000, 2000, 6000):
        bundle = await ok(agent, "get_evidence", issue_id=issue["id"], max_tokens=budget)
        assert real_tokens(compact(bundle)) <= budget
        said = {one["call_id"]: one for one in bundle["transcripts"]["items"]}
        assert bundle["transcripts"]["trust"] == "untrusted"
        [gap] = [one for one in bundle["omitted"] if one["section"] == "transcripts"]
        assert "long" in str(gap["try_next"]["arguments"])
        assert bundle["complete"] is False
        await ok(agent, gap["try_next"]["tool"], **gap["try_next"]["arguments"])
    assert [turn["text"] for turn in said["short"]["turns"]] == ["Hello.", "Refund, please."]
    assert len(said["long"]["turns"]) < said["long"]["turns_in_call"] == 40
    await ok(agent, "add_flag", issue_id=issue["id"], call_id="short", type="refund", message_index=1)
    assert "transcripts" not in await ok(agent, "get_evidence", issue_id=issue["id"])


async def test_a_call_that_is_gone_leaves_the_words_of_the_others(agent: McpClient, the_desk: Desk) -> None:
    await load_lines(the_desk, call_line("kept", "Hello."), call_line("gone", "Bye."))
    calls = [{"resource_type": "call", "resource_id": name} for name in ("kept", "gone")]
    issue = await ok(agent, "create_issue", title="Words", severity="low", category="Bug", resource_links=calls)
    gone = sql.delete(tables.calls).where(tables.calls.c.id == "gone")
    await the_desk.store.write(lambda connection: connection.execute(gone))
    bundle = await ok(agent, "get_evidence", issue_id=issue["id"])
    assert [one["call_id"] for one in bundle["transcripts"]["items"]] == ["kept"]
    assert bundle["complete"] is False
