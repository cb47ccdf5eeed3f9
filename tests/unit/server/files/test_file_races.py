"""Files that change under the server's hands, and names that say nothing about what lies outside."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from calltriage.errors import Rejected
from calltriage.server.files.local import FileRoots, OpenFile


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "report.txt").write_text("outside")
    root = tmp_path / "root"
    (root / "below").mkdir(parents=True)
    (root / "below" / "report.txt").write_text("inside")
    return root


async def refusal(roots: FileRoots, path: str) -> dict[str, Any]:
    with pytest.raises(Rejected) as caught:
        async with roots.open(path):
            raise AssertionError("opened")
    return caught.value.body()


@pytest.mark.parametrize("swapped", ["below/report.txt", "below"])
async def test_a_link_put_in_after_the_path_was_checked_leads_nowhere(
    root: Path, monkeypatch: pytest.MonkeyPatch, swapped: str
) -> None:
    real_open = os.open

    def racing_open(path: Any, flags: int, *more: Any, **named: Any) -> int:
        if not (root / "aside").exists():
            os.rename(root / swapped, root / "aside")
            target = root.parent / "outside" if swapped == "below" else root.parent / "outside" / "report.txt"
            (root / swapped).symlink_to(target)
        return real_open(path, flags, *more, **named)

    monkeypatch.setattr(os, "open", racing_open)
    assert (await refusal(FileRoots((root,)), "below/report.txt"))["code"] in {"path_not_allowed", "file_not_found"}


@pytest.mark.parametrize(
    ("there", "absent"),
    [
        ("../outside/report.txt", "../outside/absent.txt"),
        ("../outside", "../nowhere"),
        ("../outside/report.txt/x", "../nowhere/x"),
        ("/etc/passwd", "/etc/no-such-file"),
        ("/dev/zero", "/dev/no-such-device"),
        ("~", "~no-such-user-7f3a/x"),
        ("link-there", "link-absent"),
    ],
)
async def test_a_refusal_does_not_tell_whether_anything_is_there(root: Path, there: str, absent: str) -> None:
    (root / "link-there").symlink_to(root.parent / "outside" / "report.txt")
    (root / "link-absent").symlink_to(root.parent / "outside" / "absent.txt")
    roots = FileRoots((root,))
    body = await refusal(roots, there)
    assert body["code"] == "path_not_allowed"
    assert body == await refusal(roots, absent)


@pytest.mark.parametrize(
    "name", ["ünï🙂.txt", "e\u0301.txt", "two\nlines", " blank ", "-dash", "~tilde", "a%2e%2e", "..."]
)
async def test_any_name_that_a_file_can_have_is_opened(root: Path, name: str) -> None:
    (root / name).write_text(name)
    async with FileRoots((root,)).open(str(root / name)) as opened:
        assert (opened.name, b"".join([chunk async for chunk in opened.chunks()])) == (name, name.encode())


async def test_each_root_is_open_by_its_absolute_path_and_relative_paths_start_at_the_first(root: Path) -> None:
    second = root.parent / "outside"
    roots = FileRoots((root, second))
    async with roots.open(str(second / "report.txt")) as opened:
        assert opened.size == len("outside")
    async with roots.open("below/report.txt") as opened:
        assert opened.size == len("inside")
    assert (await refusal(roots, "report.txt"))["code"] == "file_not_found"


async def test_a_root_that_is_itself_a_link_is_followed(root: Path) -> None:
    (root.parent / "alias").symlink_to(root)
    async with FileRoots((root.parent / "alias",)).open("below/report.txt") as opened:
        assert opened.size == len("inside")


async def test_the_file_is_closed_when_the_reader_fails(root: Path) -> None:
    async def read() -> None:
        async with FileRoots((root,)).open("below/report.txt") as opened:
            kept.append(opened)
            raise ZeroDivisionError

    kept: list[OpenFile] = []
    with pytest.raises(ZeroDivisionError):
        await read()
    assert kept[0].file.closed
