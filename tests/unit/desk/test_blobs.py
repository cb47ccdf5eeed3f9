"""File bytes: named by their content, whole or not there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calltriage.desk.blobs import BlobFolder, TooLargeError


async def pieces(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def content(path: Path) -> bytes:
    return path.read_bytes()


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


async def test_bytes_lie_under_their_hash(tmp_path: Path) -> None:
    blobs = BlobFolder(tmp_path / "blobs")
    blob = await blobs.put(pieces(b"hel", b"", b"lo"), 5)
    assert blob.size == 5
    assert blob.sha256 == hashlib.sha256(b"hello").hexdigest()
    assert blob.md5 == hashlib.md5(b"hello", usedforsecurity=False).hexdigest()
    assert blobs.path(blob.sha256) == tmp_path / "blobs" / blob.sha256[:2] / blob.sha256[2:]
    assert content(blobs.path(blob.sha256)) == b"hello"
    assert len(files(tmp_path)) == 1


async def test_no_bytes_are_a_blob_too(tmp_path: Path) -> None:
    blobs = BlobFolder(tmp_path / "blobs")
    blob = await blobs.put(pieces(), 0)
    assert (blob.size, content(blobs.path(blob.sha256))) == (0, b"")


async def test_equal_bytes_are_stored_once(tmp_path: Path) -> None:
    blobs = BlobFolder(tmp_path / "blobs")
    one, two = await blobs.put(pieces(b"hello"), 9), await blobs.put(pieces(b"he", b"llo"), 9)
    assert one == two
    assert len(files(tmp_path)) == 1


async def test_equal_bytes_that_come_at_once_are_stored_once(tmp_path: Path) -> None:
    blobs = BlobFolder(tmp_path / "blobs")
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(blobs.put, pieces(b"x" * 100_000, b"y"), 200_000)
    assert len(files(tmp_path)) == 1


@pytest.mark.parametrize("chunks", [(b"123456",), (b"12345", b"6"), (b"1",) * 6])
async def test_too_many_bytes_leave_nothing(tmp_path: Path, chunks: tuple[bytes, ...]) -> None:
    with pytest.raises(TooLargeError):
        await BlobFolder(tmp_path / "blobs").put(pieces(*chunks), 5)
    assert files(tmp_path) == []


async def test_a_stream_past_the_limit_is_not_read_on(tmp_path: Path) -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield b"12"

    stream = endless()
    with pytest.raises(TooLargeError):
        await BlobFolder(tmp_path / "blobs").put(stream, 5)
    assert taken == 3


async def test_a_stream_that_breaks_leaves_nothing(tmp_path: Path) -> None:
    async def breaks() -> AsyncIterator[bytes]:
        yield b"123"
        raise ConnectionError("as scripted")

    with pytest.raises(ConnectionError):
        await BlobFolder(tmp_path / "blobs").put(breaks(), 5)
    assert files(tmp_path) == []


async def test_a_stream_that_is_cancelled_leaves_nothing(tmp_path: Path) -> None:
    begun = anyio.Event()

    async def stalls() -> AsyncIterator[bytes]:
        yield b"123"
        begun.set()
        await anyio.sleep_forever()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(BlobFolder(tmp_path / "blobs").put, stalls(), 5)
            await begun.wait()
            tasks.cancel_scope.cancel()
    assert files(tmp_path) == []


async def test_bytes_stay_when_the_same_bytes_break_off(tmp_path: Path) -> None:
    blobs = BlobFolder(tmp_path / "blobs")
    blob = await blobs.put(pieces(b"hello"), 5)
    with pytest.raises(TooLargeError):
        await blobs.put(pieces(b"hello", b"more"), 5)
    assert content(blobs.path(blob.sha256)) == b"hello"


async def test_bytes_are_their_owner_s_alone(tmp_path: Path) -> None:
    blobs = BlobFolder(tmp_path / "blobs")
    blob = await blobs.put(pieces(b"hello"), 5)
    path = blobs.path(blob.sha256)
    modes = [mode(place) for place in (blobs.folder, path.parent, path)]
    assert os.name == "nt" or modes == [0o700, 0o700, 0o600]


@settings(derandomize=True, deadline=None, max_examples=30)
@given(chunks=st.lists(st.binary(max_size=50), max_size=8))
def test_bytes_come_back_however_they_were_cut(chunks: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    blobs = BlobFolder(tmp_path_factory.mktemp("blobs"))
    blob = anyio.run(blobs.put, pieces(*chunks), 1000)
    whole = b"".join(chunks)
    assert (blob.size, blob.sha256) == (len(whole), hashlib.sha256(whole).hexdigest())
    assert content(blobs.path(blob.sha256)) == whole
