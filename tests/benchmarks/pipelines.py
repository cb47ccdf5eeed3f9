"""How fast pipelines are: rules on one core, an evaluation of 10,000 labelled calls, and whole runs on a desk of which every
tenth call is filed, with the memory that they take, in one process and by workers.

    uv run --group dev python tests/benchmarks/pipelines.py                     all, with 10,000 calls
    uv run --group dev python tests/benchmarks/pipelines.py --calls 1000000     a backfill
    uv run --group dev python tests/benchmarks/pipelines.py --only workers      two workers, one queue on PostgreSQL

PostgreSQL waits for its disk. Calls are made up: 18 turns with exact times. Figures are of this machine at this moment.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from multiprocessing import get_context
from pathlib import Path

import anyio
from pydantic import SecretStr
from sqlalchemy import insert, select

sys.path.insert(0, str(Path(__file__).parents[1]))

from conftest import KEY, load_lines
from pipeline_lines import long_line
from postgres import PostgresServer
from reliability.killing import Command, killed_at_the_end

from calltriage.desk.app import Desk
from calltriage.desk.database.tables import calls as stored
from calltriage.embedded import open_desk
from calltriage.leaves.instants import written
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.calls import Call as VendorCall
from calltriage.pipelines.calls import Call, view_of
from calltriage.pipelines.evaluation import evaluate, read_labels
from calltriage.pipelines.examining import examine, prepared
from calltriage.pipelines.ledger import runs
from calltriage.pipelines.pipeline import Pipeline
from calltriage.pipelines.spec import parse_spec
from calltriage.settings import Settings, load_settings
from calltriage.wiring import open_client, open_ledger

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
LABELLED = 10_000
NONE = {"verdict": "none"}
LOADED_AT_ONCE = 2_000


def lines(calls: int, first: int = 0) -> Iterator[str]:
    """Every tenth call has a silence; they belong to fifty incidents."""
    for number in range(first, calls):
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


async def evaluation(calls: int) -> None:
    """What `pipeline eval` does on labelled calls, reading their labels and making their views included."""
    made = [VendorCall.model_validate_json(vendor(line)) for line in lines(calls)]
    labels = [
        {
            "call_id": one.call_id,
            "detector": "agent_silence",
            **({"verdict": "positive", "turn": 4} if n % 10 == 0 else NONE),
        }
        for n, one in enumerate(made)
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "labels.jsonl"
        path.write_text("\n".join(map(json.dumps, labels)))
        began = time.process_time()
        async with prepared(parse_spec(RULES)) as detectors:
            silence = [one.detector for one in detectors if one.detector.name == "agent_silence"]
            [score] = await evaluate(silence, read_labels(path, ["agent_silence"]), views(made))
            row = score.row()
        spent = time.process_time() - began
    print(f"evaluation: {calls} labelled calls in {spent:.1f} s of CPU (F1 {row['f1']:.2f}, MCC {score.mcc:.2f})")


async def views(calls: list[VendorCall]) -> AsyncIterator[Call]:
    for call in calls:
        yield view_of(call)


async def whole(calls: int) -> None:
    """A run over the embedded desk on a disk, as `calltriage pipeline run` does it, every tenth call filed."""
    with tempfile.TemporaryDirectory() as folder:
        filling = get_context("spawn").Process(target=_fill, args=(Path(folder), calls))  # its memory is not the run's
        filling.start()
        filling.join()
        assert filling.exitcode == 0
        async with open_client(_on_a_disk(Path(folder))) as client:
            highest = Highest()
            began, spent = time.perf_counter(), time.process_time()
            report = await Pipeline(parse_spec(FILING)).run(client, progress=highest)
            took, spent = time.perf_counter() - began, time.process_time() - spent
    assert report.run is not None
    filed = report.tally.detectors["agent_silence"].found_in
    print(
        f"embedded runner, desk on disk: {calls / took:,.0f} calls a second ({calls} calls in {took:.1f} s, {spent:.1f} s "
        f"of CPU: {calls / spent:,.0f} calls a second of CPU; {filed} filed, {report.run.counts})"
    )
    print(f"memory at each tenth of the run: {', '.join(map(str, highest.at_tenths))} MiB")


async def spread(calls: int, count: int = 2) -> None:
    """The same by workers, from the moment the run begins until it is done. The desk is in each of them, on PostgreSQL."""
    before = _cpu_of_children()
    with tempfile.TemporaryDirectory() as folder, PostgresServer(durable=True) as postgres, postgres.database() as url:
        place, database = Path(folder), SecretStr(url)
        (place / "p.toml").write_text(FILING)
        desk = Desk(place / "desk", SecretStr(KEY), "http://desk.test", database_url=database)
        await _load(desk, calls)
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
    spent = _cpu_of_children() - before
    print(
        f"{count} workers, desk and queue on PostgreSQL: {calls / took:,.0f} calls a second ({calls} calls in {took:.1f} s, "
        f"{spent:.1f} s of CPU besides the database's)"
    )


def _cpu_of_children() -> float:
    """Seconds of CPU of the processes that this one has begun and that have ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


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


