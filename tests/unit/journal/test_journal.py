"""Writes on record, keys that are answered once, and a chain that tells what was done to it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from conftest import Clock, endpoints_to
from faults import Gate, Killed, Mortal, Scripted, Step, answers, fails, killed, loses_the_answer, passes, then
from mcp.client import Client as McpClient
from pydantic import SecretStr
from virtual_time import VirtualLoop

from calltriage.client.client import Client, open_client
from calltriage.client.receipts import Receipt
from calltriage.client.retries import RetryPolicy
from calltriage.desk.app import Desk
from calltriage.errors import CallError, Conflict, StoreError
from calltriage.journal import journal as journal_module
from calltriage.journal.head_notes import KEY, NOTE, HeadNote
from calltriage.journal.journal import FILE, SHARED_TOKEN, Journal
from calltriage.operations.activity import AddComment, TimelineEntry
from calltriage.operations.flags import AddFlag, ListFlags, RemoveFlag
from calltriage.operations.issues import CreateIssue, Issue, ListIssues
from calltriage.operations.resource_links import AttachResource
from calltriage.server.app import build_server
from calltriage.server.toolsets import select
from calltriage.settings import Settings
from calltriage.wiring import build_journal, head_note

NEW = {"title": "Card line is silent", "severity": "high", "category": "Speech"}
CALL = {**NEW, "on_duplicate": "create"}


@pytest.fixture
async def journal(tmp_path: Path, clock: Clock) -> AsyncIterator[Journal]:
    opened = Journal(tmp_path / "journal", clock=clock)
    yield opened
    await opened.close()


@asynccontextmanager
async def recorded(
    desk: Desk, journal: Journal, *script: Step, when: Callable[[httpx2.Request], bool] = lambda _: False
) -> AsyncGenerator[tuple[Client, McpClient]]:
    """A client on the desk with the journal behind it, and an agent over it."""
    network = Scripted(*script, inner=httpx2.ASGITransport(desk, raise_app_exceptions=False), only=when)
    async with open_client(endpoints_to(network), ledger=journal) as client:
        server = build_server(client, version="0", tools=select(("all",)), journal=journal)
        async with McpClient(server) as agent:
            yield client, agent


async def called(agent: McpClient, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    result = await agent.call_tool(name, arguments)
    return result.structured_content or {}


async def issues_of(client: Client) -> list[Issue]:
    return (await client.send(ListIssues())).items


async def an_issue(client: Client) -> str:
    issue = await client.send(CreateIssue.model_validate(NEW))
    await client.send(AttachResource(issue_id=issue.id, resource_type="call", resource_id="call-card"))
    return issue.id


def post(path: str) -> Callable[[httpx2.Request], bool]:
    return lambda request: request.method == "POST" and request.url.path.endswith(path)


# One line when a write is asked, one with its outcome


async def test_each_write_has_a_line_before_it_is_sent_and_one_after(the_desk: Desk, journal: Journal) -> None:
    kinds: list[list[str]] = []

    async def look(request: httpx2.Request, inner: Any) -> httpx2.Response:
        kinds.append([row.kind for row in await journal.every()])
        return await passes(request, inner)

    async with recorded(the_desk, journal, look, when=post("issues")) as (client, _):
        await client.send(CreateIssue.model_validate(NEW))
        await client.send(ListIssues())
    assert kinds == [["asked"]]
    asked, settled = await journal.every()
    assert (asked.kind, settled.kind, asked.write_id == settled.write_id) == ("asked", "outcome", True)
    assert (asked.operation, settled.outcome) == ("create_issue", "committed")


async def test_a_refused_write_is_recorded_as_not_committed(the_desk: Desk, journal: Journal) -> None:
    async with recorded(the_desk, journal) as (client, _):
        flag = AddFlag(issue_id="9bbe5547-d5b1-4b83-9f80-87c4af7c6b34", call_id="call-card", type="x")
        with pytest.raises(CallError):
            await client.send(flag)
    assert [(row.outcome, row.code) for row in await journal.every()] == [(None, None), ("not_committed", "not_found")]


@pytest.mark.parametrize("damage", ["DROP TABLE head", "DELETE FROM head", "UPDATE head SET seq = 1"])
async def test_a_write_is_not_sent_when_it_cannot_be_put_on_record(
    the_desk: Desk, journal: Journal, damage: str
) -> None:
    async with recorded(the_desk, journal) as (client, agent):
        await client.send(CreateIssue.model_validate(NEW))
        with sqlite3.connect(journal.folder / FILE) as raw:
            raw.execute(damage)
        error = (await called(agent, "create_issue", CALL))["error"]
        assert (error["code"], error["outcome"]) == ("storage_unavailable", "not_committed")
        assert len(await issues_of(client)) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="open files cannot be moved there")
@pytest.mark.parametrize("key", [{}, {"idempotency_key": "k"}])
async def test_a_write_that_is_done_says_when_its_record_is_missing(
    the_desk: Desk, journal: Journal, key: dict[str, str]
) -> None:
    """The desk committed, and only then the journal's folder went away."""

    async def then_moved(request: httpx2.Request, inner: Any) -> httpx2.Response:
        answer = await passes(request, inner)
        journal.folder.rename(journal.folder.with_name("moved"))
        return answer

    async with recorded(the_desk, journal, then_moved, when=post("issues")) as (client, agent):
        before = await called(agent, "add_comment", {"issue_id": await an_issue_on(the_desk), "detail": "Seen."})
        assert (before["outcome"], before.get("note")) == ("committed", None)
        made = await called(agent, "create_issue", {**CALL, **key})
        assert (made["outcome"], made["triage_id"]) == ("committed", "T-1002")
        assert "record is missing" in made["note"]
        refused = (await called(agent, "create_issue", CALL))["error"]
        assert (refused["code"], refused["outcome"]) == ("storage_unavailable", "not_committed")
        assert len(await issues_of(client)) == 2


