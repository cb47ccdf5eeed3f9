"""A server that dies between the bytes of a file and its row: nothing shows, nothing is lost, and a sweep takes the rest."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import anyio
import httpx2
import pytest
from conftest import DESK_URL, KEY, endpoints_to
from pydantic import SecretStr
from sqlalchemy import func, select

from calltriage.client.attachments import Uploaded, create
from calltriage.client.client import open_client
from calltriage.desk.app import Desk
from calltriage.desk.bytes.blobs import CHUNK
from calltriage.desk.database.tables import attachments, reservations
from calltriage.desk.http.signed_urls import LOOSE_AFTER
from calltriage.operations.attachments import ListAttachments

pytestmark = pytest.mark.slow

PATIENCE = 60

STORING = """
import os, signal, sys
from pathlib import Path
import anyio, httpx2
from conftest import DESK_URL, KEY, endpoints_to
from pydantic import SecretStr
from calltriage.client.attachments import Content, create, upload
from calltriage.client.client import open_client
from calltriage.desk.bytes import blobs
from calltriage.desk.handlers import attachments
from calltriage.desk.http import signed_urls as files
from calltriage.desk.app import Desk

folder, moment = Path(sys.argv[1]), sys.argv[2]

def dies(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

async def main():
    desk = Desk(folder, SecretStr(KEY), DESK_URL)

    async def chunks():
        for number in range(4):
            if moment == "while bytes come" and number == 2:
                dies()
            yield b"x" * blobs.CHUNK

    if moment == "before the bytes' row":
        desk.files._record = dies
    async with open_client(endpoints_to(httpx2.ASGITransport(desk))) as client:
        uploaded = await upload(client, Content("audio/wav", 4 * blobs.CHUNK, chunks))
        print(uploaded.request_id, flush=True)
        if moment == "before publishing":
            desk.files.blobs.__class__.publish = dies
        if moment == "before the attachment's row":
            attachments.create_attachment = dies
        if moment == "before the received name goes":
            files.Files.forget = dies
        await create(client, "a.wav", uploaded)

anyio.run(main)
"""

MOMENTS = {
    "while bytes come": (1, 0),
    "before the bytes' row": (1, 0),
    "before publishing": (1, 0),
    "before the attachment's row": (2, 0),
    "before the received name goes": (2, 1),
}
"""When it dies: how many names of bytes are left then, and how many attachments there are."""


def names(folder: Path) -> list[Path]:
    return [path for path in (folder / "blobs").rglob("*") if path.is_file()]


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_server_that_dies_between_bytes_and_row_leaves_nothing_that_shows(tmp_path: Path, moment: str) -> None:
    left, stored = MOMENTS[moment]
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with anyio.fail_after(PATIENCE):
        died = await anyio.run_process(
            [sys.executable, "-c", STORING, str(tmp_path), moment], env=here, check=False, stderr=None
        )
    assert died.returncode == -9
    request_id = died.stdout.decode().strip()
    assert len(names(tmp_path)) == left
    desk = Desk(tmp_path, SecretStr(KEY), DESK_URL)
    async with open_client(endpoints_to(httpx2.ASGITransport(desk))) as client:
        assert [item.name for item in (await client.send(ListAttachments())).items] == ["a.wav"] * stored
        for name in names(tmp_path):
            os.utime(name, (1, datetime.now(UTC).timestamp() - LOOSE_AFTER - 60))
        await desk.files.sweep()
        if stored or not request_id:
            assert len(names(tmp_path)) == stored
        else:  # the upload was acknowledged: its bytes wait for the create to be sent again
            assert len(names(tmp_path)) == 1
            receipt = await create(client, "a.wav", Uploaded(request_id, "audio/wav", 4 * CHUNK))
            assert (receipt.outcome, receipt.result.size) == ("committed", 4 * CHUNK)
        spoken_of = await desk.store.read(
            lambda connection: (
                connection.execute(select(func.count()).select_from(attachments)).scalar_one()
                + connection.execute(
                    select(func.count()).select_from(reservations).where(reservations.c.blob.is_not(None))
                ).scalar_one()
            )
        )
        assert len(names(tmp_path)) == spoken_of
    await desk.close()
