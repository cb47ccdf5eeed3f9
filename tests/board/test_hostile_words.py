"""Words of callers, authors and uploaders are text on the board, whatever they look like."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import call_line, load_lines
from mcp.client import Client as McpClient
from tool_calls import filed, ok

from board.hostile import HOSTILE, only_text
from board.seats import Seat, Served, arrive
from calltriage.client.client import Client
from calltriage.desk.app import Desk
from calltriage.operations.issues import CreateIssue

pytestmark = pytest.mark.slow


async def hostile_case(desk: Desk, client: Client, agent: McpClient) -> str:
    """A ticket with every hostile text in every place that takes text of others."""
    await load_lines(desk, call_line("call-hostile", *HOSTILE, summary=HOSTILE[0]))
    fields = [{"title": text, "description": text, "category": text[:64], "severity": "low"} for text in HOSTILE]
    others = [await client.send(CreateIssue.model_validate(one)) for one in fields]
    ticket = (await filed(agent, title=HOSTILE[1], description="\n".join(HOSTILE)))["triage_id"]
    await ok(agent, "attach_resource", issue_id=ticket, resource_type="call", resource_id="call-hostile")
    for place, text in enumerate(HOSTILE[:12]):
        flag = {"issue_id": ticket, "call_id": "call-hostile", "type": f"kind_{place % 3}", "note": text}
        await ok(agent, "add_flag", **flag, message_index=place)
        await ok(agent, "add_comment", issue_id=ticket, detail=text)
    for other in others[:5]:
        await ok(agent, "link_issue", issue_id=ticket, related_issue_id=other.id, relation_type="related_to")
    await ok(agent, "create_attachment", name="<img src=x onerror=1>.txt", text="x", attach_to=ticket)
    return ticket


async def look_around(seat: Seat, ticket: str) -> None:
    """Go through all screens; on each, everything that is shown came from the board itself or is text."""
    await only_text(seat, "an issue")
    await seat.board.locator("summary").click()
    await only_text(seat, "a transcript")
    await seat.press("c")
    await seat.heading("Call call-hostile")
    assert await seat.board.locator(".turns > li").count() == len(HOSTILE)
    shown = await seat.board.locator(".turns .words").all_inner_texts()
    assert f"assistant: {HOSTILE[0]}" == shown[0]
    await seat.board.get_by_label("Search in this call").fill("__pwned")
    await seat.press("Enter")
    await seat.said("Found in")
    await only_text(seat, "a call")
    await seat.board.locator("body").press("g")
    await seat.heading("Issues")
    while await seat.board.get_by_role("button", name="More").count():  # a page of the list ends at its budget
        rows = await seat.board.locator(".rows > li").count()
        await seat.board.get_by_role("button", name="More").click()
        await seat.board.locator(".rows > li").nth(rows).wait_for()
    assert await seat.board.locator(".rows > li").count() == len(HOSTILE) + 1
    await only_text(seat, "the queue")
    assert seat.complaints == []


async def test_hostile_words_stay_words_in_a_hosts_view_and_on_the_page(
    the_desk: Desk, client: Client, full_agent: McpClient, view: Any, page: Any, served: Served
) -> None:
    ticket = await hostile_case(the_desk, client, full_agent)
    async with view(full_agent) as seat:
        await arrive(seat, full_agent, "get_evidence", issue_id=ticket)
        await seat.heading(ticket)
        await look_around(seat, ticket)
        assert seat.requests == []
        shared = str(await seat.seen("contexts"))
    assert ticket in shared
    assert not [text for text in HOSTILE if text in shared]
    async with page(served) as seat:
        await seat.board.locator(".rows button", has_text=ticket).click()
        await seat.heading(ticket)
        await look_around(seat, ticket)
        assert [url for url in seat.requests if not url.startswith(f"{served.base}/")] == []
