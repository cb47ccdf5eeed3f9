"""`calltriage pipeline status` and `cancel`: how runs stand, and how to stop one."""

from __future__ import annotations

import anyio
import click

from calltriage.cli.listing import JSON, show_rows
from calltriage.cli.options import TEXT, settings_of
from calltriage.cli.pipelines.showing import say_run
from calltriage.leaves.strict_json import JsonObject
from calltriage.pipelines.ledger import runs
from calltriage.pipelines.ledger.runs import Run
from calltriage.wiring import open_ledger

COLUMNS = ("run", "pipeline", "mode", "state", "asked", "calls", "to_do", "failed", "requests", "began", "why")


@click.command("status")
@click.argument("run_id", type=TEXT, metavar="RUN", required=False)
@click.option("--pipeline", type=TEXT, metavar="NAME", help="Only runs of this pipeline.")
@click.option("--last", default=20, show_default=True, type=click.IntRange(1), help="How many runs, newest first.")
@JSON
@click.pass_context
def status(context: click.Context, run_id: str | None, pipeline: str | None, last: int, *, as_json: bool) -> None:
    """Show how runs stand: how many calls are done, what is left, and why a run waits."""

    async def look() -> list[Run]:
        async with open_ledger(settings_of(context)) as ledger:
            return [await runs.get(ledger, run_id)] if run_id else await runs.newest(ledger, last, pipeline)

    show_rows([_row(run) for run in anyio.run(look)], COLUMNS, as_json=as_json)


def _row(run: Run) -> JsonObject:
    waiting = sum(run.counts.get(state, 0) for state in ("new", "examined", "deferred"))
    return {
        "run": run.id, "pipeline": run.pipeline, "mode": run.mode, "state": run.state,
        "asked": run.window.get("asked") or "all calls", "calls": sum(run.counts.values()), "to_do": waiting,
        "failed": run.counts.get("failed", 0), "requests": run.requests, "began": run.created_at,
        "why": run.why, "items": dict(run.counts),
    }  # fmt: skip


@click.command("cancel")
@click.argument("run_id", type=TEXT, metavar="RUN")
@click.option("--pause", is_flag=True, help="Only pause it: the same command goes on with it.")
@JSON
@click.pass_context
def cancel(context: click.Context, run_id: str, *, pause: bool, as_json: bool) -> None:
    """Stop a run, whichever process works on it. What was filed stays filed."""

    async def stop() -> Run:
        async with open_ledger(settings_of(context)) as ledger:
            return await runs.stop(ledger, run_id, "paused" if pause else "cancelled")

    run = anyio.run(stop)
    if as_json:
        show_rows([_row(run)], COLUMNS, as_json=True)
    else:
        say_run(run)
