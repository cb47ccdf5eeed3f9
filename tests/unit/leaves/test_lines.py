from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import pytest

from calltriage.leaves.lines import Lines, write_whole

MOST = 10
PATIENCE_S = 10
"""Seconds after which something that should have happened has not."""


class Pipe:
    """A pipe, and the lines that come out of it."""

    def __init__(self) -> None:
        self._out, self._in = os.pipe()
        self.lines = Lines(self._out)

    def write(self, data: bytes) -> None:
        os.write(self._in, data)

    async def read(self, most: int) -> bytes:
        with anyio.CancelScope(shield=True):
            await anyio.wait_readable(self._out)
        return os.read(self._out, most)

    async def write_whole(self, data: bytes) -> None:
        await write_whole(self._in, data)

    def end(self) -> None:
        if self._in >= 0:
            os.close(self._in)
            self._in = -1

    def close(self) -> None:
        self.end()
        os.close(self._out)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


def test_lines_come_whole_and_the_rest_at_the_end(pipe: Pipe) -> None:
    pipe.write(b"one\ntwo\nthr")
    pipe.write(b"ee")
    pipe.end()
    assert [pipe.lines.read(MOST) for _ in range(4)] == [b"one\n", b"two\n", b"three", b""]


def test_a_longer_line_comes_in_parts(pipe: Pipe) -> None:
    pipe.write(b"x" * 25 + b"\ny\n")
    assert [pipe.lines.read(MOST) for _ in range(4)] == [b"x" * 10, b"x" * 10, b"x" * 5 + b"\n", b"y\n"]


def test_a_line_that_ends_where_the_limit_is_comes_whole(pipe: Pipe) -> None:
    pipe.write(b"x" * 9 + b"\n" + b"y" * 10 + b"\n")
    assert [pipe.lines.read(MOST) for _ in range(3)] == [b"x" * 9 + b"\n", b"y" * 10, b"\n"]


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot wait for a pipe")
def test_whether_a_line_is_there_is_known_without_reading_it(pipe: Pipe) -> None:
    assert not pipe.lines.has_line(0, MOST)
    pipe.write(b"a line\nhal")
    assert pipe.lines.has_line(0, MOST)
    assert pipe.lines.read(MOST) == b"a line\n"
    assert not pipe.lines.has_line(0, MOST)
    pipe.end()
    assert pipe.lines.has_line(0, MOST)
    assert pipe.lines.read(MOST) == b"hal"


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot wait for a pipe")
async def test_a_line_is_waited_for_without_a_thread_and_a_cancelled_wait_takes_nothing(pipe: Pipe) -> None:
    threads = threading.active_count()
    pipe.write(b"hal")
    with anyio.CancelScope() as waiting:
        waiting.cancel()
        await pipe.lines.next(MOST)
    read = list[bytes]()

    async def reads() -> None:
        read.extend([await pipe.lines.next(MOST), await pipe.lines.next(MOST), await pipe.lines.next(MOST)])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reads)
        await anyio.wait_all_tasks_blocked()
        pipe.write(b"f\nrest")
        await anyio.wait_all_tasks_blocked()
        assert threading.active_count() <= threads
        pipe.end()
    assert read == [b"half\n", b"rest", b""]


async def test_lines_of_a_file_come_like_those_of_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "lines").write_bytes(b"one\ntwo")
    with (tmp_path / "lines").open("rb") as file:
        lines = Lines(file.fileno())
        assert [await lines.next(MOST) for _ in range(3)] == [b"one\n", b"two", b""]


LONG = bytes(range(256)) * 2**12


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot wait for a pipe")
async def test_what_a_pipe_does_not_hold_is_written_as_it_is_read_without_a_thread(pipe: Pipe) -> None:
    threads, read = threading.active_count(), b""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pipe.write_whole, LONG)
        await anyio.wait_all_tasks_blocked()
        assert threading.active_count() <= threads
        while len(read) < len(LONG):
            read += await pipe.read(len(LONG))
    assert read == LONG


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot wait for a pipe")
async def test_what_is_begun_is_written_whole_and_what_is_not_begun_not_at_all(pipe: Pipe) -> None:
    read = b""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pipe.write_whole, LONG)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
        while len(read) < len(LONG):
            read += await pipe.read(len(LONG))
    assert read == LONG


async def test_a_terminal_without_room_stops_no_other_task() -> None:
    tty = pytest.importorskip("tty", reason="Windows has no terminals of this kind")
    ours, its = os.openpty()
    tty.setraw(its)
    went_on, read = threading.Event(), bytearray()

    def read_later() -> bool:
        is_told = went_on.wait(PATIENCE_S)
        while len(read) < len(LONG):
            read.extend(os.read(ours, len(LONG)))
        return is_told

    with ThreadPoolExecutor(1) as pool:
        told = pool.submit(read_later)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write_whole, its, LONG)
            await anyio.wait_all_tasks_blocked()
            went_on.set()
        assert told.result()
    assert read == LONG
    os.close(ours)
    os.close(its)
