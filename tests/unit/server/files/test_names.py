"""Files are found by names that are written otherwise: composed or not, with other blanks, in another case."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import anyio
import pytest

from calltriage.errors import Rejected
from calltriage.server.files.local import FileRoots

NAMES = [
    (unicodedata.normalize("NFD", "Gespräch.txt"), "Gespräch.txt"),
    ("Screenshot 9.15.00\u202fPM.txt", "Screenshot 9.15.00 PM.txt"),
    ("Report.TXT", "report.txt"),
    (unicodedata.normalize("NFD", "Köln/Größe.txt"), "Köln/Größe.txt"),
]


@pytest.mark.parametrize(("disk", "asked"), NAMES)
async def test_a_file_is_found_by_its_name_in_another_form(tmp_path: Path, disk: str, asked: str) -> None:
    there = anyio.Path(tmp_path / disk)
    await there.parent.mkdir(exist_ok=True)
    await there.write_text("x")
    async with FileRoots((tmp_path,)).open(str(tmp_path / asked)) as opened:
        assert (opened.name, opened.size) == (there.name, 1)


async def test_the_exact_name_comes_first_and_two_that_are_alike_are_none(tmp_path: Path) -> None:
    for name in ("A b.txt", "a\u202fb.txt"):
        await anyio.Path(tmp_path / name).write_text(name)
    async with FileRoots((tmp_path,)).open(str(tmp_path / "A b.txt")) as opened:
        assert opened.name == "A b.txt"
    with pytest.raises(Rejected) as error:
        async with FileRoots((tmp_path,)).open(str(tmp_path / "a b.txt")):
            pass
    assert error.value.code == "file_not_found"


async def test_another_form_of_a_name_leads_out_of_no_root_and_into_no_private_folder(tmp_path: Path) -> None:
    root, private = tmp_path / "root", tmp_path / "root" / "Prive"
    await anyio.Path(private).mkdir(parents=True)
    await anyio.Path(private / "x.txt").write_text("secret")
    await anyio.Path(tmp_path / "Out.txt").write_text("secret")
    await anyio.Path(root / "Link.txt").symlink_to(tmp_path / "Out.txt")
    for path in ("prive/x.txt", "link.txt", "../out.txt"):
        with pytest.raises(Rejected) as error:
            async with FileRoots((root,), private=(private,)).open(str(root / path)):
                pass
        assert error.value.code == "path_not_allowed"
