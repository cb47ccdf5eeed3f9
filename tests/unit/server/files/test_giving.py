"""Files that the server's HTTP side gives out: whole or in ranges, as a player asks for them, and only as what they are."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import AsyncGenerator

import httpx2
import pytest
from conftest import call_line, load_lines
from mcp.client import Client as McpClient
from storing import agent_on, stored
from tool_calls import ok, refused

from calltriage.desk.app import Desk

DATA = os.urandom(40_000)


@pytest.fixture
async def link(the_desk: Desk) -> AsyncGenerator[tuple[httpx2.AsyncClient, str]]:
    """A link to 40,000 bytes."""
    async with agent_on(the_desk) as (agent, http):
        made = await stored(agent, "a.bin", DATA)
        yield http, (await ok(agent, "download_attachment", attachment_id=made["id"]))["link"]["url"]


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=0-", 0, 39_999),
        ("bytes=10000-10009", 10_000, 10_009),
        ("bytes=39999-", 39_999, 39_999),
        ("bytes=39990-999999999999999", 39_990, 39_999),
        ("bytes=-5", 39_995, 39_999),
        ("bytes=-999999", 0, 39_999),
    ],
)
async def test_a_range_brings_these_bytes(
    link: tuple[httpx2.AsyncClient, str], asked: str, first: int, last: int
) -> None:
    http, url = link
    for method in ("GET", "HEAD"):
        answer = await http.request(method, url, headers={"range": asked})
        assert answer.status_code == 206
        assert answer.headers["content-range"] == f"bytes {first}-{last}/40000"
        assert answer.headers["content-length"] == str(last - first + 1)
        assert answer.content == (DATA[first : last + 1] if method == "GET" else b"")


@pytest.mark.parametrize("asked", ["bytes=40000-", "bytes=-0", "bytes=999999-9999999"])
async def test_a_range_beyond_the_file_is_refused_with_its_size(
    link: tuple[httpx2.AsyncClient, str], asked: str
) -> None:
    http, url = link
    answer = await http.get(url, headers={"range": asked})
    assert (answer.status_code, answer.headers["content-range"], answer.content) == (416, "bytes */40000", b"")


@pytest.mark.parametrize(
    "asked", ["", "bytes=-", "bytes=5-2", "bytes=0-1,5-9", "turns=0-1", "bytes=a-b", "bytes=0-1" * 99]
)
async def test_what_is_no_single_range_brings_the_whole_file(link: tuple[httpx2.AsyncClient, str], asked: str) -> None:
    http, url = link
    answer = await http.get(url, headers={"range": asked} if asked else {})
    assert (answer.status_code, answer.headers["accept-ranges"], answer.content) == (200, "bytes", DATA)
    conditional = await http.get(url, headers={"range": "bytes=0-1", "if-range": '"x"'})
    assert (conditional.status_code, len(conditional.content)) == (200, 40_000)


async def recorded(desk: Desk, call_id: str, name: str, data: bytes) -> None:
    audio = {"kind": "file", "name": name, "base64": base64.b64encode(data).decode(), "recording_of": call_id}
    await load_lines(desk, call_line(call_id, "hello", "hi"), json.dumps(audio))


async def test_a_recording_has_a_link_that_plays_in_ranges(the_desk: Desk) -> None:
    audio = b"RIFF" + os.urandom(5000)
    await recorded(the_desk, "call-rich", "rich.wav", audio)
    async with agent_on(the_desk) as (agent, http):
        found = await ok(agent, "get_call_recording", call_id="call-rich")
        assert found["link"]["good_for_s"] == 900
        whole = await http.get(found["link"]["url"])
        part = await http.get(found["link"]["url"], headers={"range": "bytes=4000-"})
        assert (await http.get(found["link"]["url"][:-2])).status_code == 403
    assert (whole.status_code, whole.content) == (200, audio)
    assert (part.status_code, part.content) == (206, audio[4000:])
    assert whole.headers["content-type"].startswith("audio/")
    assert whole.headers["content-disposition"] == "inline"
    assert whole.headers["content-security-policy"] == "sandbox; default-src 'none'"


async def test_what_is_no_audio_is_not_shown_in_place_as_anything_else(the_desk: Desk) -> None:
    await recorded(the_desk, "call-page", "page.svg", b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>")
    async with agent_on(the_desk) as (agent, http):
        found = await ok(agent, "get_call_recording", call_id="call-page")
        shown = await http.get(found["link"]["url"])
    assert shown.headers["content-type"] == "application/octet-stream"
    assert shown.headers["x-content-type-options"] == "nosniff"


async def test_a_call_without_a_recording_has_no_link(the_desk: Desk, full_agent: McpClient) -> None:
    async with agent_on(the_desk) as (agent, _):
        assert (await refused(agent, "get_call_recording", call_id="call-card"))["code"] == "not_found"
