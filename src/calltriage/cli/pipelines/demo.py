"""The demo of pipelines: three detectors look through calls on an empty desk, a person accepts one finding, it is filed."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
from rich.console import Console
from rich.table import Table

from calltriage.cli.importing import Wishes, check_paths, load
from calltriage.cli.pipelines.laid_out import show_markdown
from calltriage.cli.pipelines.reviewing import person
from calltriage.cli.terminal import shown
from calltriage.client.client import Client
from calltriage.desk.importing.sample import sample_lines
from calltriage.leaves.amounts import amount
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.flags import ListFlags
from calltriage.operations.issues import GetIssue
from calltriage.pipelines import reviewing
from calltriage.pipelines.ledger.findings import Wanted, listed
from calltriage.pipelines.parts import Parts, open_parts
from calltriage.pipelines.pipeline import Pipeline
from calltriage.pipelines.reports.figures import gathered
from calltriage.pipelines.reports.markdown import as_markdown
from calltriage.pipelines.spec import parse_spec
from calltriage.settings import Settings, load_settings
from calltriage.wiring import open_client

FILE = """\
name = "demo"
calls = { settle = "0s" }

[[detect]]
use = "agent_silence"
at_least = "5s"

[[detect]]
name = "skipped_verification"
use = "before"
first = ["account number", "email on the account", "date of birth"]
then = ["transferring you"]
severity = "high"

[[detect]]
use = "caller_repeats"
"""
SHOWN = 8
"""Findings that are shown."""
LONGEST = 56
BEGINNING = "2000-01-01"
"""The report is on all findings there are."""


def run_pipeline_demo(calls: Path | None, wishes: Wishes) -> None:
    """Run the demo on the calls of an import file, or on the sample calls. Nothing is left behind."""
    limit = load_settings().max_file_mib * 2**20
    with TemporaryDirectory(prefix="calltriage-demo-") as temporary:
        folder = Path(temporary)
        if calls is None:
            calls = folder / "sample.jsonl"
            calls.write_text("\n".join(sample_lines()), encoding="utf-8")
        own = load_settings(data_dir=folder / "desk", bland_api_key=None, talkdesk_client_id=None, database_url=None)
        with check_paths([calls], wishes, limit) as found:
            load(own, found)
            count = found.entries.counts["call"]
        anyio.run(_show, own, count)


async def _show(settings: Settings, count: int) -> None:
    console = Console()
    console.print(f"[bold]calltriage demo --pipeline[/]: three detectors, an empty desk with {amount(count, 'call')}")
    _step(console, 1, "The pipeline's file", FILE)
    async with open_client(settings) as client, open_parts(client) as parts:
        report = await Pipeline(parse_spec(FILE, "demo.toml")).run(client)
        examined = f"{amount(report.tally.calls, 'call')} examined; nothing is filed before a person has seen it."
        _step(console, 2, "calltriage pipeline run demo.toml", examined)
        rows = await parts.ledger.read(lambda it: listed(it, parts.ledger, Wanted(state="new", limit=1000)))
        _step(
            console,
            3,
            "calltriage pipeline findings",
            f"{amount(len(rows), 'finding')}, each with words that its turn really has:",
        )
        console.print(_table(rows[:SHOWN]))
        if rows:
            await _accept(console, parts, client, rows[0])
        else:
            console.print("Nothing to accept: none of the detectors found a moment in these calls.")
        figures = await parts.ledger.read(lambda it: gathered(it, parts.ledger, BEGINNING))
        _step(console, 6, "calltriage pipeline report", "")
        show_markdown(as_markdown(figures), console)
    console.print("[bold green]Done.[/] The desk was temporary and is gone.")


async def _accept(console: Console, parts: Parts, client: Client, row: JsonObject) -> None:
    """Accept a finding as a person would, and show the issue that it is filed on; filing again changes nothing."""
    accepted = await reviewing.review(parts.ledger, row, person(), "right", "Accepted in the demo.")
    filed = await reviewing.file_accepted(parts, accepted)
    issue = await client.send(GetIssue(issue_id=filed["issue_id"]))
    [flag] = (await client.send(ListFlags(issue_id=issue.id))).items
    told = f"Filed as {issue.triage_id} {issue.title}, with the call attached and turn {flag.message_index} flagged."
    _step(console, 4, f"calltriage pipeline accept {row['id'][:12]}", told)
    await reviewing.file_accepted(parts, accepted)
    again = (await client.send(ListFlags(issue_id=issue.id))).items
    _step(console, 5, "The same again: nothing happens twice", f"{amount(len(again), 'flag')} on {issue.triage_id}.")


def _step(console: Console, number: int, what: str, told: str) -> None:
    console.print(f"\n[bold]{number}. {shown(what)}[/]")
    for line in told.rstrip("\n").split("\n") if told else ():
        console.print(f"   {shown(line)}", highlight=False, soft_wrap=True)


def _table(rows: list[JsonObject]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("finding", "detector", "call", "turn", "words"):
        table.add_column(name)
    for row in rows:
        words = row["quote"] if len(row["quote"]) <= LONGEST else f"{row['quote'][: LONGEST - 1]}…"
        turn = "record" if row["turn"] is None else str(row["turn"])
        table.add_row(row["id"][:12], shown(row["detector"]), shown(row["call_id"][:12]), turn, shown(words))
    return table
