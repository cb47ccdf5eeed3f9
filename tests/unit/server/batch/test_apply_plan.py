"""Applying a plan in an unkind world: others change things, servers end halfway, files are altered, strangers ask."""

from __future__ import annotations

import stat
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio
import httpx2
import pytest
from conftest import endpoints_to, enrol
from faults import Scripted, fails, passes
from mcp.client import Client
from planning import A_CASE, applied, planned, write
from tool_calls import filed, ok, refused
from virtual_time import VirtualLoop

from calltriage.client.client import Client as ApiClient
from calltriage.client.client import open_client
from calltriage.desk.app import Desk
from calltriage.journal.journal import Journal
from calltriage.leaves.seals import Seals
from calltriage.operations.activity import ListActivity
from calltriage.operations.flags import ListFlags
from calltriage.operations.issues import DeleteIssue, GetIssue, ListIssues, UpdateIssue
from calltriage.server.app import build_server
from calltriage.server.toolsets import select

Opened = Callable[..., AbstractAsyncContextManager[Client]]


async def comments(client: ApiClient, issue_id: str) -> list[str | None]:
    feed = (await client.send(ListActivity(issue_id=issue_id, limit=100))).items
    return [entry.detail for entry in reversed(feed) if entry.type == "comment"]


def comment(detail: str, issue_id: str = "T-1001") -> dict[str, Any]:
    return write("add_comment", issue_id=issue_id, detail=detail)


# Drift


async def test_it_stops_where_somebody_changed_what_a_write_was_decided_on(planner: Client, client: ApiClient) -> None:
    issue = await filed(planner)
    plan = await planned(planner, comment("1"), write("update_issue", issue_id="T-1001", status="done"), comment("3"))
    await client.send(UpdateIssue(issue_id=issue["id"], severity="critical"))
    done = await applied(planner, plan)
    assert (done["outcome"], done["state"], done["stopped_at"], done["done"]) == ("committed", "stopped", 2, 1)
    assert [row["outcome"] for row in done["outcomes"]] == ["committed", "not_committed"]
    assert done["outcomes"][1]["error"]["code"] == "plan_outdated"
    assert "plan the rest anew" in done["note"]
    again = await applied(planner, plan)
    assert (again["outcome"], again["state"], again["stopped_at"]) == ("replayed", "stopped", 2)
    await client.send(UpdateIssue(issue_id=issue["id"], severity="high"))
    assert (await applied(planner, plan))["state"] == "applied", "what was changed is as it was"
    assert await comments(client, issue["id"]) == ["1", "3"]


async def test_what_somebody_else_did_meanwhile_is_no_obstacle(planner: Client, client: ApiClient) -> None:
    issue = await filed(planner)
    link = {"issue_id": "T-1001", "resource_type": "call", "resource_id": "call-card"}
    flag = {"issue_id": "T-1001", "call_id": "call-card", "type": "t", "message_index": 1}
    update = {"issue_id": "T-1001", "status": "done"}
    plan = await planned(
        planner, write("attach_resource", **link), write("add_flag", **flag), write("update_issue", **update)
    )
    await ok(planner, "attach_resource", **link)
    await ok(planner, "add_flag", **flag)
    await ok(planner, "update_issue", **update)
    done = await applied(planner, plan)
    assert (done["state"], [row["outcome"] for row in done["outcomes"]][:2]) == ("applied", ["replayed"] * 2)
    assert len((await client.send(ListFlags(issue_id=issue["id"]))).items) == 1


async def test_it_stops_where_an_issue_is_gone_and_says_which_writes_need_it(
    planner: Client, client: ApiClient
) -> None:
    issue = await filed(planner)
    flag = write("add_flag", issue_id="T-1001", call_id="call-card", type="t", attach_if_missing=True)
    plan = await planned(planner, comment("1"), flag, write("update_flag", issue_id="T-1001", flag_id="$2", note="n"))
    await client.send(DeleteIssue(issue_id=issue["id"]))
    done = await applied(planner, plan)
    assert (done["outcome"], done["state"], done["stopped_at"]) == ("not_committed", "stopped", 1)
    assert done["outcomes"] == [{"write": 1, "tool": "add_comment", "outcome": "not_committed",
                                 "error": done["outcomes"][0]["error"]}]  # fmt: skip
    assert done["outcomes"][0]["error"]["code"] == "not_found"


async def test_it_stops_where_a_look_alike_was_filed_since(planner: Client, client: ApiClient) -> None:
    plan = await planned(planner, *A_CASE)
    await ok(planner, "create_issue", **A_CASE[0]["arguments"])
    done = await applied(planner, plan)
    assert (done["state"], done["outcomes"][0]["error"]["code"]) == ("stopped", "look_alike_open")
    assert done["outcomes"][0]["error"]["similar"]["returned"] == 1
    assert "These need what it would have made: 2, 3, 4, 5." in done["note"]
    assert len((await client.send(ListIssues())).items) == 1


