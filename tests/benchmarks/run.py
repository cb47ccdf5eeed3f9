"""Print start-up and overhead per call as ratios against a bare server on the same SDK, measured in turn in one run.

uv run --group dev python tests/benchmarks/run.py [--pairs 12] [--calls 300]
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, sleep
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from contenders import bare, inside
from processes import OverStdio

THINKING = 3.0
"""Seconds from the list of tools to the first call, as a model takes them."""
NEW = {"title": "T", "severity": "low", "category": "Bug", "on_duplicate": "create"}


def paired(name: str, unit: float, ours: list[float], theirs: list[float]) -> float:
    """Print both medians and the median of the pairwise ratios; return the latter."""
    ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    print(
        f"{name:<44} calltriage {statistics.median(ours) * unit:8.2f} ms   bare {statistics.median(theirs) * unit:8.2f} ms"
        f"   ratio {ratio:5.2f}   ({len(ours)} pairs)"
    )
    return ratio


STARTS: dict[str, tuple[bool, Mapping[str, str]]] = {
    "first start to tools/list answered": (True, {}),
    "… of vendors, with credentials": (True, {"CALLTRIAGE_BLAND_API_KEY": "benchmark-key-0123456789"}),
    "… of all tools": (True, {"CALLTRIAGE_TOOLSETS": "all"}),
    "later start to tools/list answered": (False, {}),
}
"""Whether each start has a data folder of its own, and settings."""


def start_up(pairs: int, name: str) -> None:
    is_first, settings = STARTS[name]
    ours, theirs = list[float](), list[float]()
    with TemporaryDirectory() as folder:
        for number in range(pairs + 1):
            for contender, times in ((inside(), ours), (bare(), theirs)):
                place = Path(folder, str(number if is_first else 0))
                server = OverStdio(contender.with_settings(**settings), place)
                server.stop()
                if number:  # the first pair warms the disk cache
                    times.append(server.started_in)
    paired(name, 1000, ours, theirs)


def start_and_call(pairs: int) -> None:
    """From the start to the answer to a first call that is made at once after the list. Most of a server is loaded then."""
    ours, theirs = list[float](), list[float]()
    with TemporaryDirectory() as folder:
        for number in range(pairs + 1):
            for contender, times, tool, arguments in (
                (inside(), ours, "create_issue", NEW),
                (bare(), theirs, "get_issue", {"issue_id": "x"}),
            ):
                began = perf_counter()
                server = OverStdio(contender, Path(folder, str(number)))
                server.call(tool, **arguments)
                took = perf_counter() - began
                server.stop()
                if number:
                    times.append(took)
    paired("first start to a first call, made at once", 1000, ours, theirs)


def first_call(pairs: int) -> None:
    """The first write of a new data folder, once the desk had THINKING seconds to open, and the one after it."""
    first, second = list[float](), list[float]()
    with TemporaryDirectory() as folder:
        for number in range(pairs):
            server = OverStdio(inside(), Path(folder, str(number)))
            sleep(THINKING)
            for times in (first, second):
                before = perf_counter()
                server.call("create_issue", **NEW)
                times.append(perf_counter() - before)
            server.stop()
    print(
        f"first create_issue, {THINKING:.0f} s after the list {'':<9} {statistics.median(first) * 1000:8.2f} ms"
        f"   the next {statistics.median(second) * 1000:8.2f} ms   ({pairs} starts)"
    )


def overhead(calls: int) -> None:
    with TemporaryDirectory() as folder:
        ours, plain = OverStdio(inside(), Path(folder)), OverStdio(bare(), Path(folder))
        issue = ours.call("create_issue", title="A call to look into", severity="high", category="Dialogue")
        for _ in range(20):
            ours.call("get_issue", issue_id=issue["id"])
            plain.call("get_issue", issue_id=issue["id"])
        measures: list[tuple[str, Callable[[], Any]]] = [
            ("get_issue by UUID, through client and desk", lambda: ours.call("get_issue", issue_id=issue["id"])),
            ("list_issues, first page", lambda: ours.call("list_issues")),
            ("create_issue, look-alikes searched, durable", lambda: ours.call("create_issue", **NEW)),
        ]
        for name, act in measures:
            mine, theirs = list[float](), list[float]()
            for _ in range(calls):
                for run, times in ((act, mine), (lambda: plain.call("get_issue", issue_id=issue["id"]), theirs)):
                    before = perf_counter()
                    run()
                    times.append(perf_counter() - before)
            paired(name, 1000, mine, theirs)
        ours.stop()
        plain.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--calls", type=int, default=300)
    given = parser.parse_args()
    for start in STARTS:
        start_up(given.pairs, start)
    start_and_call(given.pairs)
    first_call(given.pairs)
    overhead(given.calls)
