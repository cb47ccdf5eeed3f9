"""Write what follows from the tools: one JSON file for each as `tools/list` shows it, README's table, the manifests.

Run it when a change to the surface is meant:

uv run --group dev python tests/golden/update.py
"""

from __future__ import annotations

import json
import runpy
from pathlib import Path

from calltriage.server.call.table import describe
from calltriage.server.toolsets import ALL, select

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
    runpy.run_path(str(HERE.parents[1] / "manifests" / "fill.py"))["fill"]()
