"""File bytes in the local folder: whole or not there, kept once, and never lost with somebody else's."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calltriage.desk.bytes import blobs as blobs_module
from calltriage.desk.bytes.blobs import BlobFolder, Blobs, BlobStoreError, Received, TooLargeError


async def pieces(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


async def content(blobs: Blobs, name: str, start: int = 0, length: int | None = None) -> bytes:
    size = length if length is not None else 0
    async with aclosing(blobs.read(name, start, size)) as found:
        return b"".join([piece async for piece in found])


async def published(blobs: Blobs, data: bytes, org: str = "org") -> str:
    received = await blobs.receive(pieces(data), len(data))
    name = await blobs.publish(received.name, received.sha256, org)
    await blobs.drop(received.name)
    return name


async def old_names(blobs: Blobs, seconds: float = 3600) -> set[str]:
    async with aclosing(blobs.unchanged_for(seconds)) as names:
        return {name async for name in names}


@pytest.fixture
def blobs(tmp_path: Path) -> BlobFolder:
    return BlobFolder(tmp_path / "blobs")


async def test_received_bytes_are_described(blobs: BlobFolder) -> None:
    received = await blobs.receive(pieces(b"hel", b"", b"lo"), 5)
    assert received == Received(
        received.name, 5, hashlib.sha256(b"hello").hexdigest(), hashlib.md5(b"hello").hexdigest()
    )
    assert await content(blobs, received.name, 0, 5) == b"hello"


async def test_a_published_name_is_that_of_its_organisation_and_its_bytes(blobs: BlobFolder) -> None:
    name = await published(blobs, b"hello")
    sha256, other = (hashlib.sha256(data).hexdigest() for data in (b"hello", b"jello"))
    assert blobs_module.is_name(name)
    assert blobs_module.is_name_of(name, "org", sha256)
    assert not blobs_module.is_name_of(name, "other", sha256)
    assert not blobs_module.is_name_of(name, "org", other)
    assert files(blobs.folder) == [blobs.folder / name]


recordings = list[list[tuple[str, int]]]()
WORK = (
    "open",
    "os.link",
    "os.listdir",
    "os.scandir",
    "os.utime",
    "os.mkdir",
    "os.rename",
    "os.remove",
    "shutil.copyfile",
)


def note(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook, which cannot be taken away again: what the system is asked to do with files below a blob folder."""
    if recordings and event in WORK:
        recordings[-1].append((event, len([part for part in arguments if "blobs" in str(part)])))


async def work_of(blobs: BlobFolder, data: bytes, org: str) -> list[tuple[str, int]]:
    """What publishing does with files, in order."""
    received = await blobs.receive(pieces(data), len(data))
    recordings.append([])
    try:
        await blobs.publish(received.name, received.sha256, org)
    finally:
        done = recordings.pop()
        await blobs.drop(received.name)
    return done


async def test_bytes_that_another_organisation_has_cost_the_same_work_as_new_ones(blobs: BlobFolder) -> None:
    """A difference could be timed, and would tell one organisation what another one stores."""
    sys.addaudithook(note)
    await published(blobs, b"secret", "theirs")
    guessed, missed = await work_of(blobs, b"secret", "mine"), await work_of(blobs, b"gessed", "mine")
    assert guessed == missed
    assert ("os.link", 2) in guessed, "the hook sees the work"
    assert len({path.stat().st_ino for path in files(blobs.folder)}) == 3
    own = await work_of(blobs, b"secret", "mine")
    assert own != guessed, "equal bytes of one organisation are looked for"
    assert len({path.stat().st_ino for path in files(blobs.folder)}) == 3


async def test_bytes_that_an_older_version_named_are_read_swept_and_dropped(blobs: BlobFolder) -> None:
    sha256 = hashlib.sha256(b"hello").hexdigest()
    old = f"{sha256[:2]}/{sha256[2:]}.{'0' * 16}"
    (blobs.folder / old).parent.mkdir(parents=True)
    (blobs.folder / old).write_bytes(b"hello")
    assert await content(blobs, old, 0, 5) == b"hello"
    new = await published(blobs, b"hello")
    assert (blobs.folder / new).stat().st_ino != (blobs.folder / old).stat().st_ino
    assert old in await old_names(blobs, -3600)
    await blobs.drop(old)
    assert await content(blobs, new, 0, 5) == b"hello"


async def test_no_bytes_are_bytes_too(blobs: BlobFolder) -> None:
    name = await published(blobs, b"")
    assert await content(blobs, name, 0, 0) == b""
    assert (blobs.folder / name).stat().st_size == 0