async def an_issue_on(desk: Desk) -> str:
    async with open_client(endpoints_to(httpx2.ASGITransport(desk, raise_app_exceptions=False))) as client:
        return (await client.send(CreateIssue.model_validate(NEW))).id


async def test_a_write_that_is_cancelled_is_seen_through_and_recorded(the_desk: Desk, journal: Journal) -> None:
    gate = Gate()
    async with recorded(the_desk, journal, gate.holds(), when=post("issues")) as (client, _):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.send, CreateIssue.model_validate(NEW))
            await gate.entered.wait()
            tasks.cancel_scope.cancel()
            gate.opened.set()
        assert len(await issues_of(client)) == 1
    assert [row.outcome for row in await journal.every()] == [None, "committed"]


async def test_no_secret_and_no_key_is_in_the_file(the_desk: Desk, journal: Journal) -> None:
    key = "my-own-key-4711"
    async with recorded(the_desk, journal) as (_, agent):
        made = {"name": "report.txt", "text": "the words of the report", "idempotency_key": key}
        assert (await called(agent, "create_attachment", made))["outcome"] == "committed"
    await journal.close()
    content = b"".join(file.read_bytes() for file in journal.folder.rglob("*") if file.is_file())
    for secret in (b"desk-key-for-tests", b"signature=", b"the words of the report", key.encode()):
        assert secret not in content


# Keys


@pytest.mark.parametrize("again", ["same process", "after a restart"])
async def test_a_key_is_answered_once(the_desk: Desk, journal: Journal, again: str) -> None:
    async with recorded(the_desk, journal) as (_, agent):
        first = await called(agent, "create_issue", {**CALL, "idempotency_key": "k"})
    if again == "after a restart":
        await journal.close()
        journal = Journal(journal.folder, clock=journal.clock)
    async with recorded(the_desk, journal) as (client, agent):
        second = await called(agent, "create_issue", {**CALL, "idempotency_key": "k"})
        assert len(await issues_of(client)) == 1
    assert second == {**first, "outcome": "replayed"}
    assert (await journal.verify()).broken_at is None
    await journal.close()


async def test_a_key_with_other_arguments_is_a_conflict(the_desk: Desk, journal: Journal) -> None:
    async with recorded(the_desk, journal) as (client, agent):
        await called(agent, "create_issue", {**CALL, "idempotency_key": "k"})
        error = (await called(agent, "create_issue", {**CALL, "title": "Other", "idempotency_key": "k"}))["error"]
        assert (error["code"], error["field"], error["outcome"]) == (
            "idempotency_conflict", "idempotency_key", "not_committed",
        )  # fmt: skip
        assert len(await issues_of(client)) == 1


async def test_a_key_belongs_to_its_tool_and_its_caller(the_desk: Desk, journal: Journal) -> None:
    async with recorded(the_desk, journal) as (client, agent):
        await called(agent, "create_issue", {**CALL, "idempotency_key": "k"})
        category = await called(agent, "create_category", {"name": "Hold music", "idempotency_key": "k"})
        assert category["outcome"] == "committed"
    other = Journal(journal.folder, organisation="another", clock=journal.clock)
    async with recorded(the_desk, other) as (client, agent):
        assert (await called(agent, "create_issue", {**CALL, "idempotency_key": "k"}))["outcome"] == "committed"
        assert len(await issues_of(client)) == 2
    await other.close()


async def test_a_key_expires(the_desk: Desk, journal: Journal, clock: Clock) -> None:
    async with recorded(the_desk, journal) as (client, agent):
        await called(agent, "create_issue", {**CALL, "idempotency_key": "k"})
        clock.advance(hours=25)
        assert (await called(agent, "create_issue", {**CALL, "idempotency_key": "k"}))["outcome"] == "replayed"
        clock.advance(hours=24)
        assert (await called(agent, "create_issue", {**CALL, "idempotency_key": "k"}))["outcome"] == "committed"
        assert len(await issues_of(client)) == 2


async def test_a_key_may_come_beside_the_arguments(the_desk: Desk, journal: Journal) -> None:
    async with recorded(the_desk, journal) as (client, agent):
        meta: Any = {"calltriage/idempotency_key": "k", "calltriage/deadline_s": 20}
        outcomes = [(await agent.call_tool("create_issue", CALL, meta=meta)).structured_content for _ in range(2)]
        assert [(found or {})["outcome"] for found in outcomes] == ["committed", "replayed"]
        assert len(await issues_of(client)) == 1


