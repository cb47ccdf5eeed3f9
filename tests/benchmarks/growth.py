"""Print, as Markdown, what a page and a search cost on desks of different sizes, and what one process and one file carry.

uv run --group dev python tests/benchmarks/growth.py [--sizes 10000 100000 1000000] [--rounds 5] [--folder FOLDER]

The desks are filled first, those with issues and those with calls; with --folder they are kept there and used again. Each
figure is the minimum of so many rounds through the desk's HTTP in this process, in milliseconds, the sizes in turn. Unit
costs are bytes of files divided by what is in them. What one process writes is the rate of the slowest of
these writes at 64 under way, measured anew by rates.py, which prints all rates when it is run itself.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import anyio
import anyio.to_thread
import httpx2
from pydantic import SecretStr
from sqlalchemy import select

sys.path.insert(0, str(Path(__file__).parents[1]))

from conftest import DESK_URL, KEY, call_line, load_lines
from generated import COMMON, FREQUENT, LIKELY, RARE, fill
from many_calls import ABSENT, HALVES, filled
from many_calls import COMMON as COMMON_SAID
from many_calls import RARE as RARE_SAID
from rates import rates

from calltriage.desk.app import Desk
from calltriage.desk.database.tables import issues
from calltriage.journal.rows import FILE as JOURNAL

ISSUES, CALLS = "/v1/triage/issues", "/v1/calltriage/calls"
QUESTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "page of 50 issues": (ISSUES, {}),
    "page of 50 issues, by status and severity": (ISSUES, {"status": ["todo"], "severity": ["high"]}),
    "search of issues, rare word": (ISSUES, {"search": RARE}),
    "search of issues, common word": (ISSUES, {"search": COMMON}),
    "search of issues, absent word": (ISSUES, {"search": "qqxxqq"}),
    "search of issues, absent word of common syllables": (ISSUES, {"search": LIKELY}),
    "search of issues, two common words": (ISSUES, {"search": f"{COMMON} {FREQUENT}"}),
    "search of calls, rare word": (CALLS, {"query": RARE_SAID}),
    "search of calls, common word": (CALLS, {"query": COMMON_SAID}),
    "search of calls, absent word": (CALLS, {"query": ABSENT}),
    "search of calls, two common words": (CALLS, {"query": f"{COMMON_SAID} {HALVES[0]}"}),
    "search of calls, two common words that never meet": (CALLS, {"query": " ".join(HALVES)}),
}
EACH = 5
"""Requests of one question in one round."""
DAYS = (100_000, 1_000_000, 10_000_000)
SHARE, WRITES = 0.05, 5
"""How many calls of all come to an issue, and how many writes such a call takes: an issue, a call attached, two flags, a
comment."""


async def opened(stack: AsyncExitStack, folder: Path, size: int, kind: str) -> httpx2.AsyncClient:
    """A desk with so many issues or calls."""
    place = folder / f"{kind}-{size}"
    if kind == "calls":
        desk = await filled(place, None, size)
    else:
        desk = Desk(place, SecretStr(KEY), DESK_URL)
        engine = await desk.store.open()
        if not await desk.store.read(lambda connection: connection.execute(select(issues.c.id).limit(1)).first()):
            await anyio.to_thread.run_sync(fill, engine, size)
    stack.push_async_callback(desk.close)
    http = httpx2.AsyncClient(
        transport=httpx2.ASGITransport(desk), base_url=DESK_URL, headers={"authorization": KEY}, timeout=60
    )
    return await stack.enter_async_context(http)


async def flatness(folder: Path, sizes: Sequence[int], rounds: int) -> dict[str, list[float]]:
    """The least milliseconds of each question, by size."""
    async with AsyncExitStack() as stack:
        desks = {kind: [await opened(stack, folder, size, kind) for size in sizes] for kind in ("issues", "calls")}
        found = {name: [float("inf")] * len(sizes) for name in QUESTIONS}
        for _ in range(rounds):
            for name, (path, asked) in QUESTIONS.items():
                for place, http in enumerate(desks["issues" if path == ISSUES else "calls"]):
                    for _ in range(EACH):
                        began = perf_counter()
                        answer = await http.get(path, params=asked)
                        took = (perf_counter() - began) * 1000
                        assert answer.status_code == 200, answer.text
                        found[name][place] = min(found[name][place], took)
        return found


def bytes_each(folder: Path, size: int, kind: str) -> float:
    files = (folder / f"{kind}-{size}").glob("desk.sqlite3*")
    return sum(file.stat().st_size for file in files) / size


@dataclass(frozen=True)
class Costs:
    """What units cost.

    Attributes:
        slowest: the rate of the slowest of a call's writes, a second, through client, journal and desk.
        of_write: bytes of the journal.
        imported: calls of 20 turns that one process imports a second.
        of_issue: bytes of the database.
        of_call: bytes of the database.
    """

    slowest: float
    of_write: float
    imported: float
    of_issue: float
    of_call: float


async def of_writes(folder: Path, count: int) -> tuple[float, float]:
    """The rate of the slowest of a call's writes, and bytes of the journal for each write."""
    found = {name: rate for name, (rate, _) in (await rates(folder, count, 64)).items()}
    size = sum(file.stat().st_size for file in folder.glob(f"{JOURNAL}*"))
    slowest = min(found[name] for name in ("attach", "flag", "comment", "create"))
    return slowest, size / (count * (len(found) - 1) + count + 1)


