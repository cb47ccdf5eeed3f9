"""A whole case in one call: the issue, its evidence and its flags, or none of it where one of them cannot be."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from conftest import endpoints_to
from faults import Scripted, fails, passes
from mcp.client import Client
from tool_calls import filed, ok, refused

from calltriage.client.client import Client as ApiClient
from calltriage.client.client import open_client
from calltriage.desk.app import Desk
from calltriage.journal.journal import Journal
from calltriage.operations.flags import ListFlags
from calltriage.operations.issues import ListIssues
from calltriage.server.app import build_server
from calltriage.server.toolsets import select

CARD = [{"resource_type": "call", "resource_id": "call-card"}]
FLAGS = [
    {"call_id": "call-card", "type": "lost_card", "quote": "I lost my debit card", "note": "why they call"},
    {"call_id": "call-card", "type": "slow", "message_index": 4},
    {"call_id": "call-card", "type": "whole_call"},
]
CASE: dict[str, Any] = {"title": "Card is sent without a check", "severity": "high", "category": "Dialogue",
                        "resource_links": CARD, "flags": FLAGS}  # fmt: skip


async def flags_of(client: ApiClient, issue_id: str) -> list[tuple[Any, ...]]:
    stored = await client.send(ListFlags(issue_id=issue_id))
    return [(flag.type, flag.message_index, flag.note) for flag in stored.items]


async def count(client: ApiClient) -> int:
    return len((await client.send(ListIssues())).items)


async def test_a_case_is_filed_with_its_flags_in_one_call(agent: Client, client: ApiClient) -> None:
    made = await ok(agent, "create_issue", **CASE)
    assert made["outcome"] == "committed"
    flags = made["flags"]
    assert flags["trust"] == "untrusted"
    assert [(one["type"], one.get("message_index"), one["outcome"]) for one in flags["items"]] == [
        ("lost_card", 3, "committed"), ("slow", 4, "committed"), ("whole_call", None, "committed")
    ]  # fmt: skip
    assert await flags_of(client, made["id"]) == [
        ("lost_card", 3, "why they call"),
        ("slow", 4, ""),
        ("whole_call", None, ""),
    ]
    assert not {"updated_at", "flag_count"} & made.keys(), "what the flags made old is not shown"
    [touched] = made["issues"]
    guard = {"issue_id": made["id"], "expect_updated_at": touched["updated_at"]}
    assert (await ok(agent, "update_issue", severity="low", **guard))["outcome"] == "committed"


@pytest.mark.parametrize(
    ("flags", "code", "more"),
    [([{"call_id": "call-hours", "type": "x"}], "call_not_attached", {}),
     ([FLAGS[0], {"call_id": "call-card", "type": "x", "quote": "zebra"}], "quote_not_found", {"place": 1}),
     ([{"call_id": "call-card", "type": "x", "quote": "card"}], "quote_ambiguous", {"place": 0}),
     ([{"call_id": "call-card", "type": "x", "message_index": 8}], "invalid_arguments", {"place": 0}),
     ([{"call_id": "call-card"}], "invalid_arguments", {}),
     ([{"call_id": "call-card", "type": "x", "when": 1}], "invalid_arguments", {}),
     ([FLAGS[1]] * 21, "invalid_arguments", {})],
    ids=["not_attached", "no_turn", "ambiguous", "beyond", "no_type", "unknown_member", "too_many"],
)  # fmt: skip
async def test_one_flag_that_cannot_be_and_nothing_is_filed(
    agent: Client, client: ApiClient, flags: list[dict[str, Any]], code: str, more: dict[str, Any]
) -> None:
    error = await refused(agent, "create_issue", **CASE | {"flags": flags})
    assert (error["field"], error["outcome"]) == ("flags", "not_committed")
    assert error["code"] == code or code == "invalid_arguments"
    assert more.items() <= error.items()
    assert await count(client) == 0


async def test_a_case_whose_call_is_unknown_is_not_filed(agent: Client, client: ApiClient) -> None:
    absent = {"resource_links": [{"resource_type": "call", "resource_id": "absent"}]}
    error = await refused(agent, "create_issue", **CASE | absent | {"flags": [FLAGS[1] | {"call_id": "absent"}]})
    assert (error["code"], error["outcome"], await count(client)) == ("not_found", "not_committed", 0)


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncGenerator[Journal]:
    opened = Journal(tmp_path / "journal")
    yield opened
    await opened.close()


@pytest.mark.parametrize("on_duplicate", ["report", "create", "link"])
async def test_a_case_that_was_cut_off_is_finished_by_the_same_call_with_its_key(
    the_desk: Desk, client: ApiClient, journal: Journal, on_duplicate: str
) -> None:
    """The second flag meets a broken network: the issue and the first flag stand, and the repeat adds the rest."""
    network = Scripted(
        inner=httpx2.ASGITransport(the_desk, raise_app_exceptions=False),
        only=lambda request: request.method == "POST" and request.url.path.endswith("/flags"),
    )
    case = CASE | {"on_duplicate": on_duplicate, "idempotency_key": "k"}
    async with (
        open_client(endpoints_to(network), ledger=journal) as bad,
        Client(build_server(bad, version="0", journal=journal)) as agent,
    ):
        network.script(passes, *[fails(httpx2.ConnectError)] * 9)
        error = await refused(agent, "create_issue", **case)
        assert (error["code"], error["outcome"]) == ("flags_missing", "not_committed")
        stands = error["added"]
        assert [one["outcome"] for one in stands["flags"]["items"]] == ["committed", "not_committed", "not_committed"]
        network.script(*[passes] * 9)
        for outcome in ("committed", "replayed"):
            made = await ok(agent, "create_issue", **case)
            assert (made["id"], made["outcome"]) == (stands["issue"]["id"], outcome)
            assert len(await flags_of(client, made["id"])) == 3
        assert await count(client) == 1
        if on_duplicate == "report":
            other = await ok(agent, "create_issue", **case | {"idempotency_key": "another"})
            assert (other["outcome"], await count(client)) == ("not_committed", 1)


async def test_without_add_flag_there_are_no_flags(client: ApiClient) -> None:
    tools = select(excluded=["add_flag"])
    server = build_server(client, version="0", tools=tools, excluded=["add_flag"])
    async with Client(server) as agent:
        error = await refused(agent, "create_issue", **CASE)
    assert (error["code"], error["field"], await count(client)) == ("tool_excluded", "flags", 0)


async def test_a_link_moves_the_new_issue_on_too(agent: Client) -> None:
    first = await filed(agent)
    made = await ok(agent, "create_issue", title=first["title"], severity="low", category=first["category"],
                    on_duplicate="link")  # fmt: skip
    assert made["link"]["outcome"] == "committed"
    guard = {"issue_id": made["id"], "expect_updated_at": made["issues"][0]["updated_at"]}
    assert (await ok(agent, "update_issue", severity="high", **guard))["outcome"] == "committed"