@pytest.mark.parametrize("key", ["x" * 129, "a\nb", 7])
async def test_a_key_that_cannot_be_is_refused_and_not_shown(the_desk: Desk, journal: Journal, key: Any) -> None:
    async with recorded(the_desk, journal) as (client, agent):
        error = (await called(agent, "create_issue", {**CALL, "idempotency_key": key}))["error"]
        assert (error["field"], error["outcome"]) == ("idempotency_key", "not_committed")
        assert await issues_of(client) == []


async def test_two_calls_at_once_with_one_key_are_one_write(the_desk: Desk, journal: Journal) -> None:
    found: list[dict[str, Any]] = []
    async with recorded(the_desk, journal) as (client, agent):

        async def call() -> None:
            found.append(await called(agent, "create_issue", {**CALL, "idempotency_key": "k"}))

        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(call)
        assert len(await issues_of(client)) == 1
    assert sorted(body["outcome"] for body in found) == ["committed"] + ["replayed"] * 7
    assert len({body["id"] for body in found}) == 1


async def test_a_refused_call_may_be_made_again_with_its_key(the_desk: Desk, journal: Journal) -> None:
    async with recorded(the_desk, journal) as (client, agent):
        issue = await client.send(CreateIssue.model_validate(NEW))
        flag = {"issue_id": issue.id, "call_id": "call-card", "type": "x", "idempotency_key": "k"}
        assert (await called(agent, "add_flag", flag))["error"]["code"] == "call_not_attached"
        await client.send(AttachResource(issue_id=issue.id, resource_type="call", resource_id="call-card"))
        assert (await called(agent, "add_flag", flag))["outcome"] == "committed"


TOOLS: dict[str, tuple[str, Callable[[str, str], dict[str, Any]]]] = {
    "create_issue": ("issues", lambda one, two: CALL),
    "attach_resource": (
        "resources", lambda one, two: {"issue_id": one, "resource_type": "call", "resource_id": "call-hours"}),
    "add_flag": ("flags", lambda one, two: {"issue_id": one, "call_id": "call-card", "type": "x", "message_index": 3}),
    "link_issue": (
        "relations", lambda one, two: {"issue_id": one, "related_issue_id": two, "relation_type": "blocks"}),
    "add_comment": ("comments", lambda one, two: {"issue_id": one, "detail": "Seen again."}),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["lost", "500 after", "502", "429", "refused"])
@pytest.mark.parametrize("key", ["k", None])
@pytest.mark.parametrize("tool", TOOLS)
async def test_whatever_befalls_a_write_it_happens_once_and_its_key_is_answered_alike(
    the_desk: Desk, journal: Journal, clock: Clock, tool: str, key: str | None, fault: str
) -> None:
    faults = {
        "lost": loses_the_answer(), "500 after": then(passes, answers(500)), "502": answers(502),
        "429": answers(429, headers={"retry-after": "1"}), "refused": fails(httpx2.ConnectError),
    }  # fmt: skip
    path, make = TOOLS[tool]
    sent: list[int] = []

    async def counted(request: httpx2.Request, inner: Any) -> httpx2.Response:
        found = await passes(request, inner)
        sent.append(found.status_code)
        return found

    async with recorded(the_desk, journal) as (calm, _):
        one, two = await an_issue(calm), await an_issue(calm)
    clock.advance(minutes=11)
    async with recorded(the_desk, journal, faults[fault], *[counted] * 9, when=post(path)) as (_, agent):
        asked = make(one, two) | ({"idempotency_key": key} if key else {})
        first = await called(agent, tool, asked)
        assert first["outcome"] == "committed", first
        if key:
            again = await called(agent, tool, asked)
            assert again == {**first, "outcome": "replayed"}
    assert sent.count(201) == (0 if fault in {"lost", "500 after"} else 1)
    assert (await journal.verify()).broken_at is None


# Writes that were cut off


async def cut_off(desk: Desk, journal: Journal, operation: Any, *, carried_out: bool) -> None:
    """What a killed process leaves: a line that a write was asked for, and perhaps its effect."""
    network = Scripted(killed(after=carried_out), inner=httpx2.ASGITransport(desk, raise_app_exceptions=False),
                       only=lambda request: request.method == "POST")  # fmt: skip
    async with open_client(endpoints_to(network), ledger=Mortal(journal)) as client:
        with pytest.raises(Killed):
            await client.send(operation)


@pytest.mark.parametrize("carried_out", [True, False])
async def test_a_write_that_was_cut_off_is_looked_for_and_never_sent_blind(
    the_desk: Desk, journal: Journal, clock: Clock, carried_out: bool
) -> None:
    async with recorded(the_desk, journal) as (client, agent):
        issue_id = await an_issue(client)
        clock.advance(minutes=1)
        flag = AddFlag(issue_id=issue_id, call_id="call-card", type="silence", note="n")
        await cut_off(the_desk, journal, flag, carried_out=carried_out)
        outcome = (await called(agent, "add_flag", flag.model_dump(exclude_unset=True)))["outcome"]
        flags = (await client.send(ListFlags(issue_id=issue_id))).items
    assert (outcome, len(flags)) == ("replayed" if carried_out else "committed", 1)


