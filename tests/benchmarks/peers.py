"""Print what this server costs and withstands beside its peers, measured in turn in one run, as Markdown; draw a chart.

uv run --group dev python tests/benchmarks/peers.py [--starts 8] [--calls 400] [--chart manifests/pictures/peers.svg]

calltriage with its desk inside and with a desk on a port, a bare server on the same SDK, what FastMCP generates from the
desk's OpenAPI document, and the triage vendor's own command line; the last two work on the same desk on a port. FastMCP
(PyPI) and bland-cli (npm) are installed in folders of their own for the run; what cannot be had is named and left out.

A read is `get_issue`, a write a comment (the bare server's read stands for both). Memory and CPU are the server's own
process, without the desk on a port. A probe is passed or not; the text after `fail` is what happened. With --only-probes
nothing is timed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, sleep
from typing import Any

import anyio

sys.path.insert(0, str(Path(__file__).parents[1]))

import chart
import contenders
from contenders import Contender, DeskAddress
from probes import PROBES, probed
from processes import OverHttp, OverStdio, Seat, desk_on_a_port
from tokens import real_tokens

PICTURE = Path(__file__).parents[2] / "manifests" / "pictures" / "peers.svg"
WIDTHS = (1, 16, 64)
SETTLE = 2.0
"""Seconds after which an idle server's memory is read: what is warmed up behind the first answers is there by then."""
NEW = {"title": "A call to look into", "severity": "high", "category": "Dialogue"}


@dataclass
class Found:
    """What was measured of one server, by the name of the measure; and what became of each probe."""

    server: Contender
    figures: dict[str, float] = field(default_factory=dict[str, float])
    probes: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def passed(self) -> int:
        return sum(said == "pass" for said in self.probes.values())


@dataclass
class Running:
    """A server that is measured, the issue that it reads, and what a call took each time."""

    found: Found
    seat: Seat
    issue: str = ""
    took: dict[str, list[float]] = field(default_factory=dict[str, list[float]])

    def params(self, purpose: str) -> dict[str, Any]:
        tools = self.found.server.tools
        arguments = {"issue_id": self.issue}
        if purpose == "comment" and "comment" in tools:
            arguments["detail"] = "Looked into."
        return {"name": tools.get(purpose, tools["get"]), "arguments": arguments}

    def call(self, purpose: str) -> None:
        params = self.params(purpose)
        began = perf_counter()
        self.seat.ask("tools/call", params)
        self.took.setdefault(purpose, []).append((perf_counter() - began) * 1000)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def starts(found: Sequence[Found], folder: Path, rounds: int) -> None:
    """Process start to `tools/list` answered, over stdio. The first round warms the disk's cache."""
    took: dict[str, list[float]] = {one.server.name: [] for one in found}
    for number in range(rounds + 1):
        for place, one in enumerate(found):
            server = OverStdio(one.server, folder / f"start-{place}")
            server.stop()
            if number:
                took[one.server.name].append(server.started_in * 1000)
    for one in found:
        one.figures["start"] = statistics.median(took[one.server.name])


def lists(one: Found, tools: list[dict[str, Any]]) -> None:
    """What its list of tools costs a model, and what it is on the wire."""
    seen = [json.dumps([tool["name"], tool.get("description", ""), tool["inputSchema"]]) for tool in tools]
    one.figures["tools"] = len(tools)
    one.figures["tokens"] = sum(map(real_tokens, seen))


def opened(one: Found, seat: Seat, shared: str) -> Running:
    """A server that has an issue to read, and has read it."""
    running = Running(one, seat, shared)
    if one.server.has_own_desk:
        params = {"name": "create_issue", "arguments": {**NEW, "on_duplicate": "create"}}
        running.issue = seat.ask("tools/call", params)["structuredContent"]["id"]
    for purpose in ("get", "comment"):
        for _ in range(20):
            seat.ask("tools/call", running.params(purpose))
    return running


