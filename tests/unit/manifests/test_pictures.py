"""The README's pictures show what the commands print."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[3]
PICTURES = ROOT / "manifests" / "pictures"


def load_draw() -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw", PICTURES / "draw.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["draw"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


draw = load_draw()


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
