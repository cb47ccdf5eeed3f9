"""`calltriage pipeline run`: examine calls of the past, once."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import anyio
import click

from calltriage.cli.options import settings_of
from calltriage.cli.pipelines.files import FILE, SINCE
from calltriage.cli.pipelines.showing import as_json, progress, say_estimate, show_report
from calltriage.cli.terminal import say
from calltriage.pipelines.pipeline import Pipeline, Report

UNFINISHED = 4
"""Exit status of a run of which something is left."""


@click.command("run")
@FILE
@SINCE
@click.option("--until", metavar="WHEN", help="Calls made up to then.  [default: those that have settled]")
@click.option("--call", metavar="ID", help="This call alone.")
@click.option("--limit", type=click.IntRange(1), help="At most so many calls, oldest first.")
@click.option("--no-cache", "cache", is_flag=True, flag_value=False, default=True, help="Ask endpoints anew.")
@click.option("--dry-run", is_flag=True, help="Show what is found, and write nothing.")
@click.option("--json", "json_wanted", is_flag=True, help="One JSON object, for programs.")
@click.pass_context
def run(context: click.Context, file: Path, *, dry_run: bool, json_wanted: bool, **asked: Any) -> None:
    """Examine calls once, and file what may be filed.

    Without --since: all calls there are. A run that was cut off goes on when the same command is given again. Exit status 0
    when every call was examined, 1 when something is wrong, 4 when some calls are left for later.
    """
    loaded, settings = Pipeline.load(file), settings_of(context)

    async def carry_out() -> Report:
        from calltriage.wiring import open_client  # noqa: PLC0415

        async with open_client(settings) as client:
            with progress() as heard:
                return await loaded.run(client, **asked, dry_run=dry_run, progress=heard, on_estimate=say_estimate)

    report = anyio.run(carry_out)
    if json_wanted:
        say(json.dumps(as_json(report)))
    else:
        show_report(report)
    if report.run is not None and report.run.state not in {"done", "cancelled"}:
        sys.exit(UNFINISHED)