def latencies(servers: Sequence[Running], wire: str, calls: int) -> None:
    """One call at a time, the servers in turn."""
    for purpose, name in (("get", "read"), ("comment", "write")):
        for _ in range(calls):
            for one in servers:
                one.call(purpose)
        for one in servers:
            took = sorted(one.took[purpose])
            one.found.figures[f"{name} p50 {wire}"] = statistics.median(took)
            one.found.figures[f"{name} p99 {wire}"] = took[int(len(took) * 0.99)]


def bursts(servers: Sequence[Running], wire: str, calls: int) -> None:
    """Reads a second with so many under way: the best of three bursts, the servers in turn."""
    for width in WIDTHS:
        best = dict.fromkeys((one.found.server.name for one in servers), 0.0)
        for _ in range(3):
            for one in servers:
                cpu = one.seat.cpu()
                rate = calls / one.seat.burst(one.params("get"), calls, width)
                if rate > best[one.found.server.name]:
                    best[one.found.server.name] = rate
                    one.found.figures[f"cpu {width} {wire}"] = (one.seat.cpu() - cpu) / calls * 1000
        for one in servers:
            one.found.figures[f"rate {width} {wire}"] = best[one.found.server.name]


def on_one_wire(
    found: Sequence[Found], folder: Path, shared: str, wire: str, start: Callable[[Contender, Path], Seat], calls: int
) -> None:
    """Everything that is measured over stdio, or over HTTP, of servers that run beside one another."""
    seats = list[Seat]()
    try:
        servers = list[Running]()
        for place, one in enumerate(found):
            seats.append(start(one.server, folder / f"{wire}-{place}"))
            servers.append(opened(one, seats[-1], shared))
        sleep(SETTLE)
        for one in servers:
            one.found.figures[f"idle {wire}"] = one.seat.memory()
            if isinstance(one.seat, OverStdio):
                lists(one.found, one.seat.tools)
        latencies(servers, wire, calls)
        bursts(servers, wire, calls)
        for one in servers:
            one.found.figures[f"load {wire}"] = one.seat.memory("VmHWM")
    finally:
        for seat in seats:
            seat.stop()


