"""Print start-up and overhead per call as ratios against a bare server on the same SDK, measured in turn in one run.

uv run --group dev python tests/benchmarks/run.py [--pairs 12] [--calls 300]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, sleep
from typing import Any

HERE = Path(__file__).parent
BARE = [sys.executable, str(HERE / "bare_server.py")]
OURS = [sys.executable, "-m", "calltriage"]


THINKING = 3.0
"""Seconds from the list of tools to the first call, as a model takes them."""
NEW = {"title": "T", "severity": "low", "category": "Bug", "on_duplicate": "create"}


class Server:
    """A server process, spoken to in raw JSON-RPC lines: no client library in the figures."""

    def __init__(self, command: list[str], folder: str, more: dict[str, str] | None = None) -> None:
        unbounded = {"CALLTRIAGE_WRITES_PER_MINUTE": "0"}
        environment = {"PATH": "/usr/bin:/bin", "CALLTRIAGE_DATA_DIR": f"{folder}/desk", **unbounded, **(more or {})}
        self.started = perf_counter()
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env=environment,
        )
        hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "bench", "version": "0"}}
        self.ask("initialize", hello)
        self._write({"jsonrpc": "2.0", "method": "notifications/initialized"})
        self.tools = self.ask("tools/list", {})["tools"]
        self.listed_after = perf_counter() - self.started

    def _write(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._write({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())["result"]

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        result = self.ask("tools/call", {"name": tool, "arguments": arguments})
        assert not result.get("isError"), result
        return result["structuredContent"]

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(10)


def paired(name: str, unit: float, ours: list[float], theirs: list[float]) -> float:
    """Print both medians and the median of the pairwise ratios; return the latter."""
    ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    print(
        f"{name:<44} calltriage {statistics.median(ours) * unit:8.2f} ms   bare {statistics.median(theirs) * unit:8.2f} ms"
        f"   ratio {ratio:5.2f}   ({len(ours)} pairs)"
    )
    return ratio


STARTS: dict[str, tuple[bool, dict[str, str]]] = {
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
            for command, times in ((OURS, ours), (BARE, theirs)):
                place = Path(folder, str(number if is_first else 0))
                place.mkdir(exist_ok=True)
                server = Server(command, str(place), settings)
                server.stop()
                if number:  # the first pair warms the disk cache
                    times.append(server.listed_after)
    paired(name, 1000, ours, theirs)


def first_call(pairs: int) -> None:
    """The first write of a new data folder, once the desk had THINKING seconds to open, and the one after it."""
    first, second = list[float](), list[float]()
    with TemporaryDirectory() as folder:
        for number in range(pairs):
            place = Path(folder, str(number))
            place.mkdir()
            server = Server(OURS, str(place))
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
        ours, bare = Server(OURS, folder), Server(BARE, folder)
        issue = ours.call("create_issue", title="A call to look into", severity="high", category="Dialogue")
        for _ in range(20):
            ours.call("get_issue", issue_id=issue["id"])
            bare.call("get_issue", issue_id=issue["id"])
        measures: list[tuple[str, Callable[[], Any]]] = [
            ("get_issue by UUID, through client and desk", lambda: ours.call("get_issue", issue_id=issue["id"])),
            ("list_issues, first page", lambda: ours.call("list_issues")),
            ("create_issue, look-alikes searched, durable", lambda: ours.call("create_issue", **NEW)),
        ]
        for name, act in measures:
            mine, theirs = list[float](), list[float]()
            for _ in range(calls):
                for run, times in ((act, mine), (lambda: bare.call("get_issue", issue_id=issue["id"]), theirs)):
                    before = perf_counter()
                    run()
                    times.append(perf_counter() - before)
            paired(name, 1000, mine, theirs)
        ours.stop()
        bare.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--calls", type=int, default=300)
    given = parser.parse_args()
    for start in STARTS:
        start_up(given.pairs, start)
    first_call(given.pairs)
    overhead(given.calls)
