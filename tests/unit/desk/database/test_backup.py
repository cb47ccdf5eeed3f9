"""A desk in one file and back: whole, while others write, or not at all."""

from __future__ import annotations

import io
import sys
import tarfile
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx2
import pytest
from conftest import DESK_URL, KEY, load_lines
from pydantic import SecretStr
from sqlalchemy import select

from calltriage.desk.app import Desk
from calltriage.desk.bytes.blobs import BlobFolder, Blobs
from calltriage.desk.database.backup import REPLACED, back_up, restore
from calltriage.desk.database.tables import attachments
from calltriage.errors import StoreError
from calltriage.storage.sqlite import sqlite_driver

DRIVER: Any = sqlite_driver()
FILE_LINES = (
    '{"kind": "file", "name": "a.txt", "base64": "aGVsbG8="}',
    '{"kind": "file", "name": "b.bin", "base64": "AAECAw=="}',
)
ISSUE = {"title": "One", "severity": "high", "category": "Dialogue"}


@asynccontextmanager
async def working(folder: Path, blobs: Blobs | None = None) -> AsyncGenerator[tuple[Desk, httpx2.AsyncClient]]:
    desk = Desk(folder, SecretStr(KEY), DESK_URL, blobs=blobs)
    transport = httpx2.ASGITransport(desk, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url=DESK_URL, headers={"authorization": KEY}) as http:
        yield desk, http
    await desk.close()


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """A desk with an issue and two files, used by nobody."""
    async with working(tmp_path / "desk") as (desk, http):
        assert (await http.post("/v1/triage/issues", json=ISSUE)).status_code == 201
        await load_lines(desk, *FILE_LINES)
    return tmp_path / "desk"


async def numbers(folder: Path) -> list[int]:
    async with working(folder) as (_, http):
        items = (await http.get("/v1/triage/issues", params={"limit": 100})).json()["data"]["items"]
    return sorted(item["number"] for item in items)


def blobs(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "blobs").rglob("*") if path.is_file()}


async def test_a_restored_desk_is_the_one_that_was_backed_up(folder: Path, tmp_path: Path) -> None:
    assert back_up(folder, tmp_path / "backup") == 2
    assert restore(tmp_path / "backup", tmp_path / "other") == 2
    if sys.platform != "win32":
        assert (tmp_path / "backup").stat().st_mode & 0o777 == 0o600
        assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "other").rglob("*"))
    assert await numbers(tmp_path / "other") == [1001]
    assert blobs(tmp_path / "other") == blobs(folder)
    assert sorted(blobs(folder).values()) == [b"\x00\x01\x02\x03", b"hello"]
    assert not [path.name for path in (tmp_path / "other").iterdir() if path.name.startswith(".")]


WRITER = """
import sys
from pathlib import Path
import anyio
from sqlalchemy import insert
from calltriage.desk.database.store import Store
from calltriage.desk.database.tables import settings

async def main(folder):
    store, number = Store(Path(folder)), 0
    while True:
        await store.write(lambda c: c.execute(insert(settings), [
            {"name": f"pair-{number}-{end}", "value": "x" * 2000} for end in "ab"]) and None)
        print(number, flush=True)
        number += 1

anyio.run(main, sys.argv[1])
"""


async def test_a_backup_while_another_process_writes_is_of_one_moment(folder: Path, tmp_path: Path) -> None:
    with anyio.fail_after(90):
        async with await anyio.open_process([sys.executable, "-c", WRITER, str(folder)]) as writer:
            assert writer.stdout is not None
            await writer.stdout.receive()
            for round_number in range(3):
                await anyio.to_thread.run_sync(back_up, folder, tmp_path / f"backup-{round_number}")
            await writer.stdout.receive()  # it writes on
            writer.kill()
    for round_number in range(3):
        restore(tmp_path / f"backup-{round_number}", tmp_path / f"other-{round_number}")
        with closing(DRIVER.connect(tmp_path / f"other-{round_number}" / "desk.sqlite3")) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            query = "SELECT count(*) FILTER (WHERE name LIKE '%-a'), count(*) FROM settings WHERE name LIKE 'pair-%'"
            firsts, both = database.execute(query).fetchone()
        assert firsts >= 1
        assert both == 2 * firsts