async def test_the_condition_of_an_update_is_held_when_it_is_planned(
    planner: Client, client: ApiClient, the_desk: Desk
) -> None:
    """The plan's own writes move the issue on: they must not stand against its later ones."""
    await enrol(the_desk, "ann")
    issue = await filed(planner, assignee_id="ann")
    update = {"issue_id": "T-1001", "expect_updated_at": issue["updated_at"], "assignee_id": None}
    plan = await planned(planner, comment("1"), write("update_issue", **update))
    assert plan["ready"] == 2
    done = await applied(planner, plan)
    assert done["state"] == "applied"
    assert (await client.send(GetIssue(issue_id=issue["id"]))).assignee_id is None


# Once


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"loop_factory": VirtualLoop})])
async def test_a_write_whose_answer_is_lost_is_made_once_however_often_it_is_asked_for(
    the_desk: Desk, journal: Journal
) -> None:
    network = Scripted(
        inner=httpx2.ASGITransport(the_desk, raise_app_exceptions=False),
        only=lambda request: request.method == "POST" and request.url.path.endswith("/comments"),
    )
    async with open_client(endpoints_to(network), ledger=journal) as client:
        server = build_server(client, version="0", journal=journal, tools=select(["core", "batch"]))
        async with Client(server) as agent:
            issue = await filed(agent)
            plan = await planned(agent, *[comment(str(n)) for n in range(3)])
            network.script(passes, *[fails(httpx2.ConnectError)] * 60)
            done = await applied(agent, plan)
            assert (done["outcome"], done["state"], done["done"]) == ("committed", "more", 1)
            assert done["outcomes"][1]["error"]["retryable"]
            assert done["try_next"]["tool"] == "apply_plan"
            network.script(passes)
            await anyio.sleep(60)
            done = await applied(agent, plan)
            assert (done["state"], [row["write"] for row in done["outcomes"]]) == ("applied", [2, 3])
            assert await comments(client, issue["id"]) == ["0", "1", "2"]


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"loop_factory": VirtualLoop})])
async def test_a_change_that_was_cut_off_and_overtaken_is_not_made_again(the_desk: Desk, journal: Journal) -> None:
    """Nobody can tell whether it was made: another's change stands over it now."""
    network = Scripted(
        inner=httpx2.ASGITransport(the_desk, raise_app_exceptions=False), only=lambda request: request.method == "PATCH"
    )
    async with open_client(endpoints_to(network), ledger=journal) as client:
        server = build_server(client, version="0", journal=journal, tools=select(["core", "batch"]))
        async with Client(server) as agent:
            issue = await filed(agent)
            plan = await planned(agent, write("update_issue", issue_id="T-1001", status="done"), comment("after"))
            network.script(*[fails(httpx2.ConnectError)] * 60)
            assert (await applied(agent, plan))["state"] == "more"
            network.script(passes)
            await anyio.sleep(60)
            await client.send(UpdateIssue(issue_id=issue["id"], status="in_review"))
            done = await applied(agent, plan)
            assert (done["outcome"], done["state"], done["stopped_at"], "try_next" in done) == (
                "unknown",
                "stopped",
                1,
                False,
            )
            assert "may be made" in done["outcomes"][0]["error"]["message"]
            assert (await client.send(GetIssue(issue_id=issue["id"]))).status == "in_review"


async def test_two_that_apply_one_plan_at_once_make_each_write_once(opened: Opened, client: ApiClient) -> None:
    async with opened() as one, opened() as other:
        issue = await filed(one)
        plan = await planned(one, *[comment(str(n)) for n in range(8)])
        found = list[dict[str, Any]]()

        async def apply(agent: Client) -> None:
            found.append(await applied(agent, plan))

        async with anyio.create_task_group() as group:
            group.start_soon(apply, one)
            group.start_soon(apply, other)
        assert {body["state"] for body in found} == {"applied"}
        assert sorted(body["outcome"] for body in found) == ["committed", "replayed"]
        assert await comments(client, issue["id"]) == [str(n) for n in range(8)]


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"loop_factory": VirtualLoop})])
async def test_it_waits_for_the_quota_and_goes_on_in_the_next_call(opened: Opened, client: ApiClient) -> None:
    async with opened(writes_per_minute=20, tools=select(["core", "batch"])) as agent:
        issue = await filed(agent)
        plan = await planned(agent, *[comment(str(n)) for n in range(30)])
        done = await applied(agent, plan)
        assert (done["state"], 10 < done["done"] < 30, done["retry_after_s"] > 0) == ("more", True, True)
        calls = 1
        while done["state"] == "more":
            await anyio.sleep(done.get("retry_after_s", 0))
            done = await ok(agent, "apply_plan", **done["try_next"]["arguments"])
            calls += 1
        assert (done["state"], done["done"], calls > 2) == ("applied", 30, True)
        assert await comments(client, issue["id"]) == [str(n) for n in range(30)]


