"""A person's work on the board, and what of it stands on the desk."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from mcp.client import Client as McpClient
from tool_calls import filed, ok, with_call

from board.seats import PHONE, WIDE, Served, arrive, board_on_port
from calltriage.client.client import Client
from calltriage.operations.flags import Flag, ListFlags
from calltriage.operations.issues import CreateIssue, GetIssue, ListIssues, UpdateIssue

pytestmark = pytest.mark.slow


async def flags_of(client: Client, issue_id: str) -> list[Flag]:
    return (await client.send(ListFlags(issue_id=issue_id))).items


async def test_by_keys_alone_a_person_flags_a_turn_and_corrects_the_flag(
    client: Client, full_agent: McpClient, page: Any, served: Served
) -> None:
    issue = await filed(full_agent, title="Card was not replaced")
    await ok(full_agent, "attach_resource", issue_id=issue["id"], resource_type="call", resource_id="call-card")
    await filed(full_agent, title="Something newer")
    async with page(served) as seat:
        await seat.press("j", "Enter")
        await seat.heading("Card was not replaced")
        await seat.press("c")
        await seat.heading("Call call-card")
        await seat.press("j", "j", "f")
        await seat.page.keyboard.type("missed_handoff")
        await seat.press("Tab")
        await seat.page.keyboard.type("asked too late")
        await seat.press("Shift+Tab", "Enter")
        await seat.said("Flagged turn 2 as missed_handoff")
        assert [(flag.type, flag.note, flag.message_index) for flag in await flags_of(client, issue["id"])] == [
            ("missed_handoff", "asked too late", 2)
        ]
        await seat.press("e", "Control+a")
        await seat.page.keyboard.type("wrong_question")
        await seat.press("Tab", "Tab", "Control+a")
        await seat.page.keyboard.type("4")
        await seat.press("Enter")
        await seat.said("Corrected: wrong_question, turn 4")
        assert seat.complaints == []
    assert [
        (flag.type, flag.note, flag.message_index, flag.message_text) for flag in await flags_of(client, issue["id"])
    ] == [("wrong_question", "asked too late", 4, "which card would you like to replace")]


async def test_with_the_keys_turned_off_arrows_alone_still_move(
    full_agent: McpClient, page: Any, served: Served
) -> None:
    ticket = await with_call(full_agent)
    async with page(served) as seat:
        await seat.press("?")
        await seat.board.get_by_role("button", name="Turn keys off").click()
        await seat.press("g", "x")
        assert await seat.board.get_by_role("checkbox", checked=True).count() == 0
        await seat.board.locator(".rows button", has_text=ticket).click()
        await seat.heading(ticket)
        await seat.board.get_by_role("button", name="call-card", exact=True).click()
        await seat.heading("Call call-card")
        await seat.press("ArrowDown", "ArrowDown", "ArrowUp", "5", "f", "j")
        assert await seat.board.evaluate("document.activeElement.innerText") == "1"
        assert await seat.board.get_by_role("dialog").count() == 0


async def test_a_digit_flags_the_words_that_are_selected(client: Client, full_agent: McpClient, view: Any) -> None:
    ticket = await with_call(full_agent)
    await ok(full_agent, "add_flag", issue_id=ticket, call_id="call-card", type="late", message_index=0)
    async with view(full_agent) as seat:
        await arrive(seat, full_agent, "get_issue", issue_id=ticket)
        await seat.heading(ticket)
        await seat.press("c")
        await seat.heading("Call call-card")
        await seat.board.evaluate("""() => {
          const text = document.querySelectorAll(".turns .words")[3].lastChild, at = text.data.indexOf("lost my");
          getSelection().setBaseAndExtent(text, at, text, at + 18);
        }""")
        await seat.press("1")
        await seat.said("Flagged turn 3 as late")
        flag_id = (await seat.seen("contexts"))[-1]["structuredContent"]["flag_id"]
    issue = (await ok(full_agent, "get_issue", issue_id=ticket))["id"]
    made = [flag for flag in await flags_of(client, issue) if flag.id == flag_id]
    assert [(flag.type, flag.message_index) for flag in made] == [("late", 3)]


async def test_of_twenty_issues_changed_at_once_the_one_that_somebody_else_changed_is_left_and_told(
    client: Client, page: Any, served: Served
) -> None:
    fields = {"severity": "low", "category": "Billing"}
    issues = [await client.send(CreateIssue.model_validate({**fields, "title": f"Fault {n}"})) for n in range(20)]
    async with page(served) as seat:
        await client.send(UpdateIssue(issue_id=issues[7].id, status="in_review"))
        await seat.board.get_by_role("button", name="Select all").click()
        await seat.board.get_by_label("New status").select_option("done")
        await seat.board.get_by_role("button", name="Change 20 selected").click()
        told = await seat.said("19 changed.")
        row = seat.board.locator(".rows > li", has_text=issues[7].triage_id)
        assert "Changed by somebody else meanwhile; it is in_review now. Not written." in await row.inner_text()
        assert await seat.board.get_by_text("changed", exact=True).count() == 19
        assert await seat.board.get_by_role("button", name="Change 1 selected").is_enabled()
    assert told == "19 changed. 1 changed by somebody else since you read them, so not written."
    found = {one.id: one.status for one in (await client.send(ListIssues(limit=100))).items}
    assert found == {one.id: "in_review" if one is issues[7] else "done" for one in issues}


async def in_tokyo(client: Client, issue_id: str) -> str:
    """When an issue was changed, as a German in Tokyo writes it."""
    at = (await client.send(GetIssue(issue_id=issue_id))).updated_at or ""
    return f"{datetime.fromisoformat(at).astimezone(ZoneInfo('Asia/Tokyo')):%d.%m.%Y, %H:%M}"


async def test_two_people_on_one_issue_see_that_the_other_was_first(
    client: Client, full_agent: McpClient, page: Any, served: Served
) -> None:
    issue = await filed(full_agent, title="Both look at it")
    async with page(served) as one, page(served, timezone_id="Asia/Tokyo", locale="de-DE") as other:
        for seat in (one, other):
            await seat.press("Enter")
            await seat.heading("Both look at it")
        await one.board.get_by_label("Status", exact=True).select_option("in_progress")
        await one.said("Changed: status in_progress.")
        for answer, status in (("Show what it is now", "in_progress"), ("Write mine all the same", "closed")):
            await other.board.get_by_label("Status", exact=True).select_option("closed")
            if answer.startswith("Show"):
                dialog = other.board.get_by_role("dialog")
                assert "Now it has status: in_progress" in await dialog.inner_text()
                assert await dialog.locator("time").inner_text() == await in_tokyo(client, issue["id"])
                await other.board.get_by_role("button", name=answer).click()
                await other.said("Not written")
                await one.board.get_by_label("Severity", exact=True).select_option("low")
                await one.said("Changed: severity low.")
            else:
                await other.board.get_by_role("button", name=answer).click()
                await other.said("Changed: status closed.")
            assert (await client.send(GetIssue(issue_id=issue["id"]))).status == status


async def test_a_flag_that_somebody_else_corrected_is_not_overwritten_unseen(
    full_agent: McpClient, client: Client, page: Any, served: Served
) -> None:
    ticket = await with_call(full_agent)
    made = await ok(full_agent, "add_flag", issue_id=ticket, call_id="call-card", type="late", message_index=3)
    async with page(served) as seat:
        await seat.press("Enter")
        await seat.heading(ticket)
        await seat.press("c")
        await seat.heading("Call call-card")
        await ok(full_agent, "update_flag", issue_id=ticket, flag_id=made["id"], note="by another")
        for told, note in (
            ("Somebody else corrected or removed this flag", "by another"),
            ("Corrected: early", "mine"),
        ):
            await seat.board.get_by_role("button", name="Correct late").click()
            await seat.board.get_by_label("Type").fill("early")
            await seat.board.get_by_label("Note").fill("mine")
            await seat.board.get_by_role("dialog").get_by_role("button", name="Save").click()
            await seat.said(told)
            await seat.board.locator(".turns .tools", has_text=note).first.wait_for()
        assert seat.complaints == []
    assert [(flag.type, flag.note) for flag in await flags_of(client, made["issue_id"])] == [("early", "mine")]


async def test_what_somebody_else_changes_is_told_while_a_person_reads_and_nothing_typed_is_lost(
    full_agent: McpClient, page: Any, served: Served
) -> None:
    issue = await filed(full_agent, title="Both look at it")
    async with page(served) as seat:
        await seat.page.clock.install()
        await seat.press("Enter")
        await seat.heading("Both look at it")
        await seat.board.get_by_label("Your comment").fill("half a thought")
        await seat.page.clock.run_for(20_000)
        assert await seat.board.locator("#changed").count() == 0
        await ok(full_agent, "update_issue", issue_id=issue["id"], severity="critical")
        await seat.page.clock.run_for(20_000)
        await seat.board.locator("#changed").wait_for()
        assert await seat.board.get_by_label("Your comment").input_value() == "half a thought"
        await seat.board.get_by_role("button", name="Show what it is now").click()
        await seat.board.wait_for_selector("main:not([aria-busy]) select:has(option[value=critical]:checked)")
        assert await seat.board.locator("#changed").count() == 0
        assert seat.complaints == []


async def test_what_a_person_removes_is_asked_about_and_goes_after_a_yes_alone(
    client: Client, full_agent: McpClient, page: Any, served: Served
) -> None:
    ticket = await with_call(full_agent)
    flag = await ok(full_agent, "add_flag", issue_id=ticket, call_id="call-card", type="late", message_index=3)
    async with page(served) as seat:
        await seat.press("Enter")
        await seat.heading(ticket)
        for answer, left, told in (("Keep", 1, "The person declined"), ("Remove", 0, "Flag removed.")):
            await seat.board.get_by_role("button", name="Remove late").click()
            assert flag["id"] in await seat.board.get_by_role("dialog").inner_text()
            await seat.board.get_by_role("dialog").get_by_role("button", name=answer).click()
            await seat.said(told)
            assert len(await flags_of(client, flag["issue_id"])) == left


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_no_screen_breaks_a_rule_of_accessibility(
    full_agent: McpClient, page: Any, view: Any, served: Served, violations: Any, theme: str, size: tuple[int, int]
) -> None:
    ticket = await with_call(full_agent)
    await ok(full_agent, "add_flag", issue_id=ticket, call_id="call-card", type="late", message_index=3, note="n")
    for n in range(2):
        other = await filed(full_agent, title=f"Other {n}", severity="low")
        await ok(full_agent, "link_issue", issue_id=ticket, related_issue_id=other["id"], relation_type="blocks")
    await ok(full_agent, "create_attachment", name="report.txt", text="x", attach_to=ticket)
    async with page(served, size, theme) as on_page, view(full_agent, size, theme) as in_host:
        await on_page.board.locator(".rows button", has_text=ticket).click()
        await arrive(in_host, full_agent, "get_evidence", issue_id=ticket)
        for seat in (on_page, in_host):
            await seat.heading(ticket)
            await seat.board.locator("summary").click()
            assert await violations(seat) == []
            assert await seat.board.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
                "it scrolls sideways"
            )
            await seat.press("c")
            await seat.heading("Call call-card")
            assert await violations(seat) == []
            await seat.press("f")
            assert await violations(seat) == []
            await seat.press("Escape", "g")
            await seat.heading("Issues")
            await seat.board.get_by_role("checkbox", name=f"Select {ticket}").check()
            assert await violations(seat) == []
            assert await seat.board.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
                "it scrolls sideways"
            )
            await seat.press("?")
            assert await violations(seat) == []
            await seat.press("Escape")
            assert seat.complaints == []


async def test_the_view_looks_as_its_host_does_and_tells_its_size(full_agent: McpClient, view: Any) -> None:
    ticket = await with_call(full_agent)
    styles = {"variables": {"--color-background-primary": "rgb(32, 33, 36)", "--Bad name": "x", "color": "red"}}
    async with view(full_agent, theme="dark", styles=styles, locale="de-DE", timeZone="Asia/Tokyo") as seat:
        await arrive(seat, full_agent, "get_evidence", issue_id=ticket)
        await seat.heading(ticket)
        assert await seat.board.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(32, 33, 36)"
        assert await seat.board.evaluate("document.documentElement.dataset.theme") == "dark"
        assert await seat.board.locator("time[datetime^='2026-05-01T10:00']").first.inner_text() == "01.05.2026, 19:00"
        await seat.page.wait_for_function("seen.sizes.some((one) => one.height > 300)")
        await seat.page.evaluate("bridge.sendHostContextChange({ theme: 'light' })")
        await seat.board.wait_for_selector("html[data-theme=light]")
        assert seat.complaints == []


async def test_a_page_of_another_origin_writes_nothing_with_the_cookie_of_the_board(
    client: Client, full_agent: McpClient, page: Any, served: Served, tmp_path: Path
) -> None:
    issue = await filed(full_agent, title="Stays as it is")
    async with page(served) as seat, board_on_port(client, tmp_path) as elsewhere:
        stranger = await seat.page.context.new_page()
        await stranger.goto(f"{elsewhere.base}/healthz")
        sent = await stranger.evaluate(
            """async ([base, issue_id]) => {
              const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/call",
                params: { name: "update_issue", arguments: { issue_id, status: "closed" } } });
              const outcomes = [];
              for (const more of [{ mode: "no-cors" }, { headers: { "content-type": "application/json" } }]) {
                outcomes.push(await fetch(`${base}/mcp`, { method: "POST", credentials: "include", body, ...more })
                  .then((answer) => answer.type, () => "blocked"));
              }
              return outcomes;
            }""",
            [served.base, issue["id"]],
        )
        assert sent == ["opaque", "blocked"]
    assert (await client.send(GetIssue(issue_id=issue["id"]))).status == "todo"
