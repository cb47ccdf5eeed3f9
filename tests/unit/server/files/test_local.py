"""Local files: regular ones below the roots, and nothing that a link leads out to."""

from __future__ import annotations

import gc
import io
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from calltriage.errors import Rejected
from calltriage.server.files import local as files_module
from calltriage.server.files.local import FileRoots, OpenFile


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("outside")
    root = tmp_path / "root"
    (root / "below").mkdir(parents=True)
    (root / "below" / "ü.txt").write_text("inside")
    (root / "empty").touch()
    (root / "link-in").symlink_to(root / "below" / "ü.txt")
    (root / "link-out").symlink_to(tmp_path / "secret")
    (root / "folder-out").symlink_to(tmp_path)
    for loop in (root / "loop", tmp_path / "loop"):
        loop.symlink_to(loop)
    os.mkfifo(root / "fifo")
    return root


async def code_of(roots: FileRoots, path: str) -> str:
    with pytest.raises(Rejected) as caught:
        async with roots.open(path):
            raise AssertionError("opened")
    assert path not in str(caught.value) or len(path) < 2
    return caught.value.code


@pytest.mark.parametrize(("path", "content"), [("below/ü.txt", b"inside"), ("link-in", b"inside"), ("empty", b"")])
async def test_a_file_below_the_root_is_read(root: Path, path: str, content: bytes) -> None:
    async with FileRoots((root,)).open(path) as opened:
        assert b"".join([chunk async for chunk in opened.chunks()]) == content
        assert b"".join([chunk async for chunk in opened.chunks()]) == content, "a second upload starts over"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("../secret", "path_not_allowed"),
        ("below/../../secret", "path_not_allowed"),
        ("/etc/passwd", "path_not_allowed"),
        ("/etc/there-is-no-such-file", "path_not_allowed"),
        ("link-out", "path_not_allowed"),
        ("folder-out/secret", "path_not_allowed"),
        ("~/secret", "path_not_allowed"),
        ("/dev/zero", "path_not_allowed"),
        ("../loop", "path_not_allowed"),
        ("loop/../../secret", "path_not_allowed"),
        ("a\x00b", "path_not_allowed"),
        ("loop", "file_not_found"),
        ("loop/below/ü.txt", "file_not_found"),
        ("x" * 5000, "file_not_found"),
        ("fifo", "not_a_file"),
        ("below", "not_a_file"),
        ("absent", "file_not_found"),
    ],
)
async def test_anything_else_is_refused(root: Path, path: str, code: str) -> None:
    assert await code_of(FileRoots((root,)), path) == code


async def test_a_root_is_not_a_prefix(root: Path, tmp_path: Path) -> None:
    (tmp_path / "rooted").mkdir()
    (tmp_path / "rooted" / "x").touch()
    assert await code_of(FileRoots((root,)), str(tmp_path / "rooted" / "x")) == "path_not_allowed"


async def test_without_roots_nothing_is_read(root: Path) -> None:
    assert await code_of(FileRoots(), str(root / "empty")) == "path_not_allowed"


async def test_a_file_over_the_limit_is_refused(root: Path) -> None:
    assert await code_of(FileRoots((root,), limit=5), "below/ü.txt") == "file_too_large"


async def test_a_file_that_shrinks_while_it_is_read_is_noticed(root: Path) -> None:
    async with FileRoots((root,)).open("below/ü.txt") as opened:
        os.truncate(root / "below" / "ü.txt", 2)
        with pytest.raises(Rejected) as caught:
            _ = [chunk async for chunk in opened.chunks()]
    assert caught.value.code == "file_changed"


async def test_a_file_that_grows_while_it_is_read_is_sent_as_it_was_announced(root: Path) -> None:
    async with FileRoots((root,)).open("below/ü.txt") as opened:
        (root / "below" / "ü.txt").write_text("inside and more")
        assert b"".join([chunk async for chunk in opened.chunks()]) == b"inside"


async def test_a_private_folder_is_closed_even_inside_a_root(root: Path) -> None:
    roots = FileRoots((root,), private=(root / "below",))
    assert await code_of(roots, "below/ü.txt") == "path_not_allowed"
    assert await code_of(roots, "link-in") == "path_not_allowed"


async def test_what_is_no_regular_file_is_not_even_opened(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, real_open = list[str](), os.open

    def noting_open(path: Any, *more: Any, **named: Any) -> int:
        opened.append(os.path.basename(path))
        return real_open(path, *more, **named)

    monkeypatch.setattr(os, "open", noting_open)
    assert await code_of(FileRoots((root,)), "fifo") == "not_a_file"
    assert root.name in opened, "folders are"
    assert "fifo" not in opened


async def test_a_file_that_cannot_be_begun_is_said_and_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_long(_: int) -> str:
        return "x" * 300

    async def pieces() -> AsyncIterator[bytes]:
        yield b"x"

    monkeypatch.setattr(files_module.secrets, "token_hex", too_long)
    gc.collect()  # what an earlier test left open
    before = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    with pytest.raises(Rejected) as caught:
        await FileRoots((tmp_path,)).save(str(tmp_path), "a.txt", pieces())
    assert (caught.value.code, caught.value.field) == ("cannot_save", "save_to")
    assert sys.platform != "linux" or len(os.listdir("/proc/self/fd")) <= before
    assert list(tmp_path.iterdir()) == []


async def test_a_disk_that_fails_while_a_file_is_read_is_said() -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(5, "Input/output error")

    opened = OpenFile("x", 4, Failing())
    with pytest.raises(Rejected):
        await opened.head(4)
    with pytest.raises(Rejected):
        _ = [chunk async for chunk in opened.chunks()]


async def test_a_refused_path_hears_which_folders_are_open_and_why_the_desks_own_is_not(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x").touch()
    roots = FileRoots((tmp_path,), private=(tmp_path / "data",))
    for path, told in (("/etc/passwd", f"open here: {tmp_path}."), ("data/x", "data folder")):
        with pytest.raises(Rejected) as refused:
            async with roots.open(path):
                pass
        assert told in str(refused.value)
        assert (refused.value.code, refused.value.allowed) == ("path_not_allowed", [str(tmp_path)])
