"""Files and transfers that go wrong while a tool works on them: it recovers, or says what to do, and leaves nothing."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from conftest import Clock
from faults import Inner, Scripted, Step, passes
from mcp.client import Client as McpClient
from storing import Time, agent_on, stored
from tool_calls import filed, ok, refused

from calltriage.client.in_process import InProcess, background
from calltriage.desk.app import Desk

DATA = b"0123456789" * 500_000
FULL = "/dev/full"
"""A device that refuses every byte, as a full disk does."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "files"
    root.mkdir()
    (root / "a.bin").write_bytes(DATA)
    return root


def puts(desk: Desk, *script: Step, inner: Inner = None) -> Scripted:
    """The way to a desk, with this script for the uploads of bytes."""
    inner = inner or httpx2.ASGITransport(desk, raise_app_exceptions=False)
    return Scripted(*script, inner=inner, only=lambda request: request.method == "PUT")


def after(change: Callable[[], object]) -> Step:
    """Passes the request on once something has happened."""

    async def step(request: httpx2.Request, inner: Inner) -> httpx2.Response:
        change()
        return await passes(request, inner)

    return step


def bytes_of(desk: Desk) -> list[Path]:
    return [path for path in (desk.folder / "blobs").rglob("*") if path.is_file()]


async def nothing_is_there(agent: McpClient, desk: Desk) -> None:
    assert (await ok(agent, "list_attachments"))["items"] == []
    assert bytes_of(desk) == []


async def test_a_file_that_grows_is_stored_as_it_was_and_that_is_said(the_desk: Desk, root: Path) -> None:
    def grow() -> None:
        with (root / "a.bin").open("ab") as file:
            file.write(b"more")

    async with agent_on(the_desk, root, network=puts(the_desk, after(grow))) as (agent, _):
        made = await ok(agent, "create_attachment", path="a.bin")
        assert (made["size"], made["sha256"]) == (len(DATA), hashlib.sha256(DATA).hexdigest())
        assert made["grew_while_read"] is True
        assert "grew_while_read" not in await ok(agent, "create_attachment", path="a.bin", name="b.bin")


async def test_a_file_that_shrinks_is_not_stored(the_desk: Desk, root: Path) -> None:
    shrink = after(lambda: os.truncate(root / "a.bin", 1000))
    async with (
        background() as tasks,
        agent_on(the_desk, root, network=puts(the_desk, shrink, inner=InProcess(the_desk, tasks))) as (agent, _),
    ):
        error = await refused(agent, "create_attachment", path="a.bin")
        assert (error["code"], error["outcome"], error["field"]) == ("file_changed", "not_committed", "path")
        assert "Call again" in error["message"]
        await nothing_is_there(agent, the_desk)
        assert (await ok(agent, "create_attachment", path="a.bin"))["size"] == 1000


async def test_an_upload_link_that_ends_on_the_way_is_replaced(the_desk: Desk, root: Path, clock: Clock) -> None:
    network = puts(the_desk, after(lambda: clock.advance(seconds=3601)))
    async with agent_on(the_desk, root, network=network) as (agent, _):
        made = await ok(agent, "create_attachment", path="a.bin")
        assert (made["outcome"], made["sha256"]) == ("committed", hashlib.sha256(DATA).hexdigest())
    assert len({str(request.url) for request in network.requests}) == 2
    assert len(bytes_of(the_desk)) == 1


async def test_links_that_always_end_on_the_way_are_said_with_what_to_do(
    the_desk: Desk, root: Path, clock: Clock
) -> None:
    ended = after(lambda: clock.advance(seconds=3601))
    async with agent_on(the_desk, root, network=puts(the_desk, ended, ended)) as (agent, _):
        error = await refused(agent, "create_attachment", path="a.bin")
        assert (error["code"], error["outcome"]) == ("link_refused", "not_committed")
        assert "Call again" in error["message"]
        await nothing_is_there(agent, the_desk)
        assert (await ok(agent, "create_attachment", path="a.bin"))["outcome"] == "committed"


def altered(request: httpx2.Request) -> None:
    """Another signature than the link's."""
    request.url = request.url.copy_set_param("signature", "0" * 64)
    request.extensions = {}


async def test_a_link_with_a_wrong_signature_stores_nothing(the_desk: Desk, root: Path) -> None:
    async def step(request: httpx2.Request, inner: Inner) -> httpx2.Response:
        altered(request)
        return await passes(request, inner)

    async with agent_on(the_desk, root, network=puts(the_desk, step, step)) as (agent, _):
        error = await refused(agent, "create_attachment", path="a.bin")
        assert (error["code"], error["outcome"]) == ("link_refused", "not_committed")
        assert "signature" not in error["message"]
        await nothing_is_there(agent, the_desk)


