"""How fast pipelines are: rules on one core, and whole runs on a desk of which every tenth call is filed.

    uv run --group dev python tests/benchmarks/pipelines.py                     all, with 2,000 calls
    uv run --group dev python tests/benchmarks/pipelines.py --calls 1000000     a backfill
    uv run --group dev python tests/benchmarks/pipelines.py --only workers      two workers, one queue on PostgreSQL

PostgreSQL waits for its disk. Calls are made up: 18 turns with exact times. Figures are of this machine at this moment.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import httpx2
from pydantic import SecretStr

sys.path.insert(0, str(Path(__file__).parents[1]))

from conftest import KEY, load_lines
from pipeline_lines import long_line
from pipeline_runs import on_record
from postgres import PostgresServer
from reliability.killing import Command, killed_at_the_end

from calltriage.desk.app import Desk
from calltriage.operations.calls import Call as VendorCall
from calltriage.pipelines.calls import view_of
from calltriage.pipelines.examining import examine, prepared
from calltriage.pipelines.ledger import runs
from calltriage.pipelines.pipeline import Pipeline
from calltriage.pipelines.spec import parse_spec
from calltriage.settings import Settings, load_settings
from calltriage.wiring import open_ledger

RULES = """name = "rules"
[[detect]]
use = "agent_silence"
[[detect]]
use = "answer_latency"
[[detect]]
use = "talk_over"
[[detect]]
use = "agent_loop"
[[detect]]
use = "caller_repeats"
[[detect]]
use = "forbidden"
phrases = ["we will sue you", "send the police"]
"""
FILING = """name = "filing"
[[detect]]
use = "agent_silence"
at_least = "8s"
file = "auto"
min_precision = 0.0
group_by = ["line"]
[[detect]]
use = "agent_loop"
file = "count"
[[detect]]
use = "caller_repeats"
file = "count"
[[detect]]
use = "forbidden"
phrases = ["we will sue you", "send the police"]
[issues]
max_evidence = 200
review_share = 0.0
[limits]
new_issues = 100000
"""
LOADED_AT_ONCE = 2_000


def lines(calls: int) -> Iterator[str]:
    """Every tenth call has a silence; they belong to fifty incidents."""
    for number in range(calls):
        yield long_line(f"call-{number:07}", 9.5 if number % 10 == 0 else 1.0, number)


async def rules(calls: int) -> None:
    """Six rules on each call, its view made anew, as a run does."""
    made = [VendorCall.model_validate_json(vendor(line)) for line in lines(calls)]
    async with prepared(parse_spec(RULES)) as detectors:
        began = time.process_time()
        for call in made:
            await examine(view_of(call), detectors)
        spent = time.process_time() - began
    print(f"six rules: {calls / spent:,.0f} calls a second and core ({calls} calls, {spent:.2f} s of CPU)")


def vendor(line: str) -> str:
    """A line of an import file as the API answers the call."""
    return line.replace('"turns"', '"transcripts"').replace('"speaker": "agent"', '"user": "assistant"').replace(
        '"speaker": "caller"', '"user": "user"'
    )  # fmt: skip


async def whole(calls: int) -> None:
    """A run over a desk on a disk, every tenth call filed."""
    with tempfile.TemporaryDirectory() as folder:
        desk = Desk(Path(folder) / "desk", SecretStr(KEY), "http://desk.test")
        left = list(lines(calls)) if calls <= LOADED_AT_ONCE else None
        await _load(desk, calls, left)
        way = httpx2.ASGITransport(desk, raise_app_exceptions=False)
        async with on_record(way, Path(folder), in_flight=16) as client:
            began, spent = time.perf_counter(), time.process_time()
            report = await Pipeline(parse_spec(FILING)).run(client)
            took, spent = time.perf_counter() - began, time.process_time() - spent
        await desk.close()
    assert report.run is not None
    filed = report.tally.detectors["agent_silence"].found_in
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(
        f"embedded runner, desk on disk: {calls / took:,.0f} calls a second ({calls} calls in {took:.1f} s, {spent:.1f} s "
        f"of CPU, {filed} filed, {report.run.counts}); largest memory {largest} MiB"
    )


async def spread(calls: int, count: int = 2) -> None:
    """The same by workers, from the moment the run begins until it is done. The desk is in each of them, on PostgreSQL."""
    with tempfile.TemporaryDirectory() as folder, PostgresServer(durable=True) as postgres, postgres.database() as url:
        place, database = Path(folder), SecretStr(url)
        (place / "p.toml").write_text(FILING)
        desk = Desk(place / "desk", SecretStr(KEY), "http://desk.test", database_url=database)
        await _load(desk, calls, list(lines(calls)) if calls <= LOADED_AT_ONCE else None)
        await desk.close()
        settings = {"CALLTRIAGE_DATABASE_URL": url, "CALLTRIAGE_SEALING_KEY": 2 * KEY}
        crew = [
            Command(place / f"machine-{n}", ["pipeline", "worker", str(place / "p.toml")], settings)
            for n in range(count)
        ]
        async with killed_at_the_end(*crew):
            for one in crew:
                await one.start()
            wired = load_settings(data_dir=place, database_url=database)
            took = await _until_done(Pipeline.load(place / "p.toml"), wired, count)
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"{count} workers, desk and queue on PostgreSQL: {calls / took:,.0f} calls a second ({calls} calls in {took:.1f} s, "
        f"{spent.ru_utime + spent.ru_stime:.1f} s of CPU besides the database's)"
    )


async def _until_done(pipeline: Pipeline, settings: Settings, count: int) -> float:
    """Begin a run once the workers are there, which one without a call shows; how long it takes."""
    took = 0.0
    async with open_ledger(settings) as ledger:
        for window in (pipeline.window(since="1999-01-01", until="1999-01-02"), pipeline.window()):
            began = time.perf_counter()
            run = await runs.begin(
                ledger, pipeline="filing", spec_hash=pipeline.spec_hash, spec="", mode="run", window=window.stored()
            )
            while await runs.state_of(ledger, run.id) == "running":  # noqa: ASYNC110  others end it
                await anyio.sleep(0.1)
            took = time.perf_counter() - began
            await anyio.sleep(5 * count if window.since else 0)  # the others end their starts
        print(f"  {(await runs.get(ledger, run.id)).counts}")
    return took


async def _load(desk: Desk, calls: int, few: list[str] | None) -> None:
    if few is not None:
        await load_lines(desk, *few)
        return
    batch = list[str]()
    for line in lines(calls):
        batch.append(line)
        if len(batch) == LOADED_AT_ONCE:
            await load_lines(desk, *batch)
            batch.clear()
    if batch:
        await load_lines(desk, *batch)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=2_000)
    parser.add_argument("--only", choices=("rules", "embedded", "workers"))
    given = parser.parse_args()
    if given.only in (None, "rules"):
        anyio.run(rules, min(given.calls, 2_000))
    if given.only in (None, "embedded"):
        anyio.run(whole, given.calls)
    if given.only in (None, "workers"):
        anyio.run(spread, min(given.calls, 20_000))
