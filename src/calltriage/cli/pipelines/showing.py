"""What a person reads of a run: its estimate, its progress, what was found."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from calltriage.cli.terminal import say
from calltriage.leaves.amounts import amount
from calltriage.leaves.gate import gate, one_line
from calltriage.leaves.strict_json import JsonObject
from calltriage.pipelines.examining import Found
from calltriage.pipelines.ledger.findings import FILED_BEFORE
from calltriage.pipelines.ledger.runs import ASKED_FOR, Filed, Run
from calltriage.pipelines.pipeline import Estimate, Report
from calltriage.pipelines.reports.markdown import figure
from calltriage.pipelines.tallies import DetectorTally, Tally

SHOWN_INCIDENTS = 15
WORDS = {
    "done": "done", "failed": "failed", "skipped": "gone", "unsettled": "left out", "examined": "not filed yet",
    "deferred": "left for later", "new": "not examined",
}  # fmt: skip
"""What a person reads of the states of a run's calls, in this order."""
QUOTE = 100
"""Characters of a quote on a terminal."""


def say_estimate(estimate: Estimate) -> None:
    """Say what a run takes, before it starts, and what is odd about it."""
    if estimate.warning:
        say(f"Warning: {one_line(estimate.warning)}", err=True)
    if estimate.calls is None:
        say("The API does not say how many calls there are.", err=True)
        return
    takes = "" if estimate.seconds is None else f", at least {_lasting(estimate.seconds)} at the API's rate"
    asked = f"; at most about {amount(estimate.asked, 'request')} to endpoints" if estimate.asked else ""
    costs = f"{asked}, which cost at most about {estimate.usd:.2f} USD" if estimate.usd else asked
    say(f"{amount(estimate.calls, 'call')}, {amount(estimate.requests or 0, 'request')}{takes}{costs}.", err=True)


