"""`calltriage apply` in a shell: a file of writes checked, made once, gone on with, and refused by line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from e2e.processes import run

pytestmark = pytest.mark.slow

CALL = "5d0c6a0e-6f1b-4a53-9d57-0f6a1b7c2e01"


def line(tool: str, **arguments: Any) -> str:
    return json.dumps({"tool": tool, "arguments": arguments})


A_CASE = [
    line("create_issue", title="Callers are not verified", severity="high", category="Dialogue"),
    "",
    line("attach_resource", issue_id="$1", resource_type="call", resource_id=CALL),
    line("add_comment", issue_id="$1", detail="From a shell."),
]


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    assert (await run(tmp_path, "desk", "sample"))[0] == 0
    return tmp_path


async def test_a_file_is_checked_then_made_once_however_often_it_is_applied(folder: Path) -> None:
    (folder / "plan.jsonl").write_text("\n".join(A_CASE), encoding="utf-8")
    status, said, _ = await run(folder, "apply", "plan.jsonl", "--check")
    assert (status, said.splitlines()[1:]) == (
        0,
        [f"line 3: attach call {CALL} to $1", "line 4: comment on $1 (13 characters)",
         "3 writes can be made, 0 have problems. Nothing was made."],
    )  # fmt: skip
    status, said, _ = await run(folder, "apply", "plan.jsonl")
    assert (status, said.splitlines()[0], said.splitlines()[-1]) == (
        0, "line 1: create_issue committed T-1001", "3 of 3 writes are made.",
    )  # fmt: skip
    status, said, _ = await run(folder, "apply", "plan.jsonl", "--json")
    rows = [json.loads(one) for one in said.splitlines()]
    assert (status, rows[-1]) == (0, {"state": "applied", "done": 3, "of": 3})
    assert [row["line"] for row in rows[:-1]] == [1, 3, 4]
    _, shown, _ = await run(folder, "journal", "show", "--json")
    assert len(shown.splitlines()) == 3, "nothing was made twice"
    status, _, complaint = await run(folder, "apply", "plan.jsonl", "--anew")
    assert (status, complaint.count("line 1: create_issue: ")) == (1, 1), "the issue is open already"


async def test_what_is_wrong_is_named_by_line_and_member_and_nothing_is_made(folder: Path) -> None:
    bad = [A_CASE[0], "nothing", '{"tool": 1, "arguments": {}}', '{"tool": "add_comment", "arguments": []}', "[]"]
    status, _, said = await run(folder, "apply", "-", stdin="\n".join(bad))
    assert (status, said.splitlines()) == (
        1,
        ["line 2: is not JSON in UTF-8", "line 3: tool: must be the name of a tool",
         "line 4: arguments: must be an object", "line 5: must be an object with tool and arguments"],
    )  # fmt: skip
    wrong = [
        A_CASE[0],
        "",
        line("add_flag", issue_id="$1", call_id=CALL, type="t"),
        line("add_comment", issue_id="T-7", detail="x"),
    ]
    status, _, said = await run(folder, "apply", "-", stdin="\n".join(wrong))
    assert (status, [one.split(": ")[:3] for one in said.splitlines()]) == (
        1,
        [["line 3", "add_flag", "call_id"], ["line 3", "instead", '{"tool"'], ["line 4", "add_comment", "issue_id"]],
    )  # fmt: skip
    status, _, said = await run(folder, "apply", "-", stdin="\n".join([A_CASE[3]] * 201))
    assert (status, "line 201: is write 201" in said) == (1, True)
    status, _, said = await run(folder, "apply", "-", stdin=A_CASE[0], CALLTRIAGE_READ_ONLY="1")
    assert (status, "CALLTRIAGE_READ_ONLY" in said) == (1, True)
    assert (await run(folder, "apply"))[0] == 2
    _, shown, _ = await run(folder, "journal", "show", "--json")
    assert shown == ""