async def is_waited_for(agent: McpClient, flag: AddFlag, clock: Clock) -> None:
    """A flag that is under way is refused for now, and added once its time is over."""
    asked = flag.model_dump(exclude_unset=True)
    error = (await called(agent, "add_flag", asked))["error"]
    assert (error["code"], error["outcome"]) == ("in_flight", "not_committed")
    assert 0 < error["retry_after_s"] <= 30
    clock.advance(seconds=31)
    assert (await called(agent, "add_flag", asked))["outcome"] == "committed"


async def test_a_write_that_another_process_has_under_way_is_waited_for(
    the_desk: Desk, journal: Journal, clock: Clock
) -> None:
    async with recorded(the_desk, journal) as (client, agent):
        flag = AddFlag(issue_id=await an_issue(client), call_id="call-card", type="silence", note="n")
        await journal.begin(flag)
        await is_waited_for(agent, flag, clock)


async def test_of_several_attempts_the_last_one_is_waited_for_however_old_the_first_one_is(
    the_desk: Desk, journal: Journal, clock: Clock
) -> None:
    async with recorded(the_desk, journal) as (client, agent):
        flag = AddFlag(issue_id=await an_issue(client), call_id="call-card", type="silence", note="n")
        await cut_off(the_desk, journal, flag, carried_out=False)
        clock.advance(minutes=5)
        await journal.begin(flag)
        await is_waited_for(agent, flag, clock)


async def test_a_request_of_a_process_that_was_killed_a_moment_ago_may_still_arrive_and_is_waited_for(
    the_desk: Desk, journal: Journal
) -> None:
    way = httpx2.ASGITransport(the_desk, raise_app_exceptions=False)
    async with open_client(endpoints_to(way)) as killed_one:
        flag = AddFlag(issue_id=await an_issue(killed_one), call_id="call-card", type="silence", note="n")
        await cut_off(the_desk, journal, flag, carried_out=False)
        on_its_way = [flag]

        async def arrives(_: float) -> None:
            while on_its_way:
                await killed_one.send(on_its_way.pop())

        waiting = {api: replace(one, retry=RetryPolicy(sleep=arrives)) for api, one in endpoints_to(way).items()}
        async with open_client(waiting, ledger=journal) as client:
            outcome = (await client.deliver(flag)).outcome
            flags = (await client.send(ListFlags(issue_id=flag.issue_id))).items
    assert (outcome, len(flags)) == ("replayed", 1)


@pytest.mark.parametrize(
    "process", [f"{os.getpid()}@another-container", "1@another-machine"], ids=["our number", "another number"]
)
async def test_a_write_of_another_container_is_waited_for_whatever_its_process_is_called_there(
    the_desk: Desk, journal: Journal, monkeypatch: pytest.MonkeyPatch, process: str
) -> None:
    async with recorded(the_desk, journal) as (client, agent):
        flag = AddFlag(issue_id=await an_issue(client), call_id="call-card", type="silence", note="n")
        with monkeypatch.context() as elsewhere:
            elsewhere.setattr(journal_module, "this_process", lambda: process)
            await journal.begin(flag)
        error = (await called(agent, "add_flag", flag.model_dump(exclude_unset=True)))["error"]
    assert (error["code"], error["outcome"]) == ("in_flight", "not_committed")


async def test_a_keyed_call_that_was_cut_off_between_its_steps_goes_on_where_it_was(
    the_desk: Desk, journal: Journal
) -> None:
    """The call was attached, then the flag's answer was lost and so was the look for it."""
    async with recorded(the_desk, journal, passes, loses_the_answer(), answers(500), answers(500), answers(500),
                        when=lambda request: request.url.path.endswith("flags")) as (client, agent):  # fmt: skip
        issue = await client.send(CreateIssue.model_validate(NEW))
        await client.send(AttachResource(issue_id=issue.id, resource_type="call", resource_id="call-card"))
        flag = {"issue_id": issue.id, "call_id": "call-card", "type": "x", "idempotency_key": "k"}
        assert (await called(agent, "add_flag", flag))["error"]["outcome"] == "unknown"
        assert (await called(agent, "add_flag", flag))["outcome"] == "replayed"
        assert len((await client.send(ListFlags(issue_id=issue.id))).items) == 1


async def test_a_repeat_that_was_told_to_wait_does_not_hide_the_write_that_it_waits_for(journal: Journal) -> None:
    comment = AddComment(issue_id="9bbe5547-d5b1-4b83-9f80-87c4af7c6b34", detail="Seen again.")
    async with journal.calling("add_comment", "", "k"):
        first, second = await journal.begin(comment), await journal.begin(comment)
        await journal.end(second, comment, Conflict("Wait.", code="in_flight", outcome="not_committed"))
        third = await journal.begin(comment)
        assert (first.standing, second.standing, third.standing) == ("new", "open", "open")
        entry = TimelineEntry(id="e", issue_id=comment.issue_id, type="comment", created_at="")
        await journal.end(first, comment, Receipt(entry, "committed"))
        assert (await journal.begin(comment)).standing == "done"  # though the third is open still


