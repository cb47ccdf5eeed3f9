"""A desk in one file and back: whole, while others write, or not at all."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import sys
import tarfile
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing, asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import IO, Any, cast

import anyio
import anyio.to_thread
import httpx2
import pytest
from conftest import DESK_URL, KEY, load_lines
from pydantic import SecretStr
from sqlalchemy import select

from calltriage.cli.backup import _beside_the_desk
from calltriage.desk.app import Desk
from calltriage.desk.bytes.blobs import BlobFolder, Blobs
from calltriage.desk.database.backup import back_up, kept_aside, restore
from calltriage.desk.database.backup_archive import unpack
from calltriage.desk.database.tables import attachments
from calltriage.errors import StoreError
from calltriage.journal.journal import Journal
from calltriage.storage.sqlite import sqlite_driver
from calltriage.wiring import head_note

DRIVER: Any = sqlite_driver()
OTHERS = _beside_the_desk()
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


@pytest.fixture(scope="module")
def made_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "desk"

    async def make() -> None:
        async with working(folder) as (desk, http):
            assert (await http.post("/v1/triage/issues", json=ISSUE)).status_code == 201
            await load_lines(desk, *FILE_LINES)

    anyio.run(make)
    return folder


@pytest.fixture
def folder(made_folder: Path, tmp_path: Path) -> Path:
    """A desk with an issue and two files, used by nobody."""
    return shutil.copytree(made_folder, tmp_path / "desk")


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


@pytest.mark.slow
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
    with closing(DRIVER.connect(folder / kept_aside("desk.sqlite3"))) as replaced:
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


# Equal files, and what an archive may hold


TWINS = (
    '{"kind": "file", "name": "a.txt", "base64": "aGVsbG8="}',
    '{"kind": "file", "name": "twin.txt", "base64": "aGVsbG8="}',
    '{"kind": "file", "name": "triplet.txt", "base64": "aGVsbG8="}',
)


@pytest.fixture
async def twins(tmp_path: Path) -> Path:
    """A desk with three equal files, which are one file with three names."""
    async with working(tmp_path / "twins") as (desk, _):
        await load_lines(desk, *TWINS)
    return tmp_path / "twins"


async def test_equal_files_are_written_whole_and_come_back(twins: Path, tmp_path: Path) -> None:
    assert back_up(twins, tmp_path / "backup") == 3
    with tarfile.open(tmp_path / "backup") as archive:
        members = archive.getmembers()
    assert all(member.isreg() for member in members)
    assert [member.size for member in members if member.name.startswith("blobs/")] == [5, 5, 5]
    assert restore(tmp_path / "backup", tmp_path / "other") == 3
    assert blobs(tmp_path / "other") == blobs(twins)


def as_before(folder: Path, target: Path) -> None:
    """A backup as versions up to November 2026 wrote it: a file that came before under another name becomes a link."""
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("desk.sqlite3", "desk.key"):
            if (folder / name).exists():
                archive.add(folder / name, name)
        for path in sorted((folder / "blobs").rglob("*")):
            if path.is_file():
                archive.add(path, path.relative_to(folder).as_posix())


async def test_an_older_backup_with_links_is_restored(twins: Path, tmp_path: Path) -> None:
    as_before(twins, tmp_path / "old")
    with tarfile.open(tmp_path / "old") as archive:
        assert sum(member.islnk() for member in archive) == 2
    assert restore(tmp_path / "old", tmp_path / "other") == 3
    assert sorted(blobs(tmp_path / "other").values()) == [b"hello"] * 3
    assert blobs(tmp_path / "other") == blobs(twins)


async def test_an_older_backup_of_an_older_desk_is_restored(tmp_path: Path) -> None:
    """Version 1's tables, files named by their hash alone, packed as it was then."""
    old = tmp_path / "old"
    old.mkdir()
    with closing(DRIVER.connect(old / "desk.sqlite3")) as database:
        database.executescript((Path(__file__).parent / "version_1.sql").read_text(encoding="utf-8"))
        digest = hashlib.sha256(b"hello").hexdigest()
        blob = f"{digest[:2]}/{digest[2:]}"
        database.execute(
            "INSERT INTO attachments (org_id, id, object_key, name, size, type, blob, sha256, md5, created_at) SELECT "
            "id, 'a', 'k', 'a.txt', 5, 'text/plain', ?, ?, 'm', '2026-05-01T10:00:00.000Z' FROM organisations LIMIT 1",
            (blob, digest),
        )
        database.commit()
    (old / "blobs" / blob).parent.mkdir(parents=True)
    (old / "blobs" / blob).write_bytes(b"hello")
    as_before(old, tmp_path / "backup")
    assert restore(tmp_path / "backup", tmp_path / "other") == 1
    assert blobs(tmp_path / "other") == blobs(old)
    async with working(tmp_path / "other") as (_, http):
        assert (await http.get("/v1/triage/issues", params={"limit": 100})).json()["data"]["items"]


