"""The README's pictures show what the commands print, and the pages that they make."""

from __future__ import annotations

import importlib.util
import re
import shutil
import struct
import sys
import zlib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[3]
PICTURES = ROOT / "manifests" / "pictures"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, PICTURES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


load("running")  # the others import it: as scripts they find it beside them
draw, photograph = load("draw"), load("photograph")
CHANGED = "take it again: uv run --group dev python manifests/pictures/photograph.py"


@pytest.mark.slow
@pytest.mark.parametrize("name", draw.PICTURES)
def test_a_picture_shows_what_is_printed(name: str) -> None:
    assert (PICTURES / f"{name}.svg").read_text(encoding="utf-8") == draw.drawn(name), (
        "draw it again: uv run --group dev python manifests/pictures/draw.py"
    )


@pytest.mark.parametrize("name", draw.PICTURES)
def test_a_picture_asks_nothing_of_anybody_and_stands_in_the_readme(name: str) -> None:
    svg = (PICTURES / f"{name}.svg").read_text(encoding="utf-8")
    assert set(re.findall(r"https?://[^\"<&\s]+", svg)) <= {
        "http://www.w3.org/2000/svg",
        "https://www.textualize.io",
    }
    assert not re.search(r"<(script|image|use|a)\b|@import|url\(h", svg)
    assert f"manifests/pictures/{name}.svg" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_what_differs_in_each_run_is_replaced_by_equal_values() -> None:
    one, other = (f"{n}a2b4d0c-6bb9-400c-9e4c-c7bb7623a5df" for n in (1, 2))
    text = f"\x1b[2m{one}\x1b[0m {other} {one} (17 ms) \x1b[2m2026-11-29T05:51:10.221Z"
    for fix in draw.FIXED:
        text = fix(text)
    words = text.split()
    assert words[0].removeprefix("\x1b[2m").removesuffix("\x1b[0m") == words[2] != words[1]
    assert "17" not in words[3]
    assert "05:51" not in text


@pytest.mark.slow
def test_the_picture_of_a_report_is_of_the_page_that_is_written_now(tmp_path: Path) -> None:
    assert photograph.kept_source("report") == photograph.digest(photograph.report(tmp_path)), CHANGED


@pytest.mark.slow
def test_the_picture_of_the_board_is_of_the_page_that_is_served_now() -> None:
    if shutil.which("chromium") is None:
        pytest.skip("there is no Chromium on this machine (Debian: apt-get install chromium)")
    assert photograph.kept_source("board") == photograph.taken("board")[1], CHANGED


def chunks(png: bytes) -> list[bytes]:
    """The names of a PNG's chunks. Each has its length, its name, its data and a checksum of both."""
    at, names = 8, list[bytes]()
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        body, checksum = png[at + 4 : at + 8 + length], png[at + 8 + length : at + 12 + length]
        assert struct.pack(">I", zlib.crc32(body)) == checksum
        names.append(body[:4])
        at += 12 + length
    return names


@pytest.mark.parametrize("name", photograph.PAGES)
def test_a_picture_of_a_page_says_what_it_was_taken_of_and_stands_in_the_readme(name: str) -> None:
    png = (PICTURES / f"{name}.png").read_bytes()
    assert chunks(png)[:2] == [b"IHDR", b"tEXt"]
    assert photograph.kept_source(name) is not None
    assert f"manifests/pictures/{name}.png" in (ROOT / "README.md").read_text(encoding="utf-8")
