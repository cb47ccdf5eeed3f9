"""Files are found by names that are written otherwise: composed or not, with other blanks, in another case."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import anyio
import pytest

from calltriage.errors import Rejected
from calltriage.server.files.local import FileRoots, attachment_name, file_name

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


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("COM¹.txt", "_COM¹.txt"), ("lpt².log", "_lpt².log"), ("com³", "_com³"), ("NUL .txt", "_NUL .txt"), ("nul", "_nul"),
        ("con\u00a0.a.b", "_con\u00a0.a.b"), ("CONIN$", "_CONIN$"), ("CON.txt.", "_CON.txt"), ("com⁴.txt", "com⁴.txt"),
        ("console.txt", "console.txt"), ("nul l.txt", "nul l.txt"), ("com10.txt", "com10.txt"),
    ],
)  # fmt: skip
def test_a_device_s_name_is_no_file_s(name: str, kept: str) -> None:
    assert file_name(name) == kept


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("می\u200cخواهم.txt", "می\u200cخواهم.txt"), ("क्\u200dष.txt", "क्\u200dष.txt"), ("نامه\u200c2.txt", "نامه\u200c2.txt"),
        ("👨\u200d👩\u200d👧.png", "👨\u200d👩\u200d👧.png"), ("in\u200cvoice.txt", "in_voice.txt"),
        ("a\u200d\u200d.txt", "a__.txt"),
        ("\u200cمی.txt", "_می.txt"), ("می\u200c.txt", "می_.txt"), ("می\u200c\u200c\u200cخ", "می___خ"), ("می\u202eخ", "می_خ"),
    ],
)  # fmt: skip
def test_joiners_within_words_are_part_of_a_name(name: str, kept: str) -> None:
    assert (attachment_name(name), file_name(name)) == (kept, kept)