async def test_equal_bytes_are_one_file_with_a_name_for_each(blobs: BlobFolder) -> None:
    names = [await published(blobs, b"hello") for _ in range(3)]
    assert len(set(names)) == 3
    assert len({path.stat().st_ino for path in files(blobs.folder)}) == 1


async def test_bytes_that_rotted_do_not_spread_to_new_ones(blobs: BlobFolder) -> None:
    rotten = await published(blobs, b"hello")
    (blobs.folder / rotten).write_bytes(b"jello")
    fresh = [await published(blobs, b"hello") for _ in range(2)]
    assert [await content(blobs, name, 0, 5) for name in fresh] == [b"hello"] * 2
    assert len({path.stat().st_ino for path in files(blobs.folder)}) == 2


async def test_a_folder_that_cannot_be_listed_says_so(blobs: BlobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    await published(blobs, b"hello")

    def refused(*_: Any) -> bool:
        raise PermissionError

    monkeypatch.setattr(blobs_module, "_older", refused)
    with pytest.raises(BlobStoreError):
        await old_names(blobs)


async def test_equal_bytes_that_come_at_once_are_all_kept(blobs: BlobFolder) -> None:
    names: list[str] = []

    async def one() -> None:
        names.append(await published(blobs, b"x" * 100_000))

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(one)
    assert len(set(names)) == 20
    assert [await content(blobs, name, 0, 100_000) for name in names] == [b"x" * 100_000] * 20


async def test_dropping_one_name_leaves_the_others_bytes(blobs: BlobFolder) -> None:
    first, second = await published(blobs, b"hello"), await published(blobs, b"hello")
    await blobs.drop(first, first, "incoming/00")
    assert await content(blobs, second, 0, 5) == b"hello"
    with pytest.raises(BlobStoreError):
        await content(blobs, first, 0, 5)
    await blobs.drop(second)
    assert files(blobs.folder) == []


async def test_where_files_cannot_have_two_names_bytes_are_copied(
    blobs: BlobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refused)
    names = [await published(blobs, b"hello") for _ in range(2)]
    assert [await content(blobs, name, 0, 5) for name in names] == [b"hello"] * 2


@pytest.mark.parametrize(("start", "length"), [(0, 0), (0, 1), (2, 3), (4, 1), (5, 0)])
async def test_a_part_is_read(blobs: BlobFolder, start: int, length: int) -> None:
    name = await published(blobs, b"hello")
    assert await content(blobs, name, start, length) == b"hello"[start : start + length]


async def test_a_part_past_the_end_is_a_failure(blobs: BlobFolder) -> None:
    name = await published(blobs, b"hello")
    for start, length in ((0, 6), (5, 1), (9, 1)):
        with pytest.raises(BlobStoreError):
            await content(blobs, name, start, length)


@pytest.mark.parametrize("name", ["../desk.sqlite3", "/etc/passwd", "ab/../../x", "ab/\x00", "", "incoming/"])
async def test_no_name_leads_out_of_the_folder(blobs: BlobFolder, name: str) -> None:
    with pytest.raises(BlobStoreError):
        await content(blobs, name, 0, 1)
    with pytest.raises(BlobStoreError):
        await blobs.drop(name)


@pytest.mark.parametrize("chunks", [(b"123456",), (b"12345", b"6"), (b"1",) * 6])
async def test_too_many_bytes_leave_nothing(blobs: BlobFolder, chunks: tuple[bytes, ...]) -> None:
    with pytest.raises(TooLargeError):
        await blobs.receive(pieces(*chunks), 5)
    assert files(blobs.folder) == []


async def test_a_stream_past_the_limit_is_not_read_on(blobs: BlobFolder) -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield b"12"

    with pytest.raises(TooLargeError):
        await blobs.receive(endless(), 5)
    assert taken == 3


async def test_a_stream_that_breaks_leaves_nothing(blobs: BlobFolder) -> None:
    async def breaks() -> AsyncIterator[bytes]:
        yield b"1" * 3_000_000
        raise ConnectionError("as scripted")

    with pytest.raises(ConnectionError):
        await blobs.receive(breaks(), 5_000_000)
    assert files(blobs.folder) == []


async def test_a_stream_that_is_cancelled_leaves_nothing(blobs: BlobFolder) -> None:
    begun = anyio.Event()

    async def stalls() -> AsyncIterator[bytes]:
        yield b"123"
        begun.set()
        await anyio.sleep_forever()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(blobs.receive, stalls(), 5)
            await begun.wait()
            tasks.cancel_scope.cancel()
    assert files(blobs.folder) == []


async def test_a_full_disk_is_a_failure_that_leaves_nothing(blobs: BlobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """/dev/full refuses every byte, as a full disk does."""
    real_open = os.open

    def full(path: Any, flags: int, *more: Any, **named: Any) -> int:
        made = real_open(path, flags, *more, **named)
        if not flags & os.O_CREAT:
            return made
        os.close(made)
        return real_open("/dev/full", os.O_WRONLY)

    monkeypatch.setattr(os, "open", full)
    for size in (5, 5_000_000):
        with pytest.raises(BlobStoreError) as caught:
            await blobs.receive(pieces(b"x" * size), size)
        assert str(blobs.folder) not in str(caught.value)
    assert files(blobs.folder) == []


async def test_bytes_and_the_names_of_their_folders_are_on_disk_before_they_are_spoken_of(
    blobs: BlobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, sync = set[int](), os.fsync

    def remembered(handle: int) -> None:
        sync(handle)
        synced.add(os.fstat(handle).st_ino)

    def is_on_disk(path: Path) -> bool:
        return path.stat().st_ino in synced

    monkeypatch.setattr(os, "fsync", remembered)
    received = await blobs.receive(pieces(b"hello"), 5)
    path = blobs.folder / received.name
    assert all(is_on_disk(place) for place in (path, path.parent, blobs.folder, blobs.folder.parent))
    synced.clear()
    path = blobs.folder / await blobs.publish(received.name, received.sha256, "org")
    assert all(is_on_disk(place) for place in (path.parent, blobs.folder))


async def test_only_what_nothing_was_done_to_is_old(blobs: BlobFolder) -> None:
    stale = await published(blobs, b"stale")
    lost = (await blobs.receive(pieces(b"lost"), 4)).name
    long_ago = time.time() - 7200
    for name in (stale, lost):
        os.utime(blobs.folder / name, (long_ago, long_ago))
    await published(blobs, b"fresh")
    assert await old_names(blobs) == {stale, lost}
    again = await published(blobs, b"stale")
    assert await old_names(blobs) == {lost}, "a file that got another name is young again"
    assert await content(blobs, again, 0, 5) == b"stale"


async def test_before_anything_was_stored_nothing_is_old(blobs: BlobFolder) -> None:
    assert await old_names(blobs) == set()


async def test_bytes_are_their_owner_s_alone(blobs: BlobFolder) -> None:
    path = blobs.folder / await published(blobs, b"hello")
    modes = [place.stat().st_mode & 0o777 for place in (blobs.folder, path.parent, path)]
    assert os.name == "nt" or modes == [0o700, 0o700, 0o600]


@settings(derandomize=True, deadline=None, max_examples=30)
@given(chunks=st.lists(st.binary(max_size=50), max_size=8))
def test_bytes_come_back_however_they_were_cut(chunks: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    blobs, whole = BlobFolder(tmp_path_factory.mktemp("blobs")), b"".join(chunks)

    async def there_and_back() -> bytes:
        received = await blobs.receive(pieces(*chunks), 1000)
        assert (received.size, received.sha256) == (len(whole), hashlib.sha256(whole).hexdigest())
        return await content(blobs, await blobs.publish(received.name, received.sha256, "org"), 0, len(whole))

    assert anyio.run(there_and_back) == whole


@pytest.mark.skipif(sys.platform == "win32", reason="open files cannot be moved there")
@pytest.mark.parametrize("again", [False, True])
async def test_bytes_that_went_into_a_folder_that_was_moved_are_not_received(tmp_path: Path, again: bool) -> None:
    data = tmp_path / "data"
    data.mkdir()
    blobs = BlobFolder(data / "blobs")
    await published(blobs, b"before")

    async def moving() -> AsyncIterator[bytes]:
        yield b"hel"
        data.rename(tmp_path / "moved")
        if again:
            (data / "blobs" / "incoming").mkdir(parents=True)
        yield b"lo"

    with pytest.raises(BlobStoreError):
        await blobs.receive(moving(), 5)
    assert not files(data)
    with pytest.raises(BlobStoreError):  # nor is a folder made for them that would be in the way of the one put back
        await BlobFolder(tmp_path / "gone" / "blobs").receive(pieces(b"x"), 1)
    assert not (tmp_path / "gone").exists()
