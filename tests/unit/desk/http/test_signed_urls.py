"""What becomes of bytes when something else goes wrong: nothing that a row speaks of is lost, and the house is kept on."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import httpx2
import pytest
from conftest import KEY
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from calltriage.desk.app import Desk
from calltriage.desk.http import signed_urls as files
from calltriage.desk.http.access import CLIENT_ID
from calltriage.errors import StoreError

ATTACHMENTS = "/attachments/2023-03"


async def signed_in(desk: httpx2.AsyncClient) -> None:
    del desk.headers["authorization"]
    answer = await desk.post("/oauth/token", data={"grant_type": "client_credentials"}, auth=(CLIENT_ID, KEY))
    desk.headers["authorization"] = f"Bearer {answer.json()['access_token']}"


async def test_an_upload_that_is_cancelled_while_its_row_is_written_keeps_its_bytes(
    desk: httpx2.AsyncClient, the_desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await signed_in(desk)
    link = (await desk.post(f"{ATTACHMENTS}/upload-link")).json()
    cancelled, write = anyio.CancelScope(), the_desk.store.write

    async def cut(change: Callable[[Connection], Any], lane: str) -> Any:
        """The row is on disk when the request is cancelled, as it may be when others' writes share its commit."""
        done = await write(change, lane)
        cancelled.cancel()
        await anyio.lowlevel.checkpoint()
        return done

    monkeypatch.setattr(the_desk.store, "write", cut)
    token = desk.headers.pop("authorization")
    with cancelled:
        await desk.put(link["url"], content=b"kept", headers={"content-type": "text/plain"})
    assert cancelled.cancelled_caught
    monkeypatch.undo()
    desk.headers["authorization"] = token
    made = await desk.post(ATTACHMENTS, json={"name": "n", "request_id": link["request_id"]})
    assert made.status_code == 200, made.text


@pytest.mark.parametrize("failure", [OperationalError("SELECT 'canary'", {}, Exception("full")), OSError("canary")])
async def test_a_sweep_that_fails_ends_neither_the_next_one_nor_the_server(
    the_desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, failure: Exception
) -> None:
    sweeps, twice = list[int](), anyio.Event()

    async def fails(_: object) -> None:
        sweeps.append(1)
        if len(sweeps) == 2:
            twice.set()
            await anyio.sleep_forever()
        raise failure

    monkeypatch.setattr(files.Files, "sweep", fails)
    monkeypatch.setattr(files, "SWEEP_EVERY", 0.0)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(the_desk.files.keep_swept)
            await twice.wait()
            tasks.cancel_scope.cancel()
    assert type(failure).__name__ in caplog.text
    assert "canary" not in caplog.text


async def test_a_sweep_asks_for_many_names_at_once(the_desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "SWEPT_AT_ONCE", 10)
    folder = the_desk.folder / "blobs" / "ab"
    folder.mkdir(parents=True)
    for n in range(25):
        (folder / f"{n:062x}.{n:016x}").touch()
        os.utime(folder / f"{n:062x}.{n:016x}", (1, 1))
    reads, read = list[int](), the_desk.store.read

    async def counted(query: Callable[[Connection], Any]) -> Any:
        reads.append(1)
        return await read(query)

    monkeypatch.setattr(the_desk.store, "read", counted)
    await the_desk.files.sweep()
    assert (len(reads), list(folder.iterdir())) == (3, [])


async def with_a_file(desk: httpx2.AsyncClient) -> None:
    await signed_in(desk)
    link = (await desk.post(f"{ATTACHMENTS}/upload-link")).json()
    await put(desk, link["url"])
    made = await desk.post(ATTACHMENTS, json={"name": "n", "request_id": link["request_id"]})
    assert made.status_code == 200, made.text


async def put(desk: httpx2.AsyncClient, url: str) -> httpx2.Response:
    token = desk.headers.pop("authorization")
    answer = await desk.put(url, content=b"kept", headers={"content-type": "text/plain"})
    desk.headers["authorization"] = token
    return answer


@pytest.mark.parametrize("instead", ["nothing", "a file", "a dangling link"])
async def test_a_desk_whose_folder_of_files_is_gone_is_not_ready_and_makes_no_other(
    desk: httpx2.AsyncClient, the_desk: Desk, instead: str
) -> None:
    assert await the_desk.is_ready(), "a new desk has none yet"
    await with_a_file(desk)
    assert await the_desk.is_ready()
    link = (await desk.post(f"{ATTACHMENTS}/upload-link")).json()
    blobs = the_desk.folder / "blobs"
    blobs.rename(the_desk.folder / "away")
    if instead == "a file":
        blobs.touch()
    elif instead == "a dangling link":
        blobs.symlink_to(the_desk.folder / "absent")
    assert not await the_desk.is_ready()
    assert (await put(desk, link["url"])).status_code == 503
    with pytest.raises(StoreError, match="folder blobs"):
        await the_desk.files.try_bytes()
    blobs.unlink(missing_ok=True)
    assert not await the_desk.is_ready()
    (the_desk.folder / "away").rename(blobs)
    assert await the_desk.is_ready()
    assert (await put(desk, link["url"])).status_code == 200


async def test_an_empty_desk_without_a_folder_of_files_is_not_ready_where_none_can_be_made(the_desk: Desk) -> None:
    await the_desk.warm_up()
    (the_desk.folder / "blobs").touch()
    assert not await the_desk.is_ready()
