"""Commands of pipelines as processes: what they log, and how a signal ends them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from e2e.processes import load, started
from pipeline_lines import silent_line

QUIET = 'name = "quiet"\n[watch]\nevery = "1s"\n[calls]\nsettle = "0s"\n[[detect]]\nuse = "agent_silence"\n'


async def test_a_watch_logs_the_end_of_each_call(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(QUIET)
    made = datetime.now(UTC).isoformat(timespec="milliseconds")
    await load(tmp_path, silent_line("silent", 9.5, created_at=made))
    said = r'"message": "item ended".*"call_id": "(\w+)"'
    async with started(tmp_path, "pipeline", "watch", "p.toml", "--port", "0", pattern=said) as call_id:
        assert call_id == "silent"
