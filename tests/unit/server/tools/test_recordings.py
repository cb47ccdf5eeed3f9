"""A call's recording: saved through the guard of signed links or from the API's own route, or told as a link."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from conftest import DESK_URL, KEY, endpoints_to
from mcp.client import Client
from tool_calls import call, ok, refused

from calltriage.client.client import open_client
from calltriage.offering import ALL
from calltriage.server.app import build_server
from calltriage.server.files.local import FileRoots
from calltriage.server.toolsets import select

AUDIO = b"ID3\x03" + bytes(range(256)) * 40


class Vendor:
    """Answers calls with a `recording_url`, and what each path of audio holds."""

    def __init__(self, url: str | None, **audio: tuple[int, Any, str]) -> None:
        self.url, self.audio, self.seen = url, audio, list[httpx2.Request]()

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.seen.append(request)
        if request.url.path.startswith("/v1/calls/"):
            return httpx2.Response(200, json={"call_id": "c-1", "recording_url": self.url})
        name = "route" if request.url.path == "/v1/recordings/c-1" else "link"
        status, body, kind = self.audio.get(name, (404, b'{"status": "error"}', "application/json"))
        return httpx2.Response(status, content=body, headers={"content-type": kind})


@asynccontextmanager
async def agent_of(vendor: Vendor, roots: FileRoots) -> AsyncGenerator[Client]:
    async with (
        open_client(endpoints_to(httpx2.MockTransport(vendor)), deadline_s=5) as client,
        Client(build_server(client, version="0", files=roots, tools=select([ALL]))) as agent,
    ):
        yield agent


OWN = f"{DESK_URL}/audio/1.mp3?signature=x"


@pytest.mark.parametrize(
    ("url", "audio", "asked_with_key"),
    [
        (OWN, {"link": (200, AUDIO, "audio/mpeg")}, False),
        (None, {"route": (200, AUDIO, "audio/mpeg; charset=binary")}, True),
        (OWN, {"link": (403, b"", "text/xml"), "route": (200, AUDIO, "audio/mp3")}, True),
        ("http://127.0.0.1:9/a.mp3", {"route": (200, AUDIO, "audio/mpeg")}, True),
    ],
)
async def test_a_recording_is_saved_whole_from_its_link_or_from_the_api(
    roots: FileRoots, url: str | None, audio: dict[str, Any], *, asked_with_key: bool
) -> None:
    vendor = Vendor(url, **audio)
    async with agent_of(vendor, roots) as agent:
        saved = await ok(agent, "get_call_recording", call_id="c-1", save_to=str(roots.roots[0]))
        again = await ok(agent, "get_call_recording", call_id="c-1", save_to=str(roots.roots[0]))
    assert Path(saved["saved_to"]).name == "recording-c-1.mp3"
    assert Path(saved["saved_to"]).read_bytes() == AUDIO
    assert (saved["bytes_saved"], saved["sha256"]) == (len(AUDIO), hashlib.sha256(AUDIO).hexdigest())
    assert again["saved_to"] != saved["saved_to"]
    assert (vendor.seen[-1].headers.get("authorization") == KEY) is asked_with_key
    links = [request for request in vendor.seen if request.url.path.startswith("/audio/")]
    assert not any("authorization" in request.headers for request in links)


async def test_a_link_of_the_record_is_told_as_one(roots: FileRoots) -> None:
    url = "https://recordings.example/1.mp3?signature=x"
    async with agent_of(Vendor(url), roots) as agent:
        result = await call(agent, "get_call_recording", call_id="c-1")
    body = result.structured_content or {}
    assert (body["link"], body["trust"]) == ({"url": url}, "untrusted")
    assert [str(item.uri) for item in result.content if item.type == "resource_link"] == [url]


@pytest.mark.parametrize("url", [None, "ftp://x/a.mp3", "javascript:alert(1)", "https://u:p@x.example/a", "no url"])
async def test_without_a_link_that_can_be_opened_it_says_what_there_is(roots: FileRoots, url: str | None) -> None:
    async with agent_of(Vendor(url, route=(200, AUDIO, "audio/wav")), roots) as agent:
        result = await call(agent, "get_call_recording", call_id="c-1")
    body = result.structured_content or {}
    assert (body["media_type"], body["size"]) == ("audio/wav", len(AUDIO))
    assert "save_to" in body["note"]
    assert [item.type for item in result.content] == ["text"]


@pytest.mark.parametrize(
    ("url", "audio", "code"),
    [
        (None, {}, "not_found"),
        (None, {"route": (200, b'{"status": "error"}', "application/json")}, "unreadable_answer"),
        (None, {"route": (200, b"<html>", "text/html")}, "unreadable_answer"),
        (None, {"route": (501, b'{"message": "no"}', "application/json")}, "server_failure"),
        ("http://169.254.169.254/latest", {}, "unreadable_answer"),
        (None, {"route": (200, b"x" * 300_000, "audio/mpeg")}, "file_too_large"),
    ],
)
async def test_a_recording_that_cannot_be_had_is_an_error_and_no_file(
    roots: FileRoots, url: str | None, audio: dict[str, Any], code: str
) -> None:
    small = FileRoots(roots.roots, limit=200_000)
    async with agent_of(Vendor(url, **audio), small) as agent:
        error = await refused(agent, "get_call_recording", call_id="c-1", save_to=str(roots.roots[0]))
    assert error["code"] == code
    assert list(roots.roots[0].iterdir()) == []


async def test_nothing_is_saved_outside_the_open_folders(roots: FileRoots, tmp_path: Path) -> None:
    async with agent_of(Vendor(None, route=(200, AUDIO, "audio/mpeg")), roots) as agent:
        error = await refused(agent, "get_call_recording", call_id="c-1", save_to=str(tmp_path))
    assert (error["code"], error["field"]) == ("path_not_allowed", "save_to")


async def test_a_recording_that_breaks_off_leaves_no_file(roots: FileRoots) -> None:
    class Broken(httpx2.AsyncByteStream):
        async def __aiter__(self) -> AsyncGenerator[bytes]:
            yield AUDIO[:1000]
            raise httpx2.ReadError("reset")

    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.path.startswith("/v1/calls/"):
            return httpx2.Response(200, json={"call_id": "c-1"})
        return httpx2.Response(200, stream=Broken(), headers={"content-type": "audio/mpeg"})

    async with (
        open_client(endpoints_to(httpx2.MockTransport(answer)), deadline_s=5) as client,
        Client(build_server(client, version="0", files=roots, tools=select([ALL]))) as agent,
    ):
        error = await refused(agent, "get_call_recording", call_id="c-1", save_to=str(roots.roots[0]))
    assert (error["code"], error["retryable"]) == ("unreachable", True)
    assert list(roots.roots[0].iterdir()) == []
