"""Files between a remote client and the server's HTTP side: handles that end, and are good for one file once."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx2
import pytest
from faults import Gate, Inner, Scripted, answers, passes
from mcp.client import Client as McpClient
from mcp_types import CallToolResult
from storing import LIMIT, Time, agent_on
from tool_calls import call, filed, ok, refused
from virtual_time import VirtualLoop

from calltriage.desk.app import Desk
from calltriage.leaves.seals import Seals
from calltriage.server.files.handover import MOST_IN_ALL, MOST_WAITING, Handover


async def test_a_remote_client_puts_a_file_and_names_its_handle(the_desk: Desk) -> None:
    data = os.urandom(300_000)
    async with agent_on(the_desk) as (agent, http):
        ticket = (await filed(agent))["triage_id"]
        offer = await ok(agent, "create_attachment", upload="new", name="a.bin", attach_to=ticket)
        assert (offer["outcome"], offer["upload"]["method"]) == ("not_committed", "PUT")
        assert (await http.post("/mcp", json={})).status_code == 401, "the rest of the side wants the token"
        answer = await http.put(offer["upload"]["url"], content=data)
        assert (answer.status_code, answer.json()["size"]) == (200, len(data))
        made = await ok(agent, offer["try_next"]["tool"], **offer["try_next"]["arguments"])
        assert (made["sha256"], made["evidence"]["outcome"]) == (hashlib.sha256(data).hexdigest(), "committed")
        assert (await refused(agent, "create_attachment", upload=offer["upload"]["handle"], name="b"))[
            "code"
        ] == "upload_not_found"
        assert (await http.put(offer["upload"]["url"], content=data)).status_code == 409, "single use"
    left = [path.stat().st_size for path in (the_desk.folder / "uploads").iterdir()]
    assert sum(left) == 0


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/home/ann/report.txt", "report.txt"),
        (r"C:\Users\ann\report.txt", "report.txt"),
        ("/home/ann/" + "x" * 99, None),
    ],
)
async def test_a_path_of_a_remote_clients_machine_leads_to_an_upload_of_it(
    the_desk: Desk, path: str, name: str | None
) -> None:
    async with agent_on(the_desk, closed="This server reads no local files.") as (agent, http):
        ticket = (await filed(agent))["triage_id"]
        error = await refused(agent, "create_attachment", path=path, attach_to=ticket, metadata={"a": "b"})
        assert (error["code"], error["outcome"]) == ("path_not_allowed", "not_committed")
        again = error["try_next"]["arguments"]
        assert again == {"attach_to": ticket, "metadata": {"a": "b"}, "upload": "new"} | (
            {"name": name} if name else {}
        )
        offer = await ok(agent, error["try_next"]["tool"], **again)
        await http.put(offer["upload"]["url"], content=b"text")
        made = await ok(agent, offer["try_next"]["tool"], **{"name": "report.txt", **offer["try_next"]["arguments"]})
        assert (made["name"], made["evidence"]["outcome"]) == ("report.txt", "committed")


async def test_an_upload_stays_usable_when_its_name_is_taken_under_one_handle(the_desk: Desk) -> None:
    async with agent_on(the_desk) as (agent, http):
        await ok(agent, "create_attachment", text="x", name="a.txt")
        offer = (await ok(agent, "create_attachment", upload="new"))["upload"]
        none_yet = await refused(agent, "create_attachment", upload=offer["handle"], name="a.txt")
        assert none_yet["code"] == "upload_not_found"
        await http.put(offer["url"], content=b"y")
        assert (await refused(agent, "create_attachment", upload=offer["handle"]))["field"] == "name"
        taken = await refused(agent, "create_attachment", upload=offer["handle"], name="a.txt")
        assert taken["code"] == "name_conflict"
        made = await ok(agent, taken["try_next"]["tool"], **taken["try_next"]["arguments"])
        assert (made["name"], made["size"]) == ("a-2.txt", 1)
        for handle in (offer["handle"], taken["upload"]["handle"]):
            again = await refused(agent, "create_attachment", upload=handle, name="b.txt")
            assert again["code"] == "upload_not_found", "one upload is one attachment"
        assert (await ok(agent, "list_attachments"))["returned"] == 2


async def test_an_upload_that_was_stored_under_an_unreadable_id_is_used_up(the_desk: Desk) -> None:
    async def unreadable(request: httpx2.Request, inner: Inner) -> httpx2.Response:
        await (await passes(request, inner)).aread()
        return httpx2.Response(200, json=["?"], request=request)

    create = ("POST", "/attachments/2023-03")
    network = Scripted(
        unreadable, answers(403), inner=httpx2.ASGITransport(the_desk, raise_app_exceptions=False),
        only=lambda r: (r.method, r.url.path) in {create, ("GET", create[1])},
    )  # fmt: skip
    async with agent_on(the_desk, network=network) as (agent, http):
        offer = (await ok(agent, "create_attachment", upload="new"))["upload"]
        await http.put(offer["url"], content=b"y")
        told: CallToolResult = await call(agent, "create_attachment", upload=offer["handle"], name="a.txt")
        assert "committed" in json.dumps(told.structured_content)
        network.script()
        again = await refused(agent, "create_attachment", upload=offer["handle"], name="b.txt")
        assert again["code"] == "upload_not_found"
        assert (await ok(agent, "list_attachments"))["returned"] == 1


async def test_a_process_that_died_with_an_upload_in_use_leaves_it_to_the_next(the_desk: Desk) -> None:
    """Its lock goes with it; a mark in the folder would stay."""
    dying = """
