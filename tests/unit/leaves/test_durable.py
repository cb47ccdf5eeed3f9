"""A file is put in its place whole, or the old one stands."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

import pytest

from calltriage.leaves import durable
from calltriage.leaves.folders import Folder


def test_a_file_is_its_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        durable.write(tmp_path / "key", b"secret")
    finally:
        os.umask(before)
    assert (tmp_path / "key").read_bytes() == b"secret"
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such bits")
def test_a_file_in_anothers_place_keeps_its_mode(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_bytes(b"old")
    file.chmod(0o644)
    durable.write(file, b"new", file.stat())
    assert file.read_bytes() == b"new"
    assert stat.S_IMODE(file.stat().st_mode) == 0o644


def test_what_cannot_be_put_in_place_leaves_the_old_one_and_no_draft(tmp_path: Path) -> None:
    taken = tmp_path / "folder"
    (taken / "inside").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        durable.write(taken, b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    with Folder(tmp_path) as folder, pytest.raises(IsADirectoryError):
        folder.put("folder", b"new", for_good=True)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize("for_good", [True, False])
def test_a_folder_puts_a_file_in_the_place_of_another(tmp_path: Path, for_good: bool) -> None:
    (tmp_path / "file").write_bytes(b"old and longer")
    with Folder(tmp_path) as folder:
        folder.put("file", b"new", for_good=for_good)
    assert (tmp_path / "file").read_bytes() == b"new"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_that_takes_a_part_at_a_time_gets_all_of_it() -> None:
    class Slow(io.BytesIO):
        def write(self, data: object) -> int:
            return super().write(bytes(memoryview(data)[:3]))  # type: ignore[arg-type]

    file = Slow()
    durable.write_whole(file, b"0123456789")
    assert file.getvalue() == b"0123456789"
