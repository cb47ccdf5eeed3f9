"""Print the README's section on performance: every table of it, by the commands that it names.

uv run --group dev python tests/benchmarks/section.py [--write] [--quick] [--wait 30]

It waits until the machine is quiet (load below 0.5), for at most --wait minutes, and prints the load that it began with.
With --write the section replaces the one in the README, and the chart is drawn. --quick measures little, to try the command.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import sleep

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
README = ROOT / "README.md"
HEADING = "## Performance\n"
KEPT = "### More on the figures\n"
"""Where the part of the section begins that other commands print, which stays as it is."""
TOKENS = re.compile(r"An agent of this version pays.*?\n\n", re.DOTALL)
"""A paragraph that stays, too: tests hold its figures."""
QUIET = 0.5


@dataclass(frozen=True)
class Part:
    """A part of the section: what it says before its figures, the command that prints them, and what is cut in a trial."""

    words: str
    command: str
    quick: str
    is_table: bool = True


PARTS = (
    Part(
        "Beside its peers, each started in turn and all in one run: a bare server on the same SDK, what FastMCP generates "
        "from the desk's OpenAPI document, and the triage vendor's command line. Memory is the server's own process.\n\n"
        "![calltriage beside its peers](manifests/pictures/peers.svg)",
        "peers.py",
        "--starts 1 --calls 20",
    ),
    Part(
        "A start and single calls, against a bare two-tool server on the same SDK, in turn:",
        "run.py",
        "--pairs 1 --calls 10",
        is_table=False,
    ),
    Part(
        "Through client, journal and desk, each on disk for good when it returns:",
        "rates.py",
        "--operations 40 --widths 1",
        is_table=False,
    ),
    Part("Memory, and what of it grows:", "memory.py", "--calls 900 --mib 2"),
    Part("A large file, each way with its bytes on disk:", "files.py --mib 1024", "--mib 8", is_table=False),
    Part("A desk with 1,000,000 issues:", "million.py", "--issues 2000 --rounds 2", is_table=False),
    Part(
        "Pipelines, on 10,000 calls of 18 turns of which every tenth is filed, on 50 issues:",
        "pipelines.py",
        "--calls 40 --only embedded",
        is_table=False,
    ),
    Part(
        "What grows with the desk, and what it carries ([Growth](tests/benchmarks/growth.md) says what follows):",
        "growth.py",
        "--sizes 200 400 --rounds 1 --operations 20",
    ),
)


def quiet(minutes: float) -> float:
    """The load, once it is below QUIET, or when so many minutes are over."""
    for _ in range(int(minutes * 6)):
        if os.getloadavg()[0] < QUIET:
            break
        sleep(10)
    return os.getloadavg()[0]


def printed(part: Part, *, quick: bool, draw: bool) -> str:
    """The part in Markdown, its figures measured now."""
    chosen = part.quick.split() if quick else []
    if part.command == "peers.py" and not draw:
        chosen += ["--chart", os.devnull]
    command = [sys.executable, *f"{HERE}/{part.command}".split(), *chosen]
    print(f"running {part.command}", file=sys.stderr, flush=True)
    out = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout.decode()
    out = re.sub(r"\Aload [\d.]+\n+", "", out).strip("\n")
    figures = out if part.is_table else f"```text\n{out}\n```"
    return f"{part.words}\n\n{figures}\n\n(`uv run --group dev python tests/benchmarks/{part.command}`)\n"


def section(load: float, *, quick: bool, draw: bool) -> str:
    """The whole section, up to what stays."""
    commit = (
        subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, stdout=subprocess.PIPE, check=False)
        .stdout.decode()
        .strip()
    )
    state = "" if load < QUIET else " That is a busy machine: only ratios of one run hold."
    head = (
        f"Measured {datetime.now(UTC):%Y-%m-%d} at commit {commit} by one run of `uv run --group dev python "
        f"tests/benchmarks/section.py`, on {os.cpu_count()} cores ({platform.machine()}, {platform.system()}) with Python "
        f"{platform.python_version()}. The load was {load:.2f} when it began.{state} Each part names its own command."
    )
    return "\n".join([HEADING, f"{head}\n", *(printed(part, quick=quick, draw=draw) for part in PARTS)])


def replaced(readme: str, text: str) -> str:
    """The README with this section in the place of its own. Raises ValueError where it has none."""
    start = readme.index(HEADING)
    end = readme.index(KEPT, start)
    tokens = TOKENS.search(readme, start, end)
    return f"{readme[:start]}{text}\n{tokens[0] if tokens else ''}{readme[end:]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--wait", type=float, default=30, help="minutes to wait for a quiet machine")
    given = parser.parse_args()
    text = section(quiet(0 if given.quick else given.wait), quick=given.quick, draw=given.write)
    print(text)
    if given.write:
        README.write_text(replaced(README.read_text(encoding="utf-8"), text), encoding="utf-8")


if __name__ == "__main__":
    main()