# Whose it is


async def test_a_plan_survives_its_server(opened: Opened) -> None:
    async with opened() as one:
        await filed(one)
        plan = await planned(one, comment("1"))
    async with opened() as another:
        again = await ok(another, "plan_triage", plan_id=plan["plan_id"])
        assert {**again, "good_for_s": 0} == {**plan, "good_for_s": 0}
        assert (await applied(another, plan))["state"] == "applied"


async def test_what_is_not_offered_any_more_is_not_written(opened: Opened, client: ApiClient) -> None:
    async with opened() as one:
        issue = await filed(one)
        plan = await planned(one, comment("1"))
    async with opened(tools=select(["core", "batch"], ["add_comment"])) as narrower:
        refusal = (await planned(narrower, comment("1")))["problems"][0]["error"]
        assert (refusal["code"], refusal["field"]) == ("tool_not_offered", "tool")
        done = await applied(narrower, plan)
        assert (done["state"], done["outcomes"][0]["error"]["code"]) == ("stopped", "tool_not_offered")
    async with opened(tools=select(["core", "batch"], read_only=True)) as reader:
        assert [tool.name for tool in (await reader.list_tools()).tools if "plan" in tool.name] == ["plan_triage"]
        assert (await planned(reader, comment("1"), *A_CASE))["ready"] == 0
    assert await comments(client, issue["id"]) == []


async def test_another_callers_plan_is_as_good_as_unknown(planner: Client, opened: Opened, journal: Journal) -> None:
    await filed(planner)
    plan = await planned(planner, comment("1"))
    unknown = await refused(planner, "apply_plan", plan_id="0" * 16, seal=plan["seal"])
    assert unknown["code"] == "plan_not_found"
    unknown["message"] = unknown["message"].replace("0" * 16, plan["plan_id"])  # which each call gave
    for stranger in ("who", "organisation"):
        if stranger == "organisation":
            journal.organisation = "another"
        else:
            [kept] = (journal.folder / "plans").glob("*.plan")
            kept.rename(kept.with_name(f"{'0' * 16}{plan['plan_id']}.plan"))
        assert await refused(planner, "apply_plan", plan_id=plan["plan_id"], seal=plan["seal"]) == unknown
        assert {**await refused(planner, "plan_triage", plan_id=plan["plan_id"]), "outcome": 0} == {
            **unknown,
            "outcome": 0,
        }


async def test_a_plan_needs_its_own_seal(planner: Client) -> None:
    await filed(planner)
    one, two = await planned(planner, comment("1")), await planned(planner, comment("2"))
    error = await refused(planner, "apply_plan", plan_id=one["plan_id"], seal=two["seal"])
    assert (error["code"], error["field"], error["outcome"]) == ("invalid_arguments", "seal", "not_committed")


@pytest.mark.parametrize(
    "what", ["a byte of the plan", "another plan's text", "a byte of what was done", "a dropped line"]
)
async def test_what_was_altered_on_disk_is_refused(
    planner: Client, client: ApiClient, journal: Journal, what: str
) -> None:
    issue = await filed(planner)
    plan = await planned(planner, comment("1"), comment("2"))
    [kept] = (journal.folder / "plans").glob("*.plan")
    other = await planned(planner, comment("3"))
    [its] = set((journal.folder / "plans").glob("*.plan")) - {kept}
    if what == "a byte of the plan":
        text = kept.read_text("ascii")
        kept.write_text(text[:99] + ("A" if text[99] != "A" else "B") + text[100:], "ascii")
    elif what == "another plan's text":
        kept.write_bytes(its.read_bytes())
    else:
        await applied(planner, plan)
        done = kept.with_suffix(".done")
        lines = done.read_bytes().splitlines(keepends=True)
        other_byte = b"A" if lines[0][:1] != b"A" else b"B"
        done.write_bytes(other_byte + lines[0][1:] + b"".join(lines[1:]) if "byte" in what else b"".join(lines[:2]))
    if what == "a dropped line":  # the journal knows of the write all the same
        assert (await applied(planner, plan))["outcomes"][-1]["outcome"] == "replayed"
        assert await comments(client, issue["id"]) == ["1", "2"]
        return
    error = await refused(planner, "apply_plan", plan_id=plan["plan_id"], seal=plan["seal"])
    assert (error["code"], error["outcome"]) == ("plan_altered", "not_committed")
    assert (await applied(planner, other))["state"] == "applied"


