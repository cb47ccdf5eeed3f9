"""What hangs on an issue: a recording plays on the page, turns are where it is heard, files are read and pictures seen."""

from __future__ import annotations

import base64
import io
import json
import struct
import wave
import zlib
from typing import Any

import pytest
from conftest import load_lines
from mcp.client import Client as McpClient
from tool_calls import ok, with_call

from board.seats import Served, arrive
from calltriage.desk.app import Desk

pytestmark = pytest.mark.slow


def silence(seconds: int) -> bytes:
    """Audio of so many seconds."""
    held = io.BytesIO()
    with wave.open(held, "wb") as file:
        file.setparams((1, 1, 8000, 0, "NONE", ""))
        file.writeframes(b"\x80" * 8000 * seconds)
    return held.getvalue()


async def recorded_call(desk: Desk, agent: McpClient) -> str:
    """A ticket with a call of twenty seconds in four turns, flagged at the third."""
    turns = [
        {
            "speaker": "agent" if n % 2 else "caller",
            "text": f"turn {n}",
            "start_ms": 5000 * n,
            "end_ms": 5000 * n + 4000,
        }
        for n in range(4)
    ]
    call = {"call_id": "call-heard", "created_at": "2026-05-01T10:00:00Z", "turns": turns}
    audio = {
        "kind": "file",
        "name": "heard.wav",
        "base64": base64.b64encode(silence(20)).decode(),
        "recording_of": "call-heard",
    }
    await load_lines(desk, json.dumps(call), json.dumps(audio))
    ticket = await with_call(agent, "call-heard")
    await ok(agent, "add_flag", issue_id=ticket, call_id="call-heard", type="late", message_index=2)
    return ticket


async def test_a_turn_is_heard_from_its_own_second_on(
    the_desk: Desk, full_agent: McpClient, page: Any, served: Served, violations: Any
) -> None:
    ticket = await recorded_call(the_desk, full_agent)
    async with page(served) as seat:
        await seat.press("Enter")
        await seat.heading(ticket)
        await seat.press("c")
        await seat.heading("Call call-heard")
        assert await seat.board.locator(".strip").get_attribute("aria-label") == "Flags by time"
        assert await seat.board.locator(".turns .no").all_inner_texts() == ["0:00", "0:05", "0:10", "0:15"]
        await seat.board.get_by_role("button", name="Play the recording").click()
        await seat.said("The recording is there")
        await seat.board.get_by_role("button", name="Turn 2, 0:10, user").click()
        await seat.board.wait_for_selector(".turns > li.heard .no:has-text('0:10')", timeout=10_000)
        assert await seat.board.evaluate("document.getElementById('player').duration") == pytest.approx(20, abs=0.1)
        at = await seat.board.evaluate("document.getElementById('player').currentTime")
        assert 10 <= at < 15
        left = await seat.board.locator(".strip .head").evaluate("one => parseFloat(one.style.left)")
        assert left == pytest.approx(100 * at / 19, abs=6)
        assert await violations(seat) == []
        await seat.press("b")
        await seat.heading(ticket)
        assert await seat.board.evaluate("!document.getElementById('player').paused"), "it plays on"
        assert seat.complaints == []
    ranges = [url for url in seat.requests if "/downloads/" in url]
    assert ranges
    assert all(url.startswith(f"{served.base}/downloads/") for url in ranges)


async def test_a_view_says_where_a_recording_can_be_heard(the_desk: Desk, full_agent: McpClient, view: Any) -> None:
    ticket = await recorded_call(the_desk, full_agent)
    async with view(full_agent) as seat:
        await arrive(seat, full_agent, "get_evidence", issue_id=ticket)
        await seat.heading(ticket)
        await seat.press("c")
        await seat.heading("Call call-heard")
        assert "plays on the board's page" in await seat.board.locator("main").inner_text()
        assert seat.requests == []


async def test_a_file_of_an_issue_is_read_on_the_board(
    full_agent: McpClient, page: Any, view: Any, served: Served
) -> None:
    ticket = await with_call(full_agent)
    await ok(full_agent, "create_attachment", name="report.txt", text="It was <b>late</b>.", attach_to=ticket)
    async with page(served) as on_page, view(full_agent) as in_host:
        await on_page.press("Enter")
        await arrive(in_host, full_agent, "get_evidence", issue_id=ticket)
        for seat in (on_page, in_host):
            await seat.heading(ticket)
            await seat.board.get_by_role("button", name="report.txt").click()
            assert "It was <b>late</b>." in await seat.board.get_by_role("dialog").inner_text()
            await seat.press("Escape")
            assert seat.complaints == []


def picture(width: int, height: int) -> bytes:
    """A grey PNG of this size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress((b"\0" + b"\x80" * width) * height)
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


async def test_a_picture_of_an_issue_is_seen_on_the_page_and_named_in_a_view(
    full_agent: McpClient, page: Any, view: Any, served: Served, violations: Any
) -> None:
    ticket = await with_call(full_agent)
    data = base64.b64encode(picture(40, 30)).decode()
    await ok(full_agent, "create_attachment", name="screen.png", base64=data, attach_to=ticket)
    async with page(served) as on_page, view(full_agent) as in_host:
        await on_page.press("Enter")
        await arrive(in_host, full_agent, "get_evidence", issue_id=ticket)
        for seat in (on_page, in_host):
            await seat.heading(ticket)
            await seat.board.get_by_role("button", name="screen.png").click()
            await seat.board.get_by_role("dialog", name="screen.png").wait_for()
            assert await violations(seat) == []
        shown = on_page.board.get_by_role("img", name="screen.png")
        assert await shown.evaluate("one => one.decode().then(() => [one.naturalWidth, one.naturalHeight])") == [40, 30]
        assert (await shown.get_attribute("src") or "").startswith(f"blob:{served.base}/")
        assert "A picture, which the page shows" in await in_host.board.get_by_role("dialog").inner_text()
        assert in_host.requests == []
        for seat in (on_page, in_host):
            await seat.press("Escape")
            assert await seat.board.get_by_role("dialog").count() == 0
            assert seat.complaints == []