def peers(given: argparse.Namespace) -> tuple[list[Found], list[str]]:
    """What was measured of each server that can be had, and a sentence for each that cannot."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        desk = stack.enter_context(desk_on_a_port(folder))
        say("installing FastMCP and bland-cli")
        makers, missing = contenders.all_that_can_be_had(given.install or folder)
        found = [Found(make(desk)) for make in makers]
        if not given.only_probes:
            measure(found, folder, filed(desk), given)
        for number, (one, make) in enumerate(zip(found, makers, strict=True)):
            if "create" in one.server.tools and not one.server.has_own_desk:
                say(f"probing {one.server.name}")
                place = folder / f"probes-{number}"
                place.mkdir()
                one.probes = anyio.run(probed, make, place)
    return found, missing


def measure(found: Sequence[Found], folder: Path, shared: str, given: argparse.Namespace) -> None:
    say("starting each in turn")
    starts(found, folder, given.starts)
    say("calls over stdio")
    on_one_wire(found, folder, shared, "stdio", OverStdio, given.calls)
    say("calls over HTTP")
    over_http = [one for one in found if one.server.http]
    on_one_wire(over_http, folder, shared, "HTTP", OverHttp, given.calls)


def filed(desk: DeskAddress) -> str:
    """An issue on the desk on a port."""
    body = json.dumps(NEW).encode()
    headers = {"authorization": desk.key, "content-type": "application/json"}
    request = urllib.request.Request(f"{desk.url}/v1/triage/issues", body, headers)
    with urllib.request.urlopen(request) as response:
        return json.loads(response.read())["data"]["id"]


ROWS: tuple[tuple[str, str, int], ...] = (
    ("start to `tools/list`, ms", "start", 0),
    ("tools", "tools", 0),
    ("tokens of the list (o200k)", "tokens", 0),
    ("stdio: read p50, ms", "read p50 stdio", 1),
    ("stdio: read p99, ms", "read p99 stdio", 1),
    ("stdio: write p50, ms", "write p50 stdio", 1),
    ("stdio: write p99, ms", "write p99 stdio", 1),
    *((f"stdio: reads a second, {width} under way", f"rate {width} stdio", 0) for width in WIDTHS),
    ("stdio: CPU a read, 16 under way, ms", "cpu 16 stdio", 2),
    ("HTTP: read p50, ms", "read p50 HTTP", 1),
    ("HTTP: read p99, ms", "read p99 HTTP", 1),
    ("HTTP: write p50, ms", "write p50 HTTP", 1),
    ("HTTP: write p99, ms", "write p99 HTTP", 1),
    *((f"HTTP: reads a second, {width} under way", f"rate {width} HTTP", 0) for width in WIDTHS),
    ("HTTP: CPU a read, 16 under way, ms", "cpu 16 HTTP", 2),
    ("memory idle, MiB", "idle stdio", 0),
    ("memory at most under load, stdio, MiB", "load stdio", 0),
    ("memory at most under load, HTTP, MiB", "load HTTP", 0),
)
"""The name of each row, its measure and its decimals."""
TIMES_BARE = ("start", "read p50 stdio", "read p50 HTTP")
"""Measures beside which the ratio to the bare server stands."""


def cell(one: Found, measure: str, decimals: int, bare: Found) -> str:
    if measure not in one.figures:
        return "–"
    text = f"{one.figures[measure]:,.{decimals}f}"
    if measure in TIMES_BARE and one is not bare:
        text += f" ({one.figures[measure] / bare.figures[measure]:.2f} ×)"
    return text


def markdown(found: Sequence[Found], missing: Sequence[str]) -> str:
    """Both tables, as they stand in the README."""
    return "\n".join([*costs(found), "", *missing, *withstood(found)])


def costs(found: Sequence[Found]) -> list[str]:
    """A table of all that was measured."""
    bare = next(one for one in found if one.server.name == contenders.bare().name)
    if not bare.figures:
        return []
    return [
        "| | " + " | ".join(one.server.name for one in found) + " |",
        "|---|" + "---|" * len(found),
        *(
            f"| {name} | " + " | ".join(cell(one, measure, decimals, bare) for one in found) + " |"
            for name, measure, decimals in ROWS
        ),
    ]


def withstood(found: Sequence[Found]) -> list[str]:
    """A table of the probes."""
    tried = [one for one in found if one.probes]
    return [
        "| fault | " + " | ".join(one.server.name.partition(",")[0] for one in tried) + " |",
        "|---|" + "---|" * len(tried),
        *(f"| {name} | " + " | ".join(one.probes[name] for one in tried) + " |" for name in PROBES),
        f"| passed of {len(PROBES)} | " + " | ".join(str(one.passed) for one in tried) + " |",
    ]


def draw(found: Sequence[Found], file: Path) -> None:
    panels = [
        chart.Panel(title, [(one.server.name, one.figures.get(measure)) for one in found], decimals)
        for title, measure, decimals in (
            ("Start to tools/list, ms", "start", 0),
            ("Tokens of the list", "tokens", 0),
            ("Read over stdio, p50, ms", "read p50 stdio", 1),
            ("Write over stdio, p50, ms", "write p50 stdio", 1),
            ("Reads a second over stdio, 16 under way", "rate 16 stdio", 0),
            ("Memory idle, MiB", "idle stdio", 0),
        )
    ]
    file.write_text(chart.drawn("calltriage beside its peers", panels), encoding="utf-8")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--starts", type=int, default=8)
    parser.add_argument("--calls", type=int, default=400)
    parser.add_argument("--install", type=Path, help="where FastMCP and bland-cli are kept for the next run")
    parser.add_argument("--only-probes", action="store_true")
    parser.add_argument("--chart", type=Path, default=PICTURE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    given = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.2f}\n", flush=True)
    found, missing = peers(given)
    print(markdown(found, missing))
    if not given.only_probes:
        draw(found, given.chart)


if __name__ == "__main__":
    main()
