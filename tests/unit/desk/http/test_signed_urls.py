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