@pytest.mark.parametrize("more", [-1, 1])
async def test_bytes_of_another_length_than_announced_store_nothing(the_desk: Desk, root: Path, more: int) -> None:
    async def step(request: httpx2.Request, inner: Inner) -> httpx2.Response:
        request.headers["content-length"] = str(len(DATA) + more)
        return await passes(request, inner)

    async with agent_on(the_desk, root, network=puts(the_desk, step)) as (agent, _):
        error = await refused(agent, "create_attachment", path="a.bin")
        assert (error["code"], error["outcome"]) == ("invalid_arguments", "not_committed")
        await nothing_is_there(agent, the_desk)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Fills the disk for every new file; `undo` of the patch makes room."""
    real_open = os.open

    def opened(path: Any, flags: int, *more: Any, **named: Any) -> int:
        made = real_open(path, flags, *more, **named)
        if not flags & os.O_CREAT:
            return made
        os.close(made)
        return real_open(FULL, os.O_WRONLY)

    return lambda: monkeypatch.setattr(os, "open", opened)


async def test_a_full_disk_is_said_and_what_was_begun_is_taken_back(
    the_desk: Desk, root: Path, full_disk: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with agent_on(the_desk, root) as (agent, http):
        offer = (await ok(agent, "create_attachment", upload="new"))["upload"]
        made = await stored(agent, "before.bin", b"\x00\x01")
        before = bytes_of(the_desk)
        full_disk()
        error = await refused(agent, "create_attachment", path="a.bin")
        assert (error["code"], error["outcome"]) == ("storage_unavailable", "not_committed")
        assert "calltriage doctor" in error["message"]
        error = await refused(agent, "download_attachment", attachment_id=made["id"], save_to=".")
        assert (error["code"], error["field"]) == ("cannot_save", "save_to")
        assert (await http.put(offer["url"], content=DATA)).status_code == 503
        monkeypatch.undo()
        assert bytes_of(the_desk) == before
        assert [path.name for path in root.iterdir()] == ["a.bin"]
        assert list((the_desk.folder / "uploads").iterdir()) == []
        assert (await http.put(offer["url"], content=DATA)).status_code == 200
        assert (await ok(agent, "create_attachment", path="a.bin"))["size"] == len(DATA)


GIVEN: dict[str, dict[str, str]] = {
    "path": {"path": "a.bin", "name": "taken.bin"},
    "text": {"text": "ours", "name": "taken.bin"},
    "base64": {"base64": base64.b64encode(b"\x00ours").decode(), "name": "taken.bin"},
    "upload": {"upload": "new", "name": "taken.bin"},
}


@pytest.mark.parametrize("given", list(GIVEN))
async def test_a_conflict_is_mended_by_the_call_that_it_names(the_desk: Desk, root: Path, given: str) -> None:
    network = puts(the_desk)
    async with agent_on(the_desk, root, network=network) as (agent, http):
        theirs = await stored(agent, "taken.bin", b"\x01theirs")
        ticket = (await filed(agent))["triage_id"]
        arguments = {**GIVEN[given], "attach_to": ticket}
        if given == "upload":
            offer = await ok(agent, "create_attachment", **arguments)
            await http.put(offer["upload"]["url"], content=b"\x00ours")
            arguments = offer["try_next"]["arguments"]
        error = await refused(agent, "create_attachment", **arguments)
        assert (error["code"], error["attachment_id"]) == ("name_conflict", theirs["id"])
        advice = error["try_next"]
        assert advice["arguments"] == {
            "name": "taken-2.bin", "attach_to": ticket, "upload": error["upload"]["handle"],
        }  # fmt: skip
        sent = len(network.requests)
        made = await ok(agent, advice["tool"], **advice["arguments"])
        assert (made["name"], made["outcome"], made["evidence"]["outcome"]) == ("taken-2.bin", "committed", "committed")
        assert len(network.requests) == sent, "no byte went out twice"


async def test_a_handle_that_has_ended_says_how_to_begin_again(the_desk: Desk) -> None:
    clock = Time()
    async with agent_on(the_desk, clock=clock) as (agent, http):
        offer = (await ok(agent, "create_attachment", upload="new"))["upload"]
        await http.put(offer["url"], content=b"x")
        clock.now += 1801
        error = await refused(agent, "create_attachment", upload=offer["handle"], name="a")
        assert (error["code"], error["outcome"]) == ("upload_not_found", "not_committed")
        assert "upload: new" in error["message"]


async def test_of_two_uploads_for_one_url_the_first_that_is_whole_is_kept(the_desk: Desk) -> None:
    """One that was cut off may look like a slow one for a while; its client must not wait for that."""
    begun, go_on = anyio.Event(), anyio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b"slow"
        begun.set()
        await go_on.wait()
        yield b"slow"

    async with agent_on(the_desk) as (agent, http):
        offer = (await ok(agent, "create_attachment", upload="new"))["upload"]
        statuses = dict[str, int]()

        async def slow_one() -> None:
            answer = await http.put(offer["url"], content=slowly(), headers={"content-length": "8"})
            statuses["slow"] = answer.status_code

        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(slow_one)
                await begun.wait()
                statuses["quick"] = (await http.put(offer["url"], content=b"quick")).status_code
                go_on.set()
        assert statuses == {"quick": 200, "slow": 409}
        made = await ok(agent, "create_attachment", upload=offer["handle"], name="a")
        assert made["sha256"] == hashlib.sha256(b"quick").hexdigest()
    assert not [path for path in (the_desk.folder / "uploads").iterdir() if path.suffix == ".part"]
