"""`calltriage pipeline worker`: take part in runs that other machines began."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import anyio
import click

from calltriage.cli.options import server_settings
from calltriage.cli.pipelines.files import log_items
from calltriage.cli.terminal import say
from calltriage.pipelines.pipeline import Pipeline
from calltriage.settings import Settings

LEAVE_SECONDS = 10.0
"""Seconds from a signal to the end of the process, at most. What it leaves undone others do."""


@click.command("worker")
@click.argument("files", type=click.Path(dir_okay=False, path_type=Path), nargs=-1, required=True, metavar="FILE...")
@click.pass_context
def worker(context: click.Context, files: tuple[Path, ...]) -> None:
    """Take part in the runs of these files, until a signal ends it.

    For several machines: each has the same files and the same PostgreSQL database (CALLTRIAGE_DATABASE_URL), and the extra
    `scale`. `run` and `watch` on one of them say what is to be examined. All of them examine it, together at the API's rate.
    What a lost worker had in hand is done by the others. Log lines are JSON on standard error: one at each call's end,
    unless CALLTRIAGE_LOG_LEVEL says otherwise.
    """
    settings, loaded = server_settings(context), [Pipeline.load(file) for file in files]
    log_items(settings)
    anyio.run(partial(_work, settings, loaded))


async def _work(settings: Settings, loaded: list[Pipeline]) -> None:
    from calltriage.cli.servers import ended_by_signals  # noqa: PLC0415
    from calltriage.pipelines.working import Worker  # noqa: PLC0415
    from calltriage.wiring import open_client  # noqa: PLC0415

    async with ended_by_signals() as ending, open_client(settings) as client:
        with anyio.CancelScope() as scope:
            ending.then(scope.cancel, LEAVE_SECONDS)
            if not ending.asked:
                names = ", ".join(one.spec.name for one in loaded)
                await Worker(client, loaded).carry_out(lambda: say(f"Working on runs of {names}", err=True))