async def test_a_change_in_doubt_is_made_when_it_is_asked_for_anew(the_desk: Desk, journal: Journal) -> None:
    async with recorded(the_desk, journal) as (client, _):
        issue = await client.send(CreateIssue.model_validate(NEW))
    change = {"issue_id": issue.id, "status": "done"}
    async with recorded(the_desk, journal, fails(httpx2.ReadError), *[answers(500)] * 3,
                        when=lambda request: request.url.path.endswith(issue.id)) as (client, agent):  # fmt: skip
        assert (await called(agent, "update_issue", change))["error"]["outcome"] == "unknown"
        await client.send(
            AttachResource(issue_id=issue.id, resource_type="call", resource_id="call-card")
        )  # it moves on
        assert (await called(agent, "update_issue", change))["outcome"] == "committed"


# Content as a key


async def test_the_same_flag_again_is_a_replay_while_it_stands(the_desk: Desk, journal: Journal, clock: Clock) -> None:
    async with recorded(the_desk, journal) as (client, agent):
        issue_id = await an_issue(client)
        flag = {"issue_id": issue_id, "call_id": "call-card", "type": "silence", "message_index": 3, "note": "n"}
        first, again = await called(agent, "add_flag", flag), await called(agent, "add_flag", flag)
        assert (again["outcome"], again["id"]) == ("replayed", first["id"])
        assert (await called(agent, "add_flag", {**flag, "note": "m"}))["outcome"] == "committed"
        await client.send(RemoveFlag(issue_id=issue_id, flag_id=first["id"]))
        assert (await called(agent, "add_flag", flag))["outcome"] == "committed"
        clock.advance(minutes=11)
        assert (await called(agent, "add_flag", flag))["outcome"] == "committed"
        assert (await called(agent, "add_flag", {**flag, "idempotency_key": "k"}))["outcome"] == "committed"


async def test_the_same_relation_again_is_a_replay(the_desk: Desk, journal: Journal) -> None:
    async with recorded(the_desk, journal) as (client, agent):
        one, two = await an_issue(client), await an_issue(client)
        link = {"issue_id": one, "related_issue_id": two, "relation_type": "blocks"}
        assert [(await called(agent, "link_issue", link))["outcome"] for _ in range(2)] == ["committed", "replayed"]


async def test_comments_and_issues_of_equal_content_are_two(the_desk: Desk, journal: Journal) -> None:
    async with recorded(the_desk, journal) as (client, agent):
        assert [(await called(agent, "create_issue", CALL))["outcome"] for _ in range(2)] == ["committed"] * 2
        assert len(await issues_of(client)) == 2


# The clock


@pytest.mark.parametrize("back", [25, 47, 49, 24 * 365])
async def test_a_key_survives_a_clock_that_is_set_back(
    the_desk: Desk, journal: Journal, clock: Clock, back: int
) -> None:
    async with recorded(the_desk, journal) as (client, agent):
        first = await called(agent, "create_issue", {**CALL, "idempotency_key": "k"})
        clock.advance(hours=-back)
        assert await called(agent, "create_issue", {**CALL, "idempotency_key": "k"}) == {**first, "outcome": "replayed"}
        assert len(await issues_of(client)) == 1


@pytest.mark.parametrize("days", [-1, 1])
async def test_a_clock_that_was_set_makes_no_negative_wait_and_forgets_no_key(
    the_desk: Desk, journal: Journal, clock: Clock, days: int
) -> None:
    async with recorded(the_desk, journal) as (client, agent):
        await called(agent, "create_issue", {**CALL, "idempotency_key": "k"})
        issue_id = await an_issue(client)
        flag = AddFlag(issue_id=issue_id, call_id="call-card", type="silence")
        await cut_off(the_desk, journal, flag, carried_out=False)
        clock.advance(days=days)
        assert (await called(agent, "create_issue", {**CALL, "idempotency_key": "k"}))["outcome"] == "replayed"
        body = await called(agent, "add_flag", flag.model_dump(exclude_unset=True))
        assert body.get("error", {}).get("retry_after_s", 0) >= 0
        assert body.get("outcome", "not_committed") in {"committed", "replayed", "not_committed"}


# The chain


async def ten_lines(desk: Desk, journal: Journal) -> sqlite3.Connection:
    async with recorded(desk, journal) as (client, _):
        for _ in range(5):
            await client.send(CreateIssue.model_validate(NEW))
    assert (await journal.verify()).rows == 10
    await journal.close()
    raw = sqlite3.connect(journal.folder / FILE, isolation_level=None)
    raw.execute("DROP TRIGGER entries_stay")
    raw.execute("DROP TRIGGER entries_stand")
    return raw


