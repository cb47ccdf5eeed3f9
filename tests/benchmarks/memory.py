"""Print what memory a server and the commands for whole files take, as Markdown.

uv run --group dev python tests/benchmarks/memory.py [--calls 100000] [--mib 64] [--folder DIR]

The server runs over stdio with its desk inside and every tool call is one of read, list and write in turn. The commands are
given one file, or one desk, of so many MiB; idle is what the same command takes for one of a few KiB. An import of 1 GiB of
calls takes most of an hour: its words are indexed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from time import sleep
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from contenders import OURS, inside
from processes import OverStdio

from calltriage.journal.rows import FILE as JOURNAL
from calltriage.storage.sqlite import sqlite_driver

MIB = 2**20
WIDTH = 16
STEPS = 10
"""How often the server's memory is read on the way."""
TEXT = "and then the caller said that the card had not come yet "
SETTLE = 2.0


def of_the_server(folder: Path, calls: int) -> list[tuple[str, float]]:
    """MiB of the server when idle, and after each tenth of so many calls."""
    server = OverStdio(inside(), folder / "server")
    try:
        new = {"title": "A call to look into", "severity": "high", "category": "Dialogue", "on_duplicate": "create"}
        made = server.call("create_issue", **new)
        sleep(SETTLE)
        found = [("server idle, its desk open", server.memory())]
        for step in range(1, STEPS + 1):
            kinds: Sequence[tuple[str, dict[str, Any]]] = (
                ("get_issue", {"issue_id": made["id"]}),
                ("list_issues", {"limit": 20}),
                ("add_comment", {"issue_id": made["id"], "detail": f"Looked into, time {step}."}),
            )
            for name, arguments in kinds:
                server.burst({"name": name, "arguments": arguments}, calls // STEPS // len(kinds), WIDTH)
            found.append((f"server after {calls * step // STEPS:,} calls", server.memory()))
            print(found[-1], file=sys.stderr, flush=True)
        return found
    finally:
        server.stop()


STARTER = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stderr=subprocess.DEVNULL)
_, status, used = os.wait4(process.pid, 0)
print(used.ru_maxrss, file=sys.stderr)
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""Starts the command that is measured. The peak of a process is never less than its parent's, so that this one is small."""


def peak_of(data: Path, out: Path, *command: str) -> float:
    """MiB that a command takes at most. Its output goes to a file."""
    environment = {"PATH": os.environ["PATH"], "CALLTRIAGE_DATA_DIR": str(data), "CALLTRIAGE_MAX_FILE_MIB": "4096"}
    starter = [sys.executable, "-I", "-S", "-c", STARTER, *OURS, *command]
    with out.open("wb") as to:
        done = subprocess.run(starter, stdout=to, stderr=subprocess.PIPE, env=environment, check=True)
    return int(done.stderr) * (1 if sys.platform == "darwin" else 1024) / MIB


def call_lines(path: Path, mib: float) -> None:
    """A file of calls of 400 turns each."""
    with path.open("w", encoding="utf-8") as file:
        number = 0
        while file.tell() < mib * MIB:
            turns = [{"speaker": ("agent", "caller")[n % 2], "text": f"{n} {TEXT * 10}"} for n in range(400)]
            line = {"call_id": f"c-{number}", "created_at": "2026-05-01T10:00:00Z", "turns": turns}
            file.write(json.dumps(line) + "\n")
            number += 1


def blow_up_journal(data: Path, mib: float) -> None:
    """Rows put into a journal's file directly, each of 64 KiB."""
    driver: Any = sqlite_driver()
    with closing(driver.connect(data / JOURNAL)) as file, file:
        names = [str(name) for _, name, *_ in file.execute("PRAGMA table_info(entries)")]
        new = {
            "seq": "n + (SELECT max(seq) FROM entries)",
            "write_id": "write_id || n",
            "arguments": """printf('{"detail":"%.*c"}', 65000, 'x')""",
        }
        rows = max(1, int(mib * MIB / 65_000))
        many = f"WITH n (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM n LIMIT {rows})"
        columns = ", ".join(new.get(name, name) for name in names)
        file.execute(
            f"INSERT INTO entries {many} SELECT {columns} FROM n, (SELECT * FROM entries ORDER BY seq LIMIT 1)"
        )


def with_a_write(data: Path) -> None:
    """A data folder whose journal has a row."""
    server = OverStdio(inside(), data.parent)
    server.call("create_issue", title="First", severity="low", category="Bug")
    server.stop()


def of_the_commands(folder: Path, mib: float) -> list[tuple[str, float, float]]:
    """What each command takes for a small and for a large one, in MiB."""
    found = dict[str, list[float]]()
    for size in (0.01, mib):
        place = folder / f"commands-{size:g}"
        data = place / "data"
        place.mkdir()
        with_a_write(data)
        lines, out = place / "calls.jsonl", place / "out"
        call_lines(lines, size)
        found.setdefault("desk import", []).append(peak_of(data, out, "desk", "import", str(lines)))
        lines.unlink()
        found.setdefault("desk backup", []).append(peak_of(data, out, "desk", "backup", str(place / "backup")))
        (place / "backup").unlink()
        blow_up_journal(data, size)
        found.setdefault("journal export", []).append(peak_of(data, out, "journal", "export"))
        out.unlink()
    return [(name, small, large) for name, (small, large) in found.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--mib", type=float, default=64)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with TemporaryDirectory(dir=given.folder) as folder:
        print("| | MiB |\n|---|---|")
        for name, mib in of_the_server(Path(folder), given.calls) if given.calls else ():
            print(f"| {name} | {mib:.0f} |", flush=True)
        print(f"\n| | idle, MiB | {given.mib:g} MiB | over idle |\n|---|---|---|---|")
        for name, small, large in of_the_commands(Path(folder), given.mib):
            print(f"| `{name}` | {small:.0f} | {large:.0f} | {large - small:.0f} |", flush=True)


if __name__ == "__main__":
    main()