def _lasting(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


@contextmanager
def progress() -> Generator[Callable[[int, int | None], None]]:
    """A bar with rate and time left on standard error, where that is a terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("calls"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("calls", total=None, rate="")

        def heard(done: int, total: int | None) -> None:
            speed = bar.tasks[0].speed
            rate = "" if speed is None else f"{speed:.1f}/s"
            bar.update(task, completed=done, total=total, rate=rate)

        yield heard


def show_report(report: Report) -> None:
    """Print what was found: a table of the detectors, examples, and what becomes an issue."""
    tally = report.tally
    console = Console(width=None if Console().is_terminal else 160)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in (
        "detector",
        "file",
        "calls",
        "with findings",
        "findings",
        "unverified",
        "not offered",
        "failed",
        "ms a call",
    ):
        is_text = name in {"detector", "file"}
        table.add_column(name, justify="left" if is_text else "right", overflow="fold", no_wrap=name == "detector")
    for one in tally.detectors.values():
        table.add_row(*_row(one))
    console.print(table)
    for one in tally.detectors.values():
        _show_examples(console, one)
    _say_incidents(tally)
    say(_examined(report))
    if report.failures:
        where = ", ".join(f"{name} on {amount(count, 'call')}" for name, count in report.failures.items())
        say(f"Failed: {where}. A call on which a detector failed is not known to be fine.")
    _say_taken_up(report)
    if report.run is not None:
        say_run(report.run)
    if report.filed is not None:
        say(_filed(report.filed, report.waiting_before))
    if tally.deferred:
        say(f"Why calls are left for later: {one_line(tally.deferred)}")


def _examined(report: Report) -> str:
    """How many calls were examined and how many were not, with the reason, in one line."""
    tally = report.tally
    left = f", {tally.left} left for later" if tally.left else ""
    skipped = f", {tally.skipped} gone before they were read" if tally.skipped else ""
    unsettled = ""
    if report.unsettled:
        unsettled = (
            f" {amount(report.unsettled, 'call')} left out, not settled yet: a later run or a watch examines them."
        )
    dry = "" if report.run else " Nothing was filed: this was a dry run."
    return f"{amount(tally.calls, 'call')} examined{left}{skipped}.{unsettled}{dry}"


def _say_taken_up(report: Report) -> None:
    """Say how the runs stand that agents had begun."""
    if report.taken_up:
        say("An agent had begun these, which were left and went on first:")
    for run in report.taken_up:
        say_run(run)


def _filed(filed: Filed, before: int) -> str:
    """What a run made of its findings, and how many of earlier runs wait in its calls, in one line."""
    of = [f"{count} {which}" for count, which in ((filed.issues, "new"), (filed.reopened, "reopened")) if count]
    issues = f" (issues: {', '.join(of)})" if of else ""
    counts = [*([str(filed.waiting)] if filed.waiting else []), *([f"{before} of earlier runs"] if before else [])]
    waits = f", {' and '.join(counts)} wait (calltriage pipeline findings --state new)" if counts else ""
    told = ""
    if filed.filed_before:
        told = f" {amount(filed.filed_before, 'finding')} counted: {FILED_BEFORE} (--refile treats them as new)."
    return f"{amount(filed.findings, 'finding')} filed{issues}{waits}.{told}"


def _row(one: DetectorTally) -> list[str]:
    share = f" ({one.found_in / one.calls:.0%})" if one.calls else ""
    each = f"{one.ms / one.calls:.2f}" if one.calls else "-"
    counts = [one.calls, f"{one.found_in}{share}", one.findings, one.unverified, one.not_offered, one.failed, each]
    return [one.name, one.file, *map(str, counts)]


def _show_examples(console: Console, one: DetectorTally) -> None:
    if one.why and (one.failed or one.not_offered):
        console.print(Text(f"\n{one.name}: {one_line(one.why)}"))
    if one.known:
        console.print(Text(f"\n{one.name}: had its verdict on {amount(one.known, 'call')} already."))
    if one.measures:
        means = (f"{each.name} {figure(each.mean)} {each.unit}".rstrip() for each in one.measures.values())
        console.print(Text(f"\n{one.name}: means over the calls: {', '.join(means)}."))
    if not one.examples:
        return
    console.print(Text(f"\n{one.name}", style="bold"), Text(f"({len(one.examples)} of {one.findings})"))
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True, overflow="fold")  # the call's id, to be copied
    for found in one.examples:
        table.add_row(*(Text(cell) for cell in _cells(found)))
    console.print(table)


def _cells(found: Found) -> list[str]:
    one = found.verified
    where = "record" if one.turn is None else f"turn {one.turn}"
    quote = one_line(one.quote)
    shown = f"“{quote[:QUOTE]}{'…' if len(quote) > QUOTE else ''}”" if quote else ""
    by = f"suppressed by {found.suppressed_by}" if found.suppressed_by else ""
    return [one_line(one.call_id), where, one.severity or "", shown, one_line(one.note), by]


def _say_incidents(tally: Tally) -> None:
    if not tally.incidents:
        return
    say("")
    say(f"Incidents, each of which becomes one issue at most: {len(tally.incidents)}")
    ordered = sorted(tally.incidents.values(), key=lambda one: -one.calls)
    for one in ordered[:SHOWN_INCIDENTS]:
        key = f" {one.key}" if one.key else ""
        group = f" ({', '.join(f'{name} {value}' for name, value in one.group.items())})" if one.group else ""
        say(f"  {one.detector} / {one.kind}{key}{group}: {amount(one.calls, 'call')}")
    if len(ordered) > SHOWN_INCIDENTS:
        say(f"  and {len(ordered) - SHOWN_INCIDENTS} more")
    for sentence in tally.lacking:
        say(f"Warning: {sentence}", err=True)


def say_run(run: Run) -> None:
    """Say how a run stands in one line."""
    states = [*WORDS, *(state for state in run.counts if state not in WORDS)]
    counts = [(count, WORDS.get(state, state)) for state in states if (count := run.counts.get(state))]
    told = ", ".join(f"{amount(count, 'call')} {words}" for count, words in counts) or "no calls"
    asked, why = (", as asked", "") if run.why == ASKED_FOR else ("", f" {run.why}" if run.why else "")
    say(f"Run {run.id} is {run.state}{asked}: {told}.{why}")


def as_json(report: Report) -> JsonObject:
    """The same for a program. Words of callers pass the text gate."""
    tally, run = report.tally, report.run
    detectors = [
        {**{name: value for name, value in vars(one).items() if name not in {"examples", "measures"}},
         "measures": [asdict(each) for each in one.measures.values()],
         "examples": [{**asdict(found.verified), "suppressed_by": found.suppressed_by} for found in one.examples]}
        for one in tally.detectors.values()
    ]  # fmt: skip
    incidents = [{"fingerprint": fingerprint, **vars(one)} for fingerprint, one in tally.incidents.items()]
    stands = None if run is None else {"id": run.id, "state": run.state, "why": run.why, "items": dict(run.counts)}
    told = {
        "run": stands,
        "taken_up": [one.id for one in report.taken_up],
        "filed": None if report.filed is None else asdict(report.filed),
        "calls": tally.calls,
        "left": tally.left,
        "failures": dict(report.failures),
        "skipped": tally.skipped,
        "unsettled": report.unsettled,
        "waiting_before": report.waiting_before,
        "deferred": tally.deferred,
        "warnings": tally.lacking,
    }
    return gate({**told, "detectors": detectors, "incidents": incidents})[0]