@pytest.mark.parametrize(
    ("damage", "broken_at"),
    [
        ("UPDATE entries SET outcome = 'unknown' WHERE seq = 4", 4),
        ("UPDATE entries SET arguments = replace(arguments, 'high', 'low') WHERE seq = 7", 7),
        ("UPDATE entries SET at = '2020-01-01T00:00:00+00:00' WHERE seq = 1", 1),
        ("DELETE FROM entries WHERE seq = 5", 5),
        ("DELETE FROM entries WHERE seq = 1", 1),
        ("DELETE FROM entries WHERE seq > 8", 9),
        ("DELETE FROM entries", 1),
        ("UPDATE entries SET seq = seq + 100 WHERE seq IN (3, 4);"
         "UPDATE entries SET seq = 4 WHERE seq = 103; UPDATE entries SET seq = 3 WHERE seq = 104", 3),
        ("INSERT INTO entries SELECT 11, at, 'x', write_id, process, caller, tool, operation, key, fingerprint, arguments, "
         "outcome, code, result, hash, hash FROM entries WHERE seq = 10", 11),
    ],
)  # fmt: skip
async def test_the_first_row_that_does_not_fit_is_named(
    the_desk: Desk, journal: Journal, damage: str, broken_at: int
) -> None:
    raw = await ten_lines(the_desk, journal)
    raw.executescript(damage)
    raw.close()
    assert (await journal.verify()).broken_at == broken_at


OTHER = "process, caller, tool, operation, key, 'x', arguments, outcome, code, result, previous, hash"
WITH_SEQ = f"SELECT {{}}, at, kind, {{}}, {OTHER}"
CHANGES = (
    "DELETE FROM entries",
    "UPDATE entries SET outcome = 'x'",
    "UPDATE OR REPLACE entries SET seq = 2 WHERE seq = 1",
    f"INSERT OR REPLACE INTO entries {WITH_SEQ.format('seq', 'write_id')} FROM entries WHERE seq = 1",
    f"REPLACE INTO entries {WITH_SEQ.format('seq', repr('other'))} FROM entries WHERE seq = 2",
    f"REPLACE INTO entries {WITH_SEQ.format('3', 'write_id')} FROM entries WHERE seq = 1",
    f"INSERT INTO entries {WITH_SEQ.format('0', repr('other'))} FROM entries WHERE seq = 1",
    f"INSERT INTO entries {WITH_SEQ.format('99', repr('other'))} FROM entries WHERE seq = 1",
    f"INSERT INTO entries {WITH_SEQ.format('NULL', repr('other'))} FROM entries WHERE seq = 1",
    f"INSERT INTO entries {WITH_SEQ.format('1', repr('other'))} FROM entries WHERE seq = 1 "
    "ON CONFLICT (seq) DO UPDATE SET outcome = 'x'",
)
"""What would alter, erase or put in a row, each in another way."""


async def test_a_journal_of_an_older_version_is_guarded_from_its_first_use_on(the_desk: Desk, journal: Journal) -> None:
    async with recorded(the_desk, journal) as (client, _):
        await client.send(CreateIssue.model_validate(NEW))
    await journal.close()
    with sqlite3.connect(journal.folder / FILE) as raw:
        raw.execute("DROP TRIGGER entries_follow")
    async with recorded(the_desk, journal) as (client, _):
        await client.send(CreateIssue.model_validate(NEW))
    with sqlite3.connect(journal.folder / FILE) as raw, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        raw.execute(CHANGES[3])
    found = await journal.verify()
    assert (found.rows, found.broken_at) == (4, None)


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"loop_factory": VirtualLoop})])
async def test_the_head_is_noted_at_most_once_a_second_and_at_the_end(the_desk: Desk, journal: Journal) -> None:
    noted = list[int]()

    class Counting(HeadNote):
        def write(self, seq: int, digest: str) -> None:
            noted.append(seq)
            super().write(seq, digest)

    (journal.folder / KEY).parent.mkdir()
    (journal.folder / KEY).touch()
    journal.note = Counting(journal.folder, lambda: b"k" * 32)
    async with recorded(the_desk, journal) as (client, _):
        for _ in range(3):
            await client.send(CreateIssue.model_validate(NEW))
        assert noted == [1]
        await anyio.sleep(1)
        await client.send(CreateIssue.model_validate(NEW))
        assert noted == [1, 7]
    await journal.close()
    assert noted == [1, 7, 8]
    await journal.close()
    assert noted == [1, 7, 8]
    assert (await journal.verify()).noted


async def test_a_folder_that_takes_no_note_stops_no_write(the_desk: Desk, journal: Journal) -> None:
    def no_key() -> bytes:
        raise OSError

    journal.note = HeadNote(journal.folder, no_key)
    async with recorded(the_desk, journal) as (client, _):
        assert (await client.send(CreateIssue.model_validate(NEW))).triage_id == "T-1001"
    await journal.close()
    assert not (journal.folder / NOTE).exists()


async def test_nothing_can_be_changed_or_erased_through_the_file_as_it_is(the_desk: Desk, journal: Journal) -> None:
    async with recorded(the_desk, journal) as (client, _):
        await client.send(CreateIssue.model_validate(NEW))
    with sqlite3.connect(journal.folder / FILE) as raw:
        for change in CHANGES:
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                raw.execute(change)
    assert (await journal.verify()).rows == 2