import os, sys
from pathlib import Path
from calltriage.server.files.handover import _claimed
path = Path(sys.argv[1])
claim = _claimed(path.parent, path.name)
print("taken", flush=True)
sys.stdin.read(1)
os._exit(9)
"""
    async with agent_on(the_desk) as (agent, http):
        offer = (await ok(agent, "create_attachment", upload="new"))["upload"]
        await http.put(offer["url"], content=b"y")
        (path,) = (the_desk.folder / "uploads").iterdir()
        with anyio.fail_after(60):
            async with await anyio.open_process([sys.executable, "-c", dying, str(path)]) as process:
                assert process.stdout is not None
                assert process.stdin is not None
                assert (await process.stdout.receive()).strip() == b"taken"
                busy = await refused(agent, "create_attachment", upload=offer["handle"], name="a")
                assert busy["code"] == "upload_not_found"
                await process.stdin.send(b"x")
                await process.wait()
        assert (await ok(agent, "create_attachment", upload=offer["handle"], name="a"))["size"] == 1


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"loop_factory": VirtualLoop})], ids=["virtual clock"])
async def test_a_body_that_trickles_ends_with_its_url(the_desk: Desk) -> None:
    async def trickles() -> AsyncIterator[bytes]:
        for _ in range(10_000):
            await anyio.sleep(20)
            yield b"x"

    async with agent_on(the_desk) as (agent, http):
        offer = (await ok(agent, "create_attachment", upload="new"))["upload"]
        began = anyio.current_time()
        answer = await http.put(offer["url"], content=trickles(), headers={"content-length": "10000"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "handle_refused")
        assert anyio.current_time() - began == pytest.approx(offer["good_for_s"], abs=5)
    assert list((the_desk.folder / "uploads").iterdir()) == []


async def test_of_two_calls_with_one_handle_one_stores_the_file(the_desk: Desk) -> None:
    made = list[CallToolResult]()
    async with agent_on(the_desk) as (agent, http):
        offer = (await ok(agent, "create_attachment", upload="new"))["upload"]
        await http.put(offer["url"], content=b"y" * 2**20)

        async def store(name: str) -> None:
            made.append(await call(agent, "create_attachment", upload=offer["handle"], name=name))

        async with anyio.create_task_group() as tasks:
            for name in "abcd":
                tasks.start_soon(store, name)
        assert (await ok(agent, "list_attachments"))["returned"] == 1
    codes = [(result.structured_content or {})["error"]["code"] for result in made if result.is_error]
    assert codes == ["upload_not_found"] * 3


async def test_an_upload_whose_use_was_cancelled_is_there_again(the_desk: Desk) -> None:
    gate = Gate()
    network = Scripted(
        gate.holds(), inner=httpx2.ASGITransport(the_desk, raise_app_exceptions=False), only=lambda r: r.method == "PUT"
    )
    with anyio.fail_after(30):
        async with agent_on(the_desk, network=network) as (agent, http):
            offer = (await ok(agent, "create_attachment", upload="new"))["upload"]
            await http.put(offer["url"], content=b"y")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(agent.call_tool, "create_attachment", {"upload": offer["handle"], "name": "a"})
                await gate.entered.wait()
                tasks.cancel_scope.cancel()
            while gate.inside:
                await anyio.lowlevel.checkpoint()
            network.script()
            assert (await ok(agent, "create_attachment", upload=offer["handle"], name="a"))["size"] == 1


async def test_only_so_many_uploads_come_in_at_once(the_desk: Desk) -> None:
    statuses, coming, all_in, going = list[int](), list[int](), anyio.Event(), anyio.Event()

    async def waits() -> AsyncIterator[bytes]:
        yield b"x"
        coming.append(1)
        if len(coming) == MOST_WAITING:
            all_in.set()
        await going.wait()
        yield b"y"

    async with agent_on(the_desk) as (agent, http):
        urls = [(await ok(agent, "create_attachment", upload="new"))["upload"]["url"] for _ in range(MOST_WAITING + 1)]

        async def put(url: str) -> None:
            answer = await http.put(url, content=waits(), headers={"content-length": "2"})
            statuses.append(answer.status_code)

        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                for url in urls[1:]:
                    tasks.start_soon(put, url)
                await all_in.wait()
                await put(urls[0])
                assert statuses == [503]
                going.set()
    assert statuses == [503] + [200] * MOST_WAITING


async def test_an_upload_that_cannot_be_put_away_does_not_change_what_became_of_it(
    the_desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    async with agent_on(the_desk) as (agent, http):
        offer = (await ok(agent, "create_attachment", upload="new"))["upload"]
        await http.put(offer["url"], content=b"y")
        monkeypatch.setattr("calltriage.leaves.folders.os.replace", fails)
        assert (await ok(agent, "create_attachment", upload=offer["handle"], name="a"))["outcome"] == "committed"


async def test_uploads_that_nobody_came_for_go_at_the_start(the_desk: Desk) -> None:
    folder = the_desk.folder / "uploads"
    async with agent_on(the_desk) as (agent, http):
        for name in "ab":
            offer = (await ok(agent, "create_attachment", upload="new"))["upload"]
            await http.put(offer["url"], content=name.encode())
    old = next(folder.iterdir())
    os.utime(old, (0, 0))
    handover = Handover("http://127.0.0.1", folder, Seals(lambda: b"k" * 32), LIMIT, client=None)  # pyright: ignore[reportArgumentType]
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(handover.keep_swept)
            while old.exists():
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
    assert len(list(folder.iterdir())) == 1, "what is young stays"


@pytest.mark.parametrize(
    ("length", "status"), [("4", 400), ("6", 400), ("x", 411), (str(LIMIT + 1), 413), ("9" * 20, 411)]
)
async def test_a_put_of_a_wrong_length_leaves_nothing_and_may_be_repeated(
    the_desk: Desk, length: str, status: int
) -> None:
    async with agent_on(the_desk) as (agent, http):
        offer = (await ok(agent, "create_attachment", upload="new"))["upload"]
        answer = await http.put(offer["url"], content=b"hello", headers={"content-length": length})
        assert answer.status_code == status
        assert not (the_desk.folder / "uploads").exists() or list((the_desk.folder / "uploads").iterdir()) == []
        assert (await http.put(offer["url"], content=b"hello")).status_code == 200


async def test_a_handle_ends_and_only_this_server_s_are_good(the_desk: Desk) -> None:
    clock = Time()
    async with agent_on(the_desk, clock=clock) as (agent, http):
        offer = (await ok(agent, "create_attachment", upload="new"))["upload"]
        foreign = Seals(lambda: b"x" * 32, clock).sealed("upload", 900, "a" * 32)
        other_kind = Seals(lambda: b"k" * 32, clock).sealed("download", 900, "a" * 32)
        for handle in (foreign, offer["handle"][:-2], "x", other_kind):
            assert (await http.put(f"/uploads/{handle}", content=b"x")).status_code == 403
        assert (await http.get(f"/downloads/{offer['handle']}")).status_code == 403
        assert (await http.get(offer["url"])).status_code == 405
        clock.now += 901
        assert (await http.put(offer["url"], content=b"x")).status_code == 403


async def test_only_so_many_uploads_wait(the_desk: Desk) -> None:
    async with agent_on(the_desk) as (agent, http):
        for _ in range(MOST_WAITING):
            offer = (await ok(agent, "create_attachment", upload="new"))["upload"]
            assert (await http.put(offer["url"], content=b"x")).status_code == 200
        offer = (await ok(agent, "create_attachment", upload="new"))["upload"]
        assert (await http.put(offer["url"], content=b"x")).status_code == 503
        for path in (the_desk.folder / "uploads").iterdir():
            os.utime(path, (0, 0))
        assert (await http.put(offer["url"], content=b"x")).status_code == 200, "what nobody came for goes"


async def test_only_so_many_uploads_of_all_callers_wait(the_desk: Desk) -> None:
    """Below their own bound each; one that is used, or that nobody came for, makes room."""
    async with agent_on(the_desk) as (agent, http):
        seals = Seals(lambda: b"k" * 32, Time())
        names = [f"{number % 16:08x}{number:024x}" for number in range(MOST_IN_ALL)]
        for name in names:
            url = f"/uploads/{seals.sealed('upload', 1800, name)}"
            assert (await http.put(url, content=b"x")).status_code == 200
        offer = (await ok(agent, "create_attachment", upload="new"))["upload"]
        full = await http.put(offer["url"], content=b"x")
        assert (full.status_code, full.json()["error"]["code"]) == (503, "too_many_uploads")
        await ok(agent, "create_attachment", upload=seals.sealed("upload", 1800, names[0]), name="used.txt")
        assert (await http.put(offer["url"], content=b"x")).status_code == 200
        other = (await ok(agent, "create_attachment", upload="new"))["upload"]
        assert (await http.put(other["url"], content=b"x")).status_code == 503
        os.utime(the_desk.folder / "uploads" / names[1], (0, 0))
        assert (await http.put(other["url"], content=b"x")).status_code == 200


async def test_without_an_http_side_there_is_no_upload(agent: McpClient) -> None:
    error = await refused(agent, "create_attachment", upload="new")
    assert (error["field"], error["outcome"]) == ("upload", "not_committed")


def test_no_key_is_shown() -> None:
    assert "k" * 8 not in repr(Seals(lambda: b"k" * 32))
