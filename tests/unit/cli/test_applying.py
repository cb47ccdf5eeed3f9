"""What `calltriage apply` does with a plan that it began before: goes on, and ends with 3 where it cannot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mcp.client import Client

from calltriage.cli.applying import MADE, STOPPED, Known, PlanFileError, Wish, apply_lines, read_lines
from calltriage.settings import Settings, load_settings
from calltriage.wiring import open_server


def comment(detail: str) -> bytes:
    return json.dumps({"tool": "add_comment", "arguments": {"issue_id": "T-1001", "detail": detail}}).encode()


async def begun(settings: Settings, data: bytes, **change: Any) -> None:
    """Plan a file as the command does, and change the issue before anything is made."""
    lines = read_lines(data)
    offered = settings.model_copy(update={"toolsets": ("core", "batch")})
    async with open_server(offered, over_stdio=True) as (server, *_), Client(server) as agent:
        new = {"title": "T", "severity": "low", "category": "Bug"}
        await agent.call_tool("create_issue", new)
        plan = (await agent.call_tool("plan_triage", {"writes": lines.writes})).structured_content or {}
        Known(settings.data_dir / "plans", lines.digest).keep(plan)
        if change:
            await agent.call_tool("update_issue", {"issue_id": "T-1001", **change})


async def test_a_file_that_was_begun_goes_on_with_its_own_plan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, data = load_settings(data_dir=tmp_path / "data"), comment("one") + b"\n" + comment("two")
    await begun(settings, data)
    assert await apply_lines(settings, read_lines(data), Wish()) == MADE
    assert await apply_lines(settings, read_lines(data), Wish(as_json=True)) == MADE
    assert capsys.readouterr().out.splitlines()[2] == "2 of 2 writes are made."
    assert len([*(tmp_path / "data" / "plans").glob("*.plan")]) == 1, "one file, one plan"


async def test_it_ends_with_3_where_a_write_would_do_something_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = load_settings(data_dir=tmp_path / "data")
    update = json.dumps({"tool": "update_issue", "arguments": {"issue_id": "T-1001", "status": "done"}}).encode()
    data = comment("one") + b"\n\n" + update + b"\n" + comment("two")
    await begun(settings, data, severity="critical")
    assert await apply_lines(settings, read_lines(data), Wish()) == STOPPED
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == "1 of 3 writes are made."
    assert "Stopped at line 3." in said.err


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "holds no write"),
        (b"\n \n", "holds no write"),
        (b"\xff", "line 1: is not JSON in UTF-8"),
        (b"[" * 1000, "line 1: is nested too deeply"),
        (b"\n".join([b"["] * 1000), "line 201: is write 201"),
        (b" " * (16 * 2**20 + 1), "larger than 16 MiB"),
        (b'{"tool": "x", "arguments": {"n": NaN}}', "line 1: holds a number that is not finite"),
        (b'\n{"tool": "x"}', "line 2: arguments: must be an object"),
        (b'{"arguments": {}}', "line 1: tool: must be the name of a tool"),
        (b'{"tool": "x", "arguments": {}, "<b>": 1}', "line 1: a member: unknown"),
    ],
    ids=[
        "nothing",
        "blanks",
        "no UTF-8",
        "deep",
        "many lines",
        "large",
        "no number",
        "no arguments",
        "no tool",
        "a member more",
    ],
)
def test_a_line_that_is_no_write_is_named(data: bytes, complaint: str) -> None:
    with pytest.raises(PlanFileError, match=complaint):
        read_lines(data)
