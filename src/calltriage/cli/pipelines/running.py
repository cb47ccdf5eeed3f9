"""`calltriage pipeline run`: examine calls of the past, once."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import anyio
import click
from anyio.abc import TaskStatus

from calltriage.cli.options import settings_of
from calltriage.cli.pipelines.files import FILE, SINCE, a_time
from calltriage.cli.pipelines.showing import as_json, progress, say_estimate, show_report
from calltriage.cli.pipelines.sources import imported, opened
from calltriage.cli.terminal import INTERRUPTED, say, show_cursor
from calltriage.client.in_process import background
from calltriage.leaves.shutdown import heard
from calltriage.logs import configure_logging
from calltriage.pipelines.pipeline import Pipeline, Report
from calltriage.settings import Settings

GOES_ON = "The same command goes on."
UNFINISHED = 4
"""Exit status of a run of which something is left."""
AGAIN_S = 1.0
"""Seconds in which a signal counts once: a program between, such as a package manager, passes on what the terminal sends."""


@click.command("run")
@FILE
@SINCE
@click.option(
    "--calls",
    "given",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Calls of this file instead of the API's, in any format that `desk import` takes.",
)
@click.option(
    "--until", callback=a_time, metavar="WHEN", help="Calls made up to then.  [default: those that have settled]"
)
@click.option("--call", metavar="ID", help="This call alone.")
@click.option("--limit", type=click.IntRange(1), help="At most so many calls, oldest first.")
@click.option("--no-cache", "cache", is_flag=True, flag_value=False, default=True, help="Ask endpoints anew.")
@click.option(
    "--refile",
    is_flag=True,
    help="Treat other words of a moment that an earlier version filed as new.",
)
@click.option("--dry-run", is_flag=True, help="Show what is found, and write nothing.")
@click.option("--log", is_flag=True, help="A line of JSON at each call's end, on standard error.")
@click.option("--json", "json_wanted", is_flag=True, help="One JSON object, for programs.")
@click.pass_context
def run(
    context: click.Context, file: Path, *, given: Path | None, dry_run: bool, json_wanted: bool, log: bool, **asked: Any
) -> None:
    """Examine calls once, and file what may be filed.

    Without --since: all calls there are. What is found in calls of a file is filed where the API has the call. A run that
    was cut off goes on when the same command is given again.

    Exit status 0 when every detector examined every call that it should, 1 when one failed, when there is no such --call,
    or when something else is wrong, 4 when calls are left: for later, or because somebody paused or cancelled the run.
    """
    loaded, settings = Pipeline.load(file), settings_of(context)
    if log:
        configure_logging("INFO")
    with ExitStack() as stack:
        own = None if given is None else (stack.enter_context(imported(given)), given)
        wanted = {**asked, "dry_run": dry_run}
        try:
            report = anyio.run(partial(_carried_out, settings, loaded, own, wanted, at_once=stack.close))
        except KeyboardInterrupt:  # on Windows, or before signals are heard
            report = signal.SIGINT
    if isinstance(report, signal.Signals):
        _leave(report)
    if json_wanted:
        say(json.dumps(as_json(report)))
    else:
        show_report(report)
    if report.tally.left if report.run is None else report.run.state != "done":
        sys.exit(UNFINISHED)
    if asked["call"] is not None and report.has_gone:
        say(f"No such call: {asked['call']}", err=True)
        sys.exit(1)
    if report.failures or (report.run is not None and report.run.counts.get("failed")):
        sys.exit(1)


def _leave(by: signal.Signals) -> NoReturn:
    """End the process by the signal that ended the run, and after Ctrl-C with its exit status."""
    if by == signal.SIGINT:
        say(f"Interrupted. {GOES_ON}", err=True)
        sys.exit(INTERRUPTED)
    say(f"Ended by {by.name}. {GOES_ON}", err=True)
    sys.stdout.flush()
    _end_now(by)
    sys.exit(128 + by)  # the process outlived it


async def _carried_out(
    settings: Settings,
    loaded: Pipeline,
    own: tuple[Settings, Path] | None,
    asked: dict[str, Any],
    *,
    at_once: Callable[[], None],
) -> Report | signal.Signals:
    """Run over the API's calls, or over those of a desk of their own. Returns the signal that ended it, if one did.
    `at_once`: what has to be done even if nothing waits for the run's end any more."""
    from calltriage.wiring import open_client  # noqa: PLC0415

    async with _stopped_by_signals(at_once) as came, AsyncExitStack() as stack:
        client = await stack.enter_async_context(open_client(settings))
        calls = None if own is None else await stack.enter_async_context(opened(*own))
        with progress() as shown:
            return await loaded.run(client, **asked, calls=calls, progress=shown, on_estimate=say_estimate)
    return came[0]


@asynccontextmanager
async def _stopped_by_signals(at_once: Callable[[], None]) -> AsyncGenerator[list[signal.Signals]]:
    """Cancel the block at SIGINT, SIGTERM and SIGHUP: its run is paused. Yields a list, which has the signal then.

    A signal that comes within AGAIN_S after the first changes nothing. A later one ends the process, after `at_once`; also
    after the block, where threads may still hold the process up.
    """
    came, again_at = list[signal.Signals](), math.inf

    def again(number: int, _: FrameType | None = None) -> None:
        if time.monotonic() > again_at:
            at_once()
            _end_now(number)

    async def listen(scope: anyio.CancelScope, *, task_status: TaskStatus[None]) -> None:
        nonlocal again_at
        with anyio.open_signal_receiver(*map(signal.Signals, heard())) as signals:
            task_status.started()
            async for number in signals:
                if came:
                    again(number)
                else:
                    came.append(number)
                    again_at = time.monotonic() + AGAIN_S
                    scope.cancel()

    async with background() as tasks:
        with anyio.CancelScope() as scope:
            if sys.platform != "win32":
                await tasks.start(listen, scope)
            yield came
    for number in heard() if came else ():
        signal.signal(number, again)


def _end_now(by: int) -> None:
    """End the process by a signal, whatever holds it up."""
    show_cursor()
    if by == signal.SIGINT:
        os._exit(INTERRUPTED)
    signal.signal(by, signal.SIG_DFL)
    signal.raise_signal(by)
