"""Write what follows from declarations: each tool as `tools/list` shows it, the first answers that come with the code, each
host's file, README's table, the manifests.

Run it when a change to the surface is meant:

uv run --group dev python tests/golden/update.py
"""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import anyio

from calltriage.first_answers import FILE
from calltriage.offering import ALL
from calltriage.server.call.table import describe
from calltriage.server.toolsets import select

HERE = Path(__file__).parent


def surface() -> dict[str, str]:
    """Text of each golden file by name."""
    listed = [describe(tool) for tool in select([ALL])]
    return {
        f"{tool.name}.json": json.dumps(tool.model_dump(mode="json", by_alias=True, exclude_none=True), indent=1) + "\n"
        for tool in listed
    }


if __name__ == "__main__":
    for old in HERE.glob("*.json"):
        old.unlink()
    for name, text in surface().items():
        (HERE / name).write_text(text, encoding="utf-8")
    sys.path.insert(0, str(HERE.parent))
    from golden.first_answers import first_answers
    from golden.hosts import FOLDER, installed

    FILE.write_text(anyio.run(first_answers), encoding="utf-8")
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.txt"):
        old.unlink()
    for name, text in installed().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    runpy.run_path(str(HERE.parents[1] / "manifests" / "fill.py"))["fill"]()