async def test_a_line_that_a_crash_cut_off_is_forgotten(planner: Client, client: ApiClient, journal: Journal) -> None:
    issue = await filed(planner)
    plan = await planned(planner, comment("1"), comment("2"))
    await applied(planner, plan)
    [done] = (journal.folder / "plans").glob("*.done")
    done.write_bytes(done.read_bytes()[:-9])
    assert (await applied(planner, plan))["state"] == "applied"
    assert await comments(client, issue["id"]) == ["1", "2"]


@pytest.mark.parametrize("keep_s", [48 * 3600, 3600])
async def test_a_plan_ends_after_a_day_or_with_the_keys_of_its_writes(
    opened: Opened, journal: Journal, keep_s: int
) -> None:
    journal.keep_s, now = keep_s, [0.0]
    life = min(keep_s, 24 * 3600)
    async with opened(seals=Seals(lambda: b"0" * 32, clock=lambda: now[0])) as agent:
        await filed(agent)
        plan = await planned(agent, comment("1"))
        assert plan["good_for_s"] == life
        now[0] = life - 1
        assert (await ok(agent, "plan_triage", plan_id=plan["plan_id"]))["good_for_s"] == 1
        now[0] = life
        error = await refused(agent, "apply_plan", plan_id=plan["plan_id"], seal=plan["seal"])
        assert error["code"] == "plan_not_found"


async def test_plans_are_their_owners_alone_and_old_ones_go(planner: Client, journal: Journal) -> None:
    import os

    await filed(planner)
    plan = await planned(planner, comment("secret words"))
    await applied(planner, plan)
    folder = journal.folder / "plans"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    for file in folder.iterdir():
        os.utime(file, (0, 0))
    later = await planned(planner, comment("2"))
    assert [file.name[16:] for file in folder.iterdir()] == [f"{later['plan_id']}.plan"]


# Back


async def test_an_applied_plan_lists_the_calls_that_undo_it(planner: Client, client: ApiClient, the_desk: Desk) -> None:
    await enrol(the_desk, "ann")
    issue = await filed(planner, title="Old", description="As it was")
    other = await filed(planner, title="Other")
    call = {"resource_type": "call", "resource_id": "call-card"}
    await ok(planner, "attach_resource", issue_id="T-1001", **call)
    old = await ok(
        planner, "add_flag", issue_id="T-1001", call_id="call-card", type="first", note="The old one.", message_index=0
    )
    update = {"title": "New", "status": "done", "description": "Changed", "assignee_id": "ann"}
    plan = await planned(
        planner, *A_CASE, write("attach_resource", issue_id="T-1002", **call),
        write("add_flag", issue_id="T-1001", call_id="call-card", type="t", message_index=1),
        write("link_issue", issue_id="T-1001", related_issue_ids=["T-1002"], relation_type="blocks"),
        write("update_issue", issue_id="T-1001", **update), comment("stays"),
        write("update_flag", issue_id="T-1001", flag_id="$7", type="u"),
        write("update_flag", issue_id="T-1001", flag_id=old["id"], type="v", message_index=2),
    )  # fmt: skip
    assert (await applied(planner, plan))["state"] == "applied"
    undo = await applied(planner, plan, undo=True)
    assert (undo["outcome"], undo["outcomes"]) == ("not_committed", [])
    assert "10" in undo["note"]
    assert [step["write"] for step in undo["undo"]] == [12, 12, 11, 9, 8, 6, 1]
    for step in undo["undo"]:
        await ok(planner, step["tool"], **step["arguments"])
    [flag] = (await client.send(ListFlags(issue_id=issue["id"]))).items
    assert (flag.type, flag.note, flag.message_index) == ("first", "The old one.", 0)
    now = await client.send(GetIssue(issue_id=issue["id"]))
    was = {name: issue.get(name) for name in ("title", "description", "status", "assignee_id")}
    assert {name: getattr(now, name) for name in was} == was
    assert {one.id for one in (await client.send(ListIssues())).items} == {issue["id"], other["id"]}


async def test_a_link_answers_the_new_time_of_the_issue_that_it_links(planner: Client) -> None:
    one, two = await filed(planner, title="One"), await filed(planner, title="Two")
    ends = {"issue_id": one["id"], "related_issue_id": two["id"], "relation_type": "blocks"}
    [outcome] = (await applied(planner, await planned(planner, write("link_issue", **ends))))["outcomes"]
    guard = {"issue_id": one["id"], "expect_updated_at": outcome["updated_at"]}
    assert (await ok(planner, "update_issue", severity="low", **guard))["outcome"] == "committed"
