"""The command line in this process, on a data folder of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from calltriage.cli.main import cli

Run = Callable[..., Result]


def on_calls(folder: Path, monkeypatch: pytest.MonkeyPatch, lines: Sequence[str]) -> Run:
    """Runs commands in the folder, on a desk below it that has the calls of these lines of an import file."""
    monkeypatch.setenv("CALLTRIAGE_DATA_DIR", str(folder / "data"))
    monkeypatch.chdir(folder)

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(cli, arguments)

    (folder / "calls.jsonl").write_text("\n".join(lines))
    assert invoke("desk", "import", "calls.jsonl").exit_code == 0
    return invoke
