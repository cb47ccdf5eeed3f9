"""`calltriage pipeline status` and `cancel`: how runs stand, and how to stop one."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

import anyio
import click

from calltriage.cli.listing import JSON, show_rows
from calltriage.cli.options import TEXT, settings_of
from calltriage.cli.pipelines.showing import say_run
from calltriage.leaves.amounts import amount
from calltriage.leaves.strict_json import JsonObject
from calltriage.pipelines.ledger import Ledger, runs
from calltriage.pipelines.ledger.runs import Run
from calltriage.pipelines.ledger.turns import held
from calltriage.pipelines.reviewing import check_names
from calltriage.pipelines.windows import Window
from calltriage.wiring import open_ledger

COLUMNS = ("run", "pipeline", "mode", "state", "calls", "to_do", "failed", "requests", "began", "goes_on_with")
NOTES = ("asked", "why", "errors", "warning")
"""What is told below a run."""


@click.command("status")
@click.argument("run_id", type=TEXT, metavar="[RUN]", required=False)
@click.option("--pipeline", type=TEXT, metavar="NAME", help="Only runs of this pipeline.")
@click.option("--last", default=20, show_default=True, type=click.IntRange(1), help="How many runs, newest first.")
@JSON
@click.pass_context
def status(context: click.Context, run_id: str | None, pipeline: str | None, last: int, *, as_json: bool) -> None:
    """Show how runs stand: how many calls are done, what is left, and why a run waits."""

    async def look() -> list[JsonObject]:
        async with open_ledger(settings_of(context)) as ledger:
            await check_names(ledger, pipeline)
            found = [await runs.get(ledger, run_id)] if run_id else await runs.newest(ledger, last, pipeline)
            return [
                {**_row(run, await runs.errors_of(ledger, run.id)), **await _left_alone(ledger, run)} for run in found
            ]

    show_rows(anyio.run(look), COLUMNS, as_json=as_json, notes=_notes)


async def _left_alone(ledger: Ledger, run: Run) -> JsonObject:
    """The reason of a running run whose process was killed; empty where a process works on it."""
    if run.state != "running":
        return {}
    async with held(ledger, f"watch-{run.pipeline}" if run.mode == "watch" else run.id) as turn:
        if turn is None:
            return {}
    return {"why": "No process works on it. The same command goes on.", "goes_on_with": _command(run)}


def _row(run: Run, errors: Mapping[str, int]) -> JsonObject:
    """A run as a row. `errors`: why calls failed, with their number."""
    wrong = ", ".join(f"{one.rstrip('.')} on {amount(count, 'call')}" for one, count in errors.items())
    return {
        "run": run.id, "pipeline": run.pipeline, "mode": run.mode, "state": run.state,
        "asked": run.window.get("asked") or "all calls", "calls": run.listed_calls, "to_do": run.to_do,
        "failed": run.counts.get("failed", 0), "requests": run.requests, "began": run.created_at,
        "why": run.why, "errors": wrong or None, "items": dict(run.counts), "file": run.origin.file,
        "goes_on_with": _command(run) if run.is_open and run.state != "running" else None,
        "warning": run.origin.warning(run.pipeline),
    }  # fmt: skip


def _notes(row: Mapping[str, Any]) -> list[str]:
    return [f"{name}: {row[name]}" for name in NOTES if row[name]]


def _command(run: Run) -> str:
    """The command that goes on with an open run, as a shell takes it."""
    file = shlex.quote(run.origin.file or "FILE")
    if run.mode == "watch":
        return f"calltriage pipeline watch {file}"
    given = [
        (name, "FILE" if name == "calls" else shlex.quote(value))  # the name of calls' source is a hash of their file
        for name, value in Window.arguments(run.window["asked"])
    ]
    options = (f" --{name}" if name == "refile" else f" --{name} {value}" for name, value in given)
    return f"calltriage pipeline run {file}{''.join(options)}"


@click.command("cancel")
@click.argument("run_id", type=TEXT, metavar="RUN")
@click.option("--pause", is_flag=True, help="Only pause it: the same command goes on with it.")
@JSON
@click.pass_context
def cancel(context: click.Context, run_id: str, *, pause: bool, as_json: bool) -> None:
    """Stop a run, whichever process works on it. What was filed stays filed."""

    async def stop() -> tuple[Run, dict[str, int]]:
        async with open_ledger(settings_of(context)) as ledger:
            run = await runs.stop(ledger, run_id, "paused" if pause else "cancelled")
            return run, await runs.errors_of(ledger, run_id)

    run, errors = anyio.run(stop)
    if as_json:
        show_rows([_row(run, errors)], COLUMNS, as_json=True)
    else:
        say_run(run)
