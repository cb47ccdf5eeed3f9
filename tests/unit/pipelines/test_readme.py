"""The README's pipeline, as it stands there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from click.testing import CliRunner
from e2e.processes import PATIENCE, environment

from calltriage.cli.main import cli

README = Path(__file__).parents[3] / "README.md"
SECTION = "## Investigations that run by themselves"


def test_the_pipeline_of_the_readme_and_its_program_find_what_they_are_written_for(tmp_path: Path) -> None:
    section = README.read_text(encoding="utf-8").partition(SECTION)[2].partition("\n## ")[0]
    blocks = dict[str, list[str]]()
    for language, text in re.findall(r"```(\w+)\n(.*?)```", section, re.DOTALL):
        blocks.setdefault(language, []).append(text)
    (tmp_path / "refund-line.toml").write_text(blocks["toml"][0])
    (tmp_path / "acme_checks.py").write_text(blocks["python"][0])
    made = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    call = {"call_id": "call-1", "created_at": made, "metadata": {"pathway_id": "p-1"}, "turns": [
        {"speaker": "caller", "text": "how long do I have"}, {"speaker": "agent", "text": "You have 60 days."},
    ]}  # fmt: skip
    (tmp_path / "calls.jsonl").write_text(json.dumps(call))
    data = tmp_path / "data"
    imported = CliRunner().invoke(
        cli, ["desk", "import", str(tmp_path / "calls.jsonl")], env={"CALLTRIAGE_DATA_DIR": str(data)}
    )
    assert imported.exit_code == 0, imported.output

    program = subprocess.run(
        [sys.executable, "-c", blocks["python"][1]], capture_output=True, text=True, check=False, cwd=tmp_path,
        env=environment(CALLTRIAGE_DATA_DIR=str(data)), timeout=PATIENCE,
    )  # fmt: skip

    assert program.returncode == 0, program.stderr
    assert "wrong_refund_window 1 ['60 days']" in program.stdout.splitlines()