async def test_nothing_is_overwritten_unless_it_is_said(folder: Path, tmp_path: Path) -> None:
    back_up(folder, tmp_path / "backup")
    before = (tmp_path / "backup").read_bytes()
    with pytest.raises(StoreError, match="left as it is"):
        back_up(folder, tmp_path / "backup")
    assert (tmp_path / "backup").read_bytes() == before
    async with working(folder) as (_, http):
        await http.post("/v1/triage/issues", json=ISSUE)
    with pytest.raises(StoreError, match="--overwrite"):
        restore(tmp_path / "backup", folder)
    assert await numbers(folder) == [1001, 1002]
    assert restore(tmp_path / "backup", folder, overwrite=True) == 2
    assert await numbers(folder) == [1001]
    with closing(DRIVER.connect(folder / REPLACED)) as replaced:
        assert replaced.execute("SELECT count(*) FROM issues").fetchone() == (2,)


async def test_a_folder_in_use_is_not_restored_into(folder: Path, tmp_path: Path) -> None:
    back_up(folder, tmp_path / "backup")
    async with working(folder) as (_, http):
        assert (await http.post("/v1/triage/issues", json=ISSUE)).status_code == 201
        with pytest.raises(StoreError, match="Stop it first"):
            restore(tmp_path / "backup", folder, overwrite=True)
    assert await numbers(folder) == [1001, 1002]


def damaged(backup: Path, kind: str) -> bytes:
    content = backup.read_bytes()
    if kind == "cut":
        return content[: len(content) // 2]
    if kind == "no archive":
        return b"hello" * 1000
    if kind == "other bytes":
        assert content.count(b"hello") == 1
        return content.replace(b"hello", b"hullo")
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        member = tarfile.TarInfo("../outside" if kind == "outside" else "blobs/aa/link")
        if kind == "link":
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(member, io.BytesIO())
    return made.getvalue()


@pytest.mark.parametrize("kind", ["cut", "no archive", "other bytes", "outside", "link"])
async def test_a_damaged_or_foreign_file_changes_nothing(folder: Path, tmp_path: Path, kind: str) -> None:
    back_up(folder, tmp_path / "backup")
    (tmp_path / "bad").write_bytes(damaged(tmp_path / "backup", kind))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for target in (tmp_path / "new", folder):
        with pytest.raises(StoreError):
            restore(tmp_path / "bad", target, overwrite=True)
    assert list((tmp_path / "new").iterdir()) == []
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert not (tmp_path / "outside").exists()


def test_a_folder_without_a_desk_and_a_file_that_is_not_there_say_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no desk"):
        back_up(tmp_path / "nothing", tmp_path / "backup")
    with pytest.raises(StoreError, match="no file"):
        restore(tmp_path / "backup", tmp_path / "desk")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["desk"]


async def test_missing_bytes_make_no_backup(folder: Path, tmp_path: Path) -> None:
    next(path for path in (folder / "blobs").rglob("*") if path.is_file()).unlink()
    with pytest.raises(StoreError, match="bytes of an attachment"):
        back_up(folder, tmp_path / "backup")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["desk"]


async def test_bytes_that_an_object_store_keeps_stay_there(tmp_path: Path) -> None:
    """The database alone comes back; its files are read where their bytes are."""
    folder, bucket = tmp_path / "desk", BlobFolder(tmp_path / "bucket")
    async with working(folder, bucket) as (desk, _):
        await load_lines(desk, *FILE_LINES)
    with pytest.raises(StoreError, match="bytes of an attachment"):
        back_up(folder, tmp_path / "wrong")
    assert back_up(folder, tmp_path / "backup", with_bytes=False) == 2
    with pytest.raises(StoreError, match="CALLTRIAGE_BLOBS_URL"):
        restore(tmp_path / "backup", tmp_path / "wrong-again")
    assert restore(tmp_path / "backup", tmp_path / "other", with_bytes=False) == 2
    async with working(tmp_path / "other", bucket) as (desk, _):
        names = await desk.store.read(lambda connection: connection.execute(select(attachments)).all())
        async with aclosing(bucket.read(names[0].blob, 0, names[0].size)) as pieces:
            assert b"".join([piece async for piece in pieces]) == b"hello"


async def test_a_backup_with_bytes_is_not_restored_where_an_object_store_keeps_them(
    folder: Path, tmp_path: Path
) -> None:
    back_up(folder, tmp_path / "backup")
    with pytest.raises(StoreError, match="CALLTRIAGE_BLOBS_URL"):
        restore(tmp_path / "backup", tmp_path / "other", with_bytes=False)
    assert list((tmp_path / "other").iterdir()) == []
