from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from calltriage.leaves.lines import Lines

MOST = 10


class Pipe:
    """A pipe, and the lines that come out of it."""

    def __init__(self) -> None:
        self._out, self._in = os.pipe()
        self.lines = Lines(self._out)

    def write(self, data: bytes) -> None:
        os.write(self._in, data)

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