async def test_two_processes_write_one_chain(the_desk: Desk, journal: Journal) -> None:
    other = Journal(journal.folder, clock=journal.clock)
    async with (
        recorded(the_desk, journal) as (one, _),
        recorded(the_desk, other) as (two, _),
        anyio.create_task_group() as tasks,
    ):
        for n in range(20):
            client = (one, two)[n % 2]
            tasks.start_soon(client.send, CreateIssue.model_validate({**NEW, "title": f"Issue {n}"}))
    found = await journal.verify()
    assert (found.rows, found.broken_at) == (40, None)
    await other.close()


# Reading it back


async def test_an_agent_reads_back_what_it_wrote(the_desk: Desk, journal: Journal) -> None:
    async with recorded(the_desk, journal) as (client, agent):
        issue_id = await an_issue(client)
        flag = {"issue_id": issue_id, "call_id": "call-card", "type": "silence", "note": "secret words"}
        made = await called(agent, "add_flag", flag)
        read = await agent.read_resource("triage://journal/recent")
        body = json.loads(read.model_dump()["contents"][0]["text"])
        assert body == await called(agent, "list_recent_writes", {})
    assert [item["operation"] for item in body["items"]] == ["add_flag", "attach_resource", "create_issue"]
    newest = body["items"][0]
    assert (newest["made"], newest["issue_id"], newest["outcome"]) == (made["id"], issue_id, "committed")
    assert "secret words" not in json.dumps(body)


async def test_a_failed_write_can_be_told_from_one_that_was_done(the_desk: Desk, journal: Journal) -> None:
    refused = [fails(httpx2.ConnectError)] * 4
    async with recorded(the_desk, journal, *refused, when=post("issues")) as (_, agent):
        await called(agent, "create_issue", CALL)
        await called(agent, "create_issue", CALL)
        body = await called(agent, "list_recent_writes", {})
    assert [item["outcome"] for item in body["items"]] == ["committed", "not_committed"]


async def made(journal: Journal, who: str, title: str, key: str = "k", **arguments: Any) -> str:
    """What a call of `who` under a key answers: its title, or that of the call that it repeats."""

    async def act() -> dict[str, Any]:
        return {"outcome": "committed", "id": title}

    async with journal.calling("create_issue", who, key) as call:
        return (await journal.once(call, {"a": 1, **arguments}, act))["id"]


async def test_what_earlier_versions_noted_of_a_caller_is_still_its_own(tmp_path: Path, clock: Clock) -> None:
    """They took the raw header that brought the token for the caller, and without one nothing."""
    folder = tmp_path / "journal"
    before, now = Journal(folder, clock=clock), Journal(folder, clock=clock, former={SHARED_TOKEN: "Bearer a"})
    await made(before, "Bearer a", "with the token")
    await made(before, "", "without a token")
    assert await made(now, SHARED_TOKEN, "again") == "with the token"
    assert await made(now, "127.0.0.1", "again") == "without a token"
    for journal in (before, now):
        await journal.close()


def test_the_former_name_of_the_token_s_holders_is_known(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, http_token=SecretStr("t" * 32))
    assert build_journal(settings).former == {SHARED_TOKEN: "Bearer " + "t" * 32}


VENDORS = {
    "bland_api_key": "key-of-bland-1", "talkdesk_account": "acme", "talkdesk_client_id": "id-1",
    "talkdesk_client_secret": "secret-1", "http_token": "a" * 32,
}  # fmt: skip
SIGNED = {"talkdesk_client_secret": None, "talkdesk_key_id": "kid"}


def settings_in(folder: Path, **given: Any) -> Settings:
    return Settings.model_validate({"data_dir": folder / "data", **VENDORS, **given})


async def said_by(folder: Path, who: str, title: str, **given: Any) -> str:
    """What a server with these settings answers to a call under the one key."""
    journal = build_journal(settings_in(folder, **given))
    try:
        return await made(journal, who, title)
    finally:
        await journal.close()


@pytest.mark.parametrize(
    "change",
    [
        {"bland_api_key": "key-of-bland-2"},
        {"talkdesk_client_secret": "secret-2"},
        SIGNED | {"talkdesk_private_key": "-----BEGIN PRIVATE KEY-----"},
        {"http_token": "b" * 32},
        {"http_token": "b" * 32, "bland_api_key": "key-of-bland-2"},
        {"bland_auth_scheme": "bearer"},
    ],
)
@pytest.mark.parametrize("who", ["", SHARED_TOKEN])
async def test_a_key_stands_when_a_credential_is_changed(tmp_path: Path, who: str, change: dict[str, Any]) -> None:
    assert await said_by(tmp_path, who, "first") == "first"
    assert await said_by(tmp_path, who, "again", **change) == "first"


@pytest.mark.parametrize(
    "change",
    [
        {"bland_base_url": "https://staging.bland.ai"},
        {"bland_api_key": None},
        {"talkdesk_account": "other"},
        {"talkdesk_client_id": "id-2"},
        {"talkdesk_region": "eu"},
        {"talkdesk_base_url": "https://api.example.com"},
        {"talkdesk_account": None, "talkdesk_client_id": None, "talkdesk_client_secret": None},
    ],
)
async def test_a_key_belongs_to_a_place_and_an_account(tmp_path: Path, change: dict[str, Any]) -> None:
    assert await said_by(tmp_path, "", "first") == "first"
    assert await said_by(tmp_path, "", "elsewhere", **change) == "elsewhere"