def add(archive: tarfile.TarFile, name: str, content: bytes = b"", **header: Any) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for field, value in header.items():
        setattr(member, field, value)
    archive.addfile(member, io.BytesIO(content))


def repacked(source: Path, target: Path, change: Callable[[tarfile.TarFile], object], **mode: Any) -> None:
    """The same backup with more in it."""
    with tarfile.open(source) as old, tarfile.open(target, "w", **mode) as new:
        for member in old:
            new.addfile(member, old.extractfile(member))
        change(new)


def sparse_header(name: str, real: int) -> bytes:
    """A GNU sparse member that holds nothing and unpacks to `real` bytes."""
    member = tarfile.TarInfo(name)
    member.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    header[386:410] = b"%011o\0" % real + b"%011o\0" % 0  # one piece: no bytes at the end
    header[483:495] = b"%011o\0" % real
    header[148:156] = b"%06o\0 " % sum(header[:148] + b" " * 8 + header[156:])
    return bytes(header)


NAME = "blobs/aa/" + "b" * 62
HOSTILE: dict[str, Callable[[tarfile.TarFile], object]] = {
    "symbolic link": lambda new: add(new, NAME, type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "link outside": lambda new: add(new, NAME, type=tarfile.LNKTYPE, linkname="/etc/passwd"),
    "link to the key": lambda new: (
        add(new, "desk.key", b"k" * 40), add(new, NAME, type=tarfile.LNKTYPE, linkname="desk.key")),
    "link to what is not there": lambda new: add(new, NAME, type=tarfile.LNKTYPE, linkname="blobs/aa/cc"),
    "database as a link": lambda new: add(new, "journal.sqlite3", type=tarfile.LNKTYPE, linkname="desk.sqlite3"),
    "device": lambda new: add(new, NAME, type=tarfile.CHRTYPE, devmajor=1, devminor=5),
    "pipe": lambda new: add(new, NAME, type=tarfile.FIFOTYPE),
    "folder": lambda new: add(new, NAME, type=tarfile.DIRTYPE),
    "absolute name": lambda new: add(new, "/blobs/aa/bb", b"x"),
    "name that goes up": lambda new: add(new, "blobs/../desk.key", b"x"),
    "foreign name": lambda new: add(new, "blobs/aa/notes.txt", b"x"),
    "foreign database": lambda new: add(new, "other.sqlite3", b"x"),
    "write-ahead log": lambda new: add(new, "desk.sqlite3-wal", b"x"),
    "member twice": lambda new: (add(new, NAME, b"x"), add(new, NAME, b"x")),
    "database twice": lambda new: add(new, "desk.sqlite3", b"x"),
    "huge key": lambda new: add(new, "desk.key", b"x" * 5000),
    "extended size": lambda new: add(new, NAME, b"x", pax_headers={"size": "99999999999"}),
    "negative size": lambda new: add(new, NAME, b"x", pax_headers={"size": "-1536"}),
    "huge header": lambda new: add(new, NAME, b"x", pax_headers={"comment": "x" * 3 * 2**20}),
    "extended sparse file": lambda new: add(
        new, NAME, pax_headers={"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.map": "2147483648,0",
                                "GNU.sparse.size": "2147483648"}),
    "endless headers": lambda new: cast("IO[bytes]", new.fileobj).write(
        tarfile.TarInfo("x" * 150).tobuf(tarfile.PAX_FORMAT)[: 2 * 512] * 2000),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
async def test_an_archive_with_anything_else_in_it_is_refused(folder: Path, tmp_path: Path, kind: str) -> None:
    back_up(folder, tmp_path / "backup")
    repacked(tmp_path / "backup", tmp_path / "bad", HOSTILE[kind], format=tarfile.PAX_FORMAT)
    with pytest.raises(StoreError):
        restore(tmp_path / "bad", tmp_path / "other")
    assert list((tmp_path / "other").iterdir()) == []


@contextmanager
def files_of_at_most(size: int) -> Generator[None]:
    """Larger files cannot be written meanwhile, where the system can say so."""
    if sys.platform == "win32":
        yield
        return
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_sparse_member_counts_by_what_it_unpacks_to(folder: Path, tmp_path: Path) -> None:
    back_up(folder, tmp_path / "backup")

    def change(new: tarfile.TarFile) -> None:
        cast("IO[bytes]", new.fileobj).write(sparse_header(NAME, 2**31))

    repacked(tmp_path / "backup", tmp_path / "bad", change)
    with tarfile.open(tmp_path / "bad") as archive:
        assert (archive.getmembers()[-1].size, archive.getmembers()[-1].issparse()) == (2**31, True)
    with files_of_at_most(2**20), pytest.raises(StoreError, match="damaged"):  # not: cannot be written
        restore(tmp_path / "bad", tmp_path / "other")
    assert list((tmp_path / "other").iterdir()) == []


def changed(source: Path, target: Path, *changes: str, member: str = "desk.sqlite3") -> None:
    """The same backup with a database that somebody worked on."""
    with tarfile.open(source) as old, tarfile.open(target, "w") as new:
        for one in old:
            content = cast("IO[bytes]", old.extractfile(one)).read()
            if one.name == member:
                database = target.with_suffix(".sqlite3")
                database.write_bytes(content)
                with closing(DRIVER.connect(database)) as connection:
                    for change in changes:
                        connection.executescript(change)
                    connection.commit()
                content = database.read_bytes()
            add(new, one.name, content)


ACTIVE = {
    "trigger": "CREATE TRIGGER t AFTER INSERT ON issues BEGIN UPDATE settings SET value = 'x'; END",
    "changed trigger of ours": "DROP TRIGGER issue_grams_insert;"
    "CREATE TRIGGER issue_grams_insert AFTER INSERT ON issues BEGIN UPDATE settings SET value = 'x'; END",
    "view": "CREATE VIEW v AS SELECT * FROM settings",
    "view in the place of a table": "ALTER TABLE attachments RENAME TO a2; CREATE VIEW attachments AS WITH RECURSIVE n(i) "
    "AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT 'aa/bb' AS blob, 'x' AS sha256, i AS size FROM n",
    "virtual table": "CREATE VIRTUAL TABLE x USING fts5 (a)",
    "index of an expression": "CREATE INDEX x ON issues (upper(title))",
    "index with a condition": "CREATE INDEX x ON issues (title) WHERE length(title) > 3",
    "computed column": "ALTER TABLE settings ADD COLUMN x AS (zeroblob(100000000))",
    "check": "CREATE TABLE x (a CHECK (a > 1))",
    "computed default": "CREATE TABLE x (a DEFAULT (randomblob(10)))",
    "check behind a comment": "CREATE TABLE x (a CHECK/**/(a > 1))",
}
UNLIKE = {
    "host path": "UPDATE attachments SET blob = '/etc/passwd'",
    "path that goes up": "UPDATE attachments SET blob = '../desk.key'",
    "path below the folder": "UPDATE attachments SET blob = 'aa/../../desk.key'",
    "host path of a reservation": "INSERT INTO reservations (org_id, id, object_key, allowed_types, expires_at, blob) "
    "VALUES ('o', 'i', 'k', '[]', 9, '/etc/passwd')",
    "bytes as a name": "UPDATE attachments SET blob = x'2f657463'",
    "other size": "UPDATE attachments SET size = 6",
    "missing column": "ALTER TABLE issues DROP COLUMN description",
    "missing table": "DROP TABLE categories",
    "missing index": "DROP INDEX issues_by_creation",
    "newer version": "UPDATE settings SET value = '999' WHERE name = 'schema_version'",
    "no version": "DELETE FROM settings WHERE name = 'schema_version'",
    "version that is no number": "UPDATE settings SET value = x'00ff' WHERE name = 'schema_version'",
}


@pytest.mark.parametrize("kind", [*ACTIVE, *UNLIKE])
async def test_a_database_that_would_run_something_or_is_no_desk_is_refused(
    folder: Path, tmp_path: Path, kind: str
) -> None:
    back_up(folder, tmp_path / "backup")
    changed(tmp_path / "backup", tmp_path / "bad", (ACTIVE | UNLIKE)[kind])
    with pytest.raises(StoreError, match="no calltriage makes" if kind in ACTIVE else None):
        restore(tmp_path / "bad", tmp_path / "other")
    assert list((tmp_path / "other").iterdir()) == []


@pytest.mark.parametrize("change", [ACTIVE["trigger"], ACTIVE["view"], UNLIKE["host path"]])
async def test_what_would_not_be_restored_is_not_backed_up(folder: Path, tmp_path: Path, change: str) -> None:
    with closing(DRIVER.connect(folder / "desk.sqlite3")) as database:
        database.executescript(change)
    with pytest.raises(StoreError):
        back_up(folder, tmp_path / "backup")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["desk"]


EXTRA = "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)"


@pytest.mark.parametrize("extra", [EXTRA, 'CREATE TABLE "api_keys" (a)', "CREATE TABLE issue_grams_more (a)"])
async def test_a_desk_with_a_table_that_is_none_of_a_desk_s_is_refused_by_its_name(
    folder: Path, tmp_path: Path, extra: str
) -> None:
    back_up(folder, tmp_path / "backup")
    changed(tmp_path / "backup", tmp_path / "bad", extra)
    with pytest.raises(StoreError, match=r"has the table \w+, which no calltriage makes.* DROP TABLE"):
        restore(tmp_path / "bad", tmp_path / "other")
    assert list((tmp_path / "other").iterdir()) == []


async def test_a_journal_with_a_table_that_is_none_of_a_journal_s_is_refused(folder: Path, tmp_path: Path) -> None:
    journal = Journal(folder)
    async with journal.calling("add_flag", "", None):
        pass
    await journal.close()
    back_up(folder, tmp_path / "backup", OTHERS)
    assert restore(tmp_path / "backup", tmp_path / "whole", OTHERS) == 2
    changed(tmp_path / "backup", tmp_path / "bad", EXTRA, member="journal.sqlite3")
    with pytest.raises(StoreError, match="The journal has the table notes"):
        restore(tmp_path / "bad", tmp_path / "other", OTHERS)


async def test_the_note_of_a_journal_that_a_restore_replaced_is_not_missed(folder: Path, tmp_path: Path) -> None:
    async def act() -> dict[str, Any]:
        return {"outcome": "committed"}

    journal = Journal(folder, note=head_note(folder))
    async with journal.calling("add_flag", "", "k") as call:
        await journal.once(call, {}, act)
    await journal.close()
    back_up(folder, tmp_path / "backup", OTHERS)
    restore(tmp_path / "backup", folder, OTHERS, overwrite=True)
    assert not list(folder.glob("journal.*ed")) + list(folder.glob("journal.head"))
    assert (await journal.verify()).broken_at is None


@pytest.mark.parametrize("junk", [b"junk", b"\0" * 10240, b"\0" * 511 + b"x", tarfile.TarInfo("x").tobuf()])
async def test_anything_after_the_archive_s_end_is_refused(folder: Path, tmp_path: Path, junk: bytes) -> None:
    back_up(folder, tmp_path / "backup")
    with (tmp_path / "backup").open("ab") as file:
        file.write(junk)
    with pytest.raises(StoreError, match="damaged"):
        restore(tmp_path / "backup", tmp_path / "other")


@pytest.mark.parametrize("blocks", range(20))
def test_an_archive_ends_well_wherever_its_last_record_does(tmp_path: Path, blocks: int) -> None:
    with tarfile.open(tmp_path / "backup", "w", format=tarfile.PAX_FORMAT) as archive:
        add(archive, "desk.sqlite3", b"x" * 512 * blocks)
    found = unpack(tmp_path / "backup", tmp_path, {"desk.sqlite3"}, keep_bytes=True)
    assert found["desk.sqlite3"].size == 512 * blocks


def without_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on no file can have a second name."""

    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refused)


async def test_without_hard_links_a_desk_is_replaced_and_kept_aside(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_links(monkeypatch)
    back_up(folder, tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "other")
    async with working(tmp_path / "other") as (_, http):
        await http.post("/v1/triage/issues", json=ISSUE)
    restore(tmp_path / "backup", tmp_path / "other", overwrite=True)
    with closing(DRIVER.connect(tmp_path / "other" / "desk.before-restore.sqlite3")) as aside:
        before = aside.execute("SELECT count(*) FROM issues").fetchone()[0]
    with closing(DRIVER.connect(tmp_path / "other" / "desk.sqlite3")) as restored:
        assert restored.execute("SELECT count(*) FROM issues").fetchone()[0] == before - 1


async def test_without_hard_links_only_the_equal_files_that_a_desk_speaks_of_are_copied(
    twins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_before(twins, tmp_path / "old")
    without_links(monkeypatch)
    with tarfile.open(tmp_path / "old") as archive:
        first = next(one.linkname for one in archive if one.islnk())

    def link_more(new: tarfile.TarFile) -> None:
        for n in range(100):
            add(new, f"blobs/aa/{n:062x}", type=tarfile.LNKTYPE, linkname=first)

    repacked(tmp_path / "old", tmp_path / "more", link_more)
    assert restore(tmp_path / "more", tmp_path / "other") == 3
    assert blobs(tmp_path / "other") == blobs(twins)


async def test_without_room_for_the_copies_of_equal_files_nothing_is_restored(
    twins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_before(twins, tmp_path / "old")
    without_links(monkeypatch)
    full = shutil.disk_usage(tmp_path)._replace(free=9)  # two copies of five bytes are more
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    with pytest.raises(StoreError, match=r"no hard links.* 10 bytes"):
        restore(tmp_path / "old", tmp_path / "other")
    assert list((tmp_path / "other").iterdir()) == []


async def test_a_file_of_bytes_that_is_a_link_to_another_file_is_not_packed(folder: Path, tmp_path: Path) -> None:
    """Somebody who can write to the folder must not get at what its owner alone can read."""
    (tmp_path / "private").write_bytes(b"hello")
    place = next(path for path in (folder / "blobs").rglob("*") if path.is_file() and path.read_bytes() == b"hello")
    place.unlink()
    place.symlink_to(tmp_path / "private")
    with pytest.raises(StoreError):
        back_up(folder, tmp_path / "backup")
    assert not (tmp_path / "backup").exists()


async def test_a_backup_into_a_missing_folder_says_so(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="There is no folder"):
        back_up(folder, tmp_path / "missing" / "backup")
    assert not (tmp_path / "missing").exists()
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="There is no folder"):
        back_up(folder, tmp_path / "file" / "backup")


async def test_an_archive_without_its_end_is_refused(tmp_path: Path) -> None:
    """The key is the last member of a desk without files: cut off, it would be missed by nobody."""
    async with working(tmp_path / "desk") as (_, http):
        await http.post("/v1/triage/issues", json=ISSUE)
    (tmp_path / "desk" / "desk.key").write_text("k" * 43)
    back_up(tmp_path / "desk", tmp_path / "backup")
    with tarfile.open(tmp_path / "backup") as archive:
        end = archive.getmember("desk.key").offset
    (tmp_path / "cut").write_bytes((tmp_path / "backup").read_bytes()[:end])
    with pytest.raises(StoreError, match="damaged"):
        restore(tmp_path / "cut", tmp_path / "other")
