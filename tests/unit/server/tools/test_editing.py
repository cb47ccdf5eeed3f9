"""Changing an issue only when it is still what was read, and commenting without starting an agent by accident."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from conftest import Clock, enrol
from mcp.client import Client
from tokens import real_tokens
from tool_calls import filed, ok, refused

from calltriage.client.client import Client as ApiClient
from calltriage.desk.app import Desk
from calltriage.leaves.gate import compact
from calltriage.operations.activity import ListActivity
from calltriage.operations.issues import GetIssue, Issue


async def stored(client: ApiClient, issue: dict[str, Any]) -> Issue:
    return await client.send(GetIssue(issue_id=issue["id"]))


async def test_only_what_is_passed_changes(agent: Client, client: ApiClient, the_desk: Desk) -> None:
    await enrol(the_desk, "u-1", "u-2")
    issue = await filed(agent, description="As it was.", owner_id="u-1")
    changed = await ok(agent, "update_issue", issue_id=issue["triage_id"], status="in_review", severity="low")
    assert (changed["outcome"], changed["status"], changed["severity"]) == ("committed", "in_review", "low")
    after = await stored(client, issue)
    assert (after.title, after.description, after.owner_id) == ("T", "As it was.", "u-1")


async def test_null_clears_owner_and_assignee_and_nothing_else(
    agent: Client, client: ApiClient, the_desk: Desk
) -> None:
    await enrol(the_desk, "u-1", "u-2")
    issue = await filed(agent, owner_id="u-1", assignee_id="u-2")
    await ok(agent, "update_issue", issue_id=issue["id"], owner_id=None)
    after = await stored(client, issue)
    assert (after.owner_id, after.assignee_id) == (None, "u-2")
    await ok(agent, "update_issue", issue_id=issue["id"], assignee_id=None, status="done")
    assert (await stored(client, issue)).assignee_id is None


async def test_a_host_that_sends_null_for_everything_left_out_clears_nothing(
    agent: Client, client: ApiClient, the_desk: Desk
) -> None:
    await enrol(the_desk, "u-1", "u-2")
    issue = await filed(agent, owner_id="u-1", assignee_id="u-2")
    names = ("title", "description", "severity", "category", "owner_id", "assignee_id", "expect_updated_at")
    told = await ok(agent, "update_issue", issue_id=issue["id"], status="done", **dict.fromkeys(names))
    assert "assignee_id and owner_id stayed" in told["note"]
    after = await stored(client, issue)
    assert (after.status, after.owner_id, after.assignee_id) == ("done", "u-1", "u-2")
    names = (*names, "status")
    assert (await refused(agent, "update_issue", issue_id=issue["id"], **dict.fromkeys(names)))[
        "code"
    ] == "empty_update"


@pytest.mark.parametrize("more", [{}, {"expect_updated_at": "2026-05-06T21:09:57.082Z"}, {"title": None}])
async def test_an_update_of_nothing_is_refused(agent: Client, more: dict[str, Any]) -> None:
    error = await refused(agent, "update_issue", issue_id=(await filed(agent))["id"], **more)
    assert (error["code"], error["outcome"]) == ("empty_update", "not_committed")


async def test_an_issue_that_moved_on_is_not_overwritten_and_its_present_state_comes_back(
    agent: Client, client: ApiClient, clock: Clock
) -> None:
    read = await filed(agent)
    clock.advance(seconds=5)
    theirs = await ok(agent, "update_issue", issue_id=read["id"], severity="critical")
    mine = {"issue_id": read["id"], "severity": "low", "expect_updated_at": read["updated_at"]}
    error = await refused(agent, "update_issue", **mine)
    assert (error["code"], error["field"], error["outcome"]) == ("issue_changed", "expect_updated_at", "not_committed")
    assert "try_next" not in error, "to repeat the write would undo the other change"
    assert error["current"]["severity"] == "critical"
    assert error["current"]["trust"] == "untrusted"
    assert (await stored(client, read)).severity == "critical"
    again = mine | {"expect_updated_at": error["current"]["updated_at"]}
    assert again["expect_updated_at"] == theirs["updated_at"]
    assert (await ok(agent, "update_issue", **again))["severity"] == "low"


async def test_an_instant_is_the_same_in_any_spelling(agent: Client) -> None:
    issue = await filed(agent)
    same = issue["updated_at"].replace("Z", "+00:00")
    changed = await ok(agent, "update_issue", issue_id=issue["id"], status="done", expect_updated_at=same)
    naive = changed["updated_at"].removesuffix("Z")
    await ok(agent, "update_issue", issue_id=issue["id"], status="todo", expect_updated_at=naive)
    error = await refused(agent, "update_issue", issue_id=issue["id"], status="done", expect_updated_at="2026-1")
    assert (error["code"], "as it was read" in error["message"]) == ("invalid_arguments", True)
    for odd in ("2026-13-45T99:99Z", "2026-05-06"):
        error = await refused(agent, "update_issue", issue_id=issue["id"], status="todo", expect_updated_at=odd)
        assert error["field"] == "expect_updated_at"


MENTIONS = [
    "@norm please fix", "ping @Norm", "@NORM", "x@normal", "＠ｎｏｒｍ look", "@\u200bnorm", "@n\u00adorm", "@no\u2060rm",
    "&#64;norm", "&commat;norm", "﹫norm", "@nórm", "@n\u0300orm", "\u202e@\u202cnorm", "@\ufe0fnorm",
]  # fmt: skip


@pytest.mark.parametrize("text", MENTIONS)
async def test_no_spelling_of_the_mention_starts_a_run(agent: Client, client: ApiClient, text: str) -> None:
    issue = await filed(agent)
    before = await client.send(ListActivity(issue_id=issue["id"]))
    error = await refused(agent, "add_comment", issue_id=issue["id"], detail=text)
    assert (error["code"], error["field"], error["outcome"]) == ("agent_run_not_allowed", "detail", "not_committed")
    assert await client.send(ListActivity(issue_id=issue["id"])) == before


@pytest.mark.parametrize("text", ["Norm looked at it", "norm@example.com", "the norm @ this branch", "ＮＯＲＭ"])
async def test_a_comment_without_the_mention_is_stored(agent: Client, text: str) -> None:
    issue = await filed(agent)
    stored = await ok(agent, "add_comment", issue_id=issue["id"], detail=text)
    assert (stored["outcome"], stored["detail"], stored["trust"]) == ("committed", text, "untrusted")


async def test_a_mention_starts_a_run_where_it_is_allowed(agent: Client, client: ApiClient) -> None:
    issue = await filed(agent)
    await ok(agent, "add_comment", issue_id=issue["id"], detail="@norm verify", allow_agent_run=True)
    assert (await stored(client, issue)).is_processing


async def test_of_guarded_changes_at_once_only_the_first_is_written(agent: Client) -> None:
    issue = await filed(agent)
    outcomes: list[str] = []

    async def change(title: str) -> None:
        given = {"issue_id": issue["id"], "title": title, "expect_updated_at": issue["updated_at"]}
        body = (await agent.call_tool("update_issue", given)).structured_content or {}
        outcomes.append(body.get("outcome") or body["error"]["outcome"])

    async with anyio.create_task_group() as group:
        for title in ("one", "two", "three", "four"):
            group.start_soon(change, title)
    assert sorted(outcomes) == ["committed", "not_committed", "not_committed", "not_committed"]


async def test_an_attach_before_a_flag_is_told_whatever_becomes_of_the_flag(agent: Client) -> None:
    ticket = (await filed(agent))["triage_id"]
    flag = {"issue_id": ticket, "call_id": "call-card", "type": "x", "attach_if_missing": True}
    first = await ok(agent, "add_flag", **flag)
    assert first["attached"]["outcome"] == "committed"
    assert "attached" not in await ok(agent, "add_flag", **flag, message_index=1)


async def test_a_write_does_not_answer_back_a_long_text_that_its_caller_wrote(agent: Client) -> None:
    text = ("the caller asked twice and nobody called back. " * 80).strip()
    issue = await ok(agent, "create_issue", title="Not called back", severity="high", category="x", description=text)
    changed = await ok(agent, "update_issue", issue_id=issue["id"], severity="low")
    comment = await ok(agent, "add_comment", issue_id=issue["id"], detail=text)
    for body, name in ((issue, "description"), (changed, "description"), (comment, "detail")):
        assert text.startswith(body[name])
        assert body["stored_whole"] == {name: f"shown to 200 of {len(text)} characters"}
        assert "characters_left_out" not in body
        assert real_tokens(compact(body)) < 400
    assert (await ok(agent, "get_issue", issue_id=issue["id"]))["description"] == text