class Highest:
    """Hears of progress, and notes the memory that the process has at each tenth of a run."""

    def __init__(self) -> None:
        self.at_tenths = list[int]()

    def __call__(self, done: int, total: int | None) -> None:
        if total and done * 10 >= total * (len(self.at_tenths) + 1):
            self.at_tenths.append(resident_mib())


def resident_mib() -> int:
    """Memory that the process has now; where nothing says that, the most that it had."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return pages * resource.getpagesize() // 2**20


def _on_a_disk(folder: Path) -> Settings:
    return load_settings(data_dir=folder, bland_api_key=None, talkdesk_client_id=None, database_url=None)


def _fill(folder: Path, calls: int) -> None:
    """Fill the desk of a folder, in a process of its own."""

    async def fill() -> None:
        async with open_desk(_on_a_disk(folder)) as desk:
            await _put(desk, calls)

    anyio.run(fill)


async def _put(desk: Desk, calls: int) -> None:
    """Put calls into a desk as the importer does, but without the index of their words, which takes most of its time: a run
    does not read it. The first one is imported; the others have its form."""
    await load_lines(desk, next(lines(1)))
    first = await desk.store.read(lambda connection: connection.execute(select(stored)).mappings().one())
    assert _record(next(lines(1))) == first["record"]
    for start in range(1, calls, LOADED_AT_ONCE):
        records = map(_record, lines(min(calls, start + LOADED_AT_ONCE), start))
        rows = [
            {**first, "seq": seq, "id": record["call_id"], "record": record,
             "created_at": written(datetime.fromisoformat(record["created_at"]))}
            for seq, record in enumerate(records, start + 1)
        ]  # fmt: skip
        await desk.store.write(lambda connection, rows=rows: connection.execute(insert(stored), rows) and None)


def _record(line: str) -> JsonObject:
    """A line of an import file as the desk stores the call."""
    call: JsonObject = json.loads(vendor(line))
    said = "\n".join(f"{turn['user']}: {turn['text']}" for turn in call["transcripts"])
    turns = [{**turn, "id": place} for place, turn in enumerate(call["transcripts"])]
    about = {"metadata": call["metadata"]}
    return {**call, "transcripts": turns, "metadata": about, "concatenated_transcript": said, "summary": None}


async def _load(desk: Desk, calls: int) -> None:
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
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--only", choices=("rules", "evaluation", "embedded", "workers"))
    given = parser.parse_args()
    if given.only in (None, "rules"):
        anyio.run(rules, min(given.calls, 2_000))
    if given.only in (None, "evaluation"):
        anyio.run(evaluation, LABELLED)
    if given.only in (None, "embedded"):
        anyio.run(whole, given.calls)
    if given.only in (None, "workers"):
        anyio.run(spread, min(given.calls, 20_000))