async def of_imports(folder: Path, count: int) -> float:
    """Calls of 20 turns that are imported a second, each with its words."""
    words = random.Random(3).choices([f"word{n}" for n in range(3000)], k=200 * 20)
    texts = [" ".join(words[start : start + 10]) for start in range(0, len(words), 10)]
    lines = [call_line(f"c-{n}", *(texts[(n + turn) % len(texts)] for turn in range(20))) for n in range(count)]
    desk = Desk(folder, SecretStr(KEY), DESK_URL)
    await desk.store.open()
    began = perf_counter()
    await load_lines(desk, *lines)
    took = perf_counter() - began
    await desk.close()
    return count / took


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def flat_table(found: dict[str, list[float]], sizes: Sequence[int]) -> str:
    rows = [[name, *(f"{one:.2f}" for one in took), f"{took[-1] / took[0]:.2f}"] for name, took in found.items()]
    return table(["milliseconds", *(f"{size:,}" for size in sizes), "last / first"], rows)


def unit_table(costs: Costs) -> str:
    rows = [
        ["bytes of the journal, a write", f"{costs.of_write:,.0f}"],
        ["bytes of the database, an issue without calls", f"{costs.of_issue:,.0f}"],
        ["bytes of the database, a call of 20 turns", f"{costs.of_call:,.0f}"],
        ["calls of 20 turns that one process imports a second", f"{costs.imported:,.0f}"],
    ]
    return table(["unit", "measured"], rows)


def day_table(costs: Costs) -> str:
    """What days of different sizes ask of one process and one database."""

    def row(name: str, of_day: Callable[[int], str]) -> list[str]:
        return [name, *(of_day(calls) for calls in DAYS)]

    rows = [
        row("writes a second, on average", lambda calls: f"{calls * SHARE * WRITES / 86_400:,.1f}"),
        row("share of what one process writes", lambda calls: f"{calls * SHARE * WRITES / 86_400 / costs.slowest:.1%}"),
        row("share of what one process imports", lambda calls: f"{calls / 86_400 / costs.imported:.1%}"),
        row("database, GB a day", lambda calls: f"{calls * (costs.of_call + SHARE * costs.of_issue) / 1e9:,.1f}"),
        row("journal, GB a day", lambda calls: f"{calls * SHARE * WRITES * costs.of_write / 1e9:,.2f}"),
        row("audio in a bucket at 1 MB a call, GB a day", lambda calls: f"{calls / 1000:,.0f}"),
    ]
    return table(["calls a day", *(f"{calls:,}" for calls in DAYS)], rows)


async def main(given: argparse.Namespace) -> None:
    print(f"load {os.getloadavg()[0]:.2f}\n")
    with TemporaryDirectory() as made:
        folder = given.folder or Path(made)
        found = await flatness(folder, given.sizes, given.rounds)
        print(flat_table(found, given.sizes), end="\n\n")
        writes = await of_writes(Path(made) / "rates", given.operations)
        imported = await of_imports(Path(made) / "imports", 5 * given.operations)
        costs = Costs(*writes, imported, *(bytes_each(folder, given.sizes[-1], kind) for kind in ("issues", "calls")))
    print(unit_table(costs), end="\n\n")
    print(day_table(costs))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--operations", type=int, default=400)
    parser.add_argument("--folder", type=Path)
    anyio.run(main, parser.parse_args())
