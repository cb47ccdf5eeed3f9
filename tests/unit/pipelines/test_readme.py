"""The README's pipeline, as it stands there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import anyio
from click.testing import CliRunner

from calltriage.cli.main import cli
from calltriage.pipelines import Pipeline
from calltriage.pipelines.pipeline import Report
from calltriage.settings import Settings
from calltriage.wiring import open_client

README = Path(__file__).parents[3] / "README.md"
SECTION = "## Investigations that run by themselves"


def test_the_pipeline_of_the_readme_finds_what_it_is_written_for(tmp_path: Path) -> None:
    section = README.read_text(encoding="utf-8").partition(SECTION)[2].partition("\n## ")[0]
    blocks = dict[str, list[str]]()
    for language, text in re.findall(r"```(\w+)\n(.*?)```", section, re.DOTALL):
        blocks.setdefault(language, []).append(text)
    (tmp_path / "refund-line.toml").write_text(blocks["toml"][0])
    (tmp_path / "acme_checks.py").write_text(blocks["python"][0])
    call = {"call_id": "call-1", "created_at": "2026-05-06T10:00:00Z", "metadata": {"pathway_id": "p-1"}, "turns": [
        {"speaker": "caller", "text": "how long do I have"}, {"speaker": "agent", "text": "You have 60 days."},
    ]}  # fmt: skip
    (tmp_path / "calls.jsonl").write_text(json.dumps(call))
    data = tmp_path / "data"
    imported = CliRunner().invoke(
        cli, ["desk", "import", str(tmp_path / "calls.jsonl")], env={"CALLTRIAGE_DATA_DIR": str(data)}
    )
    assert imported.exit_code == 0, imported.output

    async def carry_out() -> Report:
        async with open_client(Settings(data_dir=data)) as client:
            return await Pipeline.load(tmp_path / "refund-line.toml").run(client, dry_run=True)

    report = anyio.run(carry_out)

    (found,) = report.tally.detectors["wrong_refund_window"].examples
    assert (found.verified.quote, found.verified.turn, found.verified.note) == ("60 days", 1, "Policy says 30 days.")
    assert ".run(client, " in blocks["python"][1]