async def written_by_an_earlier_version(folder: Path, who: str, title: str, **given: Any) -> None:
    """A record as it was made when callers were named by their credentials."""
    told = {"bland_base_url": "https://api.bland.ai", "bland_api_key": "", **VENDORS, **given}
    fields = ("bland_base_url", "talkdesk_client_id", "bland_api_key", "talkdesk_client_secret")
    organisation = hashlib.sha256("\n".join(told[name] or "" for name in fields).encode()).hexdigest()
    journal = Journal(folder / "data", organisation)
    await made(journal, who, title)
    await journal.close()
    with closing(sqlite3.connect(folder / "data" / FILE)) as connection, connection:
        connection.execute("DELETE FROM facts WHERE name = 'earlier callers'")


@pytest.mark.parametrize("change", [{}, {"bland_api_key": "key-of-bland-2"}, {"http_token": "b" * 32}])
@pytest.mark.parametrize(
    ("before", "now"), [("", ""), (f"Bearer {'a' * 32}", SHARED_TOKEN), (SHARED_TOKEN, SHARED_TOKEN)]
)
async def test_a_key_of_an_earlier_version_stands_although_a_credential_changes(
    tmp_path: Path, before: str, now: str, change: dict[str, Any]
) -> None:
    await written_by_an_earlier_version(tmp_path, before, "first")
    assert await said_by(tmp_path, now, "again", **change) == "first"
    assert await said_by(tmp_path, now, "once more", bland_api_key="key-of-bland-3", http_token="c" * 32) == "first"


async def test_a_key_that_may_be_another_s_is_no_conflict_with_other_arguments(tmp_path: Path) -> None:
    await written_by_an_earlier_version(tmp_path, f"Bearer {'a' * 32}", "first")
    journal = build_journal(settings_in(tmp_path, http_token="b" * 32))
    assert await made(journal, SHARED_TOKEN, "mine", a=2) == "mine"
    async with journal.calling("create_issue", SHARED_TOKEN, None) as call:
        assert await journal.recent(call) == []
    await journal.close()


NONE = {name: None for name in VENDORS if name.startswith(("bland", "talkdesk"))}


async def test_what_an_earlier_version_wrote_on_the_desk_is_not_taken_for_the_vendor_s(tmp_path: Path) -> None:
    await written_by_an_earlier_version(tmp_path, "", "on the desk", **NONE)
    assert await said_by(tmp_path, "", "on the vendor") == "on the vendor"
    assert await said_by(tmp_path, "", "again", **NONE) == "on the desk"


async def noted(folder: Path) -> None:
    """A journal with a write in it, and its head beside it."""
    journal = Journal(folder, note=head_note(folder))
    await made(journal, "", "first")
    await journal.close()
    assert (folder / NOTE).is_file()


@pytest.mark.parametrize("is_emptied", [False, True])
async def test_a_note_that_was_removed_is_missed_by_verify_and_by_servers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, *, is_emptied: bool
) -> None:
    await noted(tmp_path)
    (tmp_path / NOTE).unlink()
    if is_emptied:
        for file in tmp_path.glob(f"{FILE}*"):
            file.unlink()
    journal = Journal(tmp_path, note=head_note(tmp_path))
    await made(journal, "", "again")
    with pytest.raises(StoreError, match=r"journal\.head is gone"):
        await journal.verify()
    await journal.close()
    assert not (tmp_path / NOTE).exists(), "none is noted anew in silence"
    assert "journal.head is gone" in caplog.text
    (tmp_path / "journal.noted").unlink()  # as the message says
    await noted(tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="modes of POSIX")
@pytest.mark.parametrize("with_log", [False, True])
async def test_a_journal_that_cannot_be_written_is_verified_shown_and_exported(
    tmp_path: Path, *, with_log: bool
) -> None:
    folder = tmp_path / "data"
    await noted(folder)
    if with_log:  # as a server leaves it that was killed
        journal = Journal(folder, note=head_note(folder))
        await made(journal, "", "second", "another key")
        shutil.copytree(folder, tmp_path / "copy", ignore=shutil.ignore_patterns("*-shm"))
        await journal.close()
        folder = tmp_path / "copy"
        assert (folder / f"{FILE}-wal").stat().st_size
    for file in (*folder.iterdir(), folder):
        file.chmod(0o500 if file.is_dir() else 0o400)
    before = sorted(path.name for path in folder.iterdir())
    may = ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner"] if os.geteuid() == 0 else []
    verified, shown, exported = [
        await anyio.run_process(
            [*may, sys.executable, "-m", "calltriage", "journal", command],
            env={**os.environ, "CALLTRIAGE_DATA_DIR": str(folder)}, check=False,
        )
        for command in ("verify", "show", "export")
    ]  # fmt: skip
    folder.chmod(0o700)
    assert (verified.returncode, b"4 rows, whole" in verified.stdout) == (0, with_log), verified.stderr
    assert shown.returncode == 0, shown.stderr
    assert exported.returncode == 0, exported.stderr
    assert len(exported.stdout.splitlines()) == (4 if with_log else 2)
    assert sorted(path.name for path in folder.iterdir()) == before
