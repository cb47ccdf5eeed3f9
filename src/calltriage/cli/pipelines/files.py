"""`calltriage pipeline init` and `check`: a file to start from, and what is wrong with one."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import click

from calltriage.cli.listing import show_rows
from calltriage.cli.options import past, settings_of
from calltriage.cli.pipelines.showing import say_estimate
from calltriage.cli.terminal import say
from calltriage.errors import CallError, SettingsError
from calltriage.leaves.amounts import amount
from calltriage.leaves.strict_json import JsonObject
from calltriage.logs import configure_logging
from calltriage.pipelines.calls import Timing
from calltriage.pipelines.catalogue import is_users
from calltriage.pipelines.detecting import Detector
from calltriage.pipelines.examining import Prepared, prepared
from calltriage.pipelines.pipeline import Estimate, Pipeline
from calltriage.pipelines.presets import PRESETS, preset
from calltriage.pipelines.spec import Spec
from calltriage.pipelines.statistics import successes_missing, wilson
from calltriage.settings import Settings

if TYPE_CHECKING:
    from calltriage.pipelines.ledger.reviews import Tally

FILE = click.argument("file", type=click.Path(dir_okay=False, path_type=Path))


def a_time(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """The callback of an option that takes a time, which stays as it was typed."""
    past(context, parameter, value)
    return value


SINCE = click.option("--since", callback=a_time, metavar="WHEN", help="Calls made from then on: 24h, 7d, 2026-05-01.")


def log_items(settings: Settings) -> None:
    """Log as the settings say. Where they say nothing, the end of each item is logged, too."""
    is_set = "log_level" in settings.model_fields_set
    configure_logging(settings.log_level, of_pipelines=None if is_set else "INFO")


@click.command("init")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), default=Path("pipeline.toml"))
@click.option("--preset", "chosen", type=click.Choice(list(PRESETS)), default="voice-support", show_default=True)
@click.option("--name", help="The pipeline's name.  [default: the file's]")
def init(file: Path, chosen: str, name: str | None) -> None:
    """Write a file to start from. A file that is there stays as it is."""
    named = re.sub(r"[^A-Za-z0-9_.-]+", "-", name or file.stem).strip("-._")[:64] or "pipeline"
    try:
        with file.open("x", encoding="utf-8") as written:
            written.write(preset(chosen, named, str(file)))
    except FileExistsError:
        raise SettingsError(f"{file} is there already and was not changed. Name another file.") from None
    say(f"{file} is written. Try it: calltriage pipeline run {file} --since 30d --dry-run")


def _needs(detector: Detector) -> str:
    times = None if detector.needs is Timing.NONE else f"{detector.needs} times"
    return ", ".join(filter(None, (times, "corrected transcript" if detector.needs_corrected else None))) or "-"


@click.command("check")
@FILE
@SINCE
@click.option("--offline", is_flag=True, help="Do not ask the API how many calls there are.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for programs.")
@click.pass_context
def check(context: click.Context, file: Path, since: str | None, *, offline: bool, as_json: bool) -> None:
    """Check a file: every key, every detector, every option.

    Shows the detectors with their versions and, unless --offline, which of them file without a person by the verdicts so
    far, how many calls there are, and how many requests reading them takes. Names environment variables that are not set.
    Exit status 1 when something is wrong with the file; each fault is told with its line.
    """
    loaded, settings = Pipeline.load(file), settings_of(context)

    async def look() -> tuple[list[JsonObject], list[str], Estimate | None]:
        async with prepared(loaded.spec) as detectors:
            rows = [_row(one) for one in detectors]
            if offline:
                return rows, [], None
            return (
                rows,
                [*await _alone(settings, loaded.spec, detectors), *await _off(settings, loaded.spec, detectors)],
                await _estimate(settings, loaded, since, detectors),
            )

    rows, alone, estimate = anyio.run(look)
    unset = [f"{name} ({where})" for where, name in loaded.spec.variables.items() if not os.environ.get(name)]
    if as_json:
        told = {"detectors": rows, "alone": alone, "estimate": None if estimate is None else asdict(estimate)}
        say(json.dumps({"name": loaded.spec.name, "spec_hash": loaded.spec_hash, **told, "unset": unset}))
        return
    show_rows(rows, ("detector", "version", "hash", "file", "needs", "sample"), as_json=False)
    for sentence in alone:
        say(sentence)
    if estimate is not None:
        say_estimate(estimate)
    lacks = f", but the environment does not set {', '.join(unset)}" if unset else ""
    say(f"{file} is right{lacks}.")


async def _alone(settings: Settings, spec: Spec, detectors: Sequence[Prepared]) -> list[str]:
    """A sentence on each detector that may file without a person: whether people's verdicts let it, or what is missing."""
    from calltriage.pipelines.ledger.reviews import tallies, tally_of  # noqa: PLC0415  brings the database library
    from calltriage.wiring import open_ledger  # noqa: PLC0415

    may = [one for one in detectors if one.detect.file == "auto" and not one.detector.review_only]
    if not may:
        return []
    async with open_ledger(settings) as ledger:
        judged = await ledger.read(partial(tallies, ledger=ledger, with_agents=spec.issues.agent_verdicts))
    return [_sentence(one, tally_of(judged, one.detect.names, one.detector.version_hash)) for one in may]


async def _off(settings: Settings, spec: Spec, detectors: Sequence[Prepared]) -> list[str]:
    """A sentence on each detector of a user's own that is switched off."""
    from calltriage.pipelines.hangs import tried  # noqa: PLC0415  only where it is asked for
    from calltriage.pipelines.ledger.hangs import switched_off  # noqa: PLC0415  brings the database library
    from calltriage.wiring import open_ledger  # noqa: PLC0415

    if not any(is_users(one.detect.use) for one in detectors):
        return []
    async with open_ledger(settings) as ledger:
        off = await switched_off(ledger, spec.name)
    deadline_s = spec.limits.seconds_per_call.total_seconds()
    made = [one.detector for one in detectors]
    found = ((one.name, off.get((one.name, tried(one.version_hash, deadline_s)))) for one in made)
    return [f"{name} is switched off: {why}" for name, why in found if why is not None]


def _sentence(one: Prepared, tally: Tally) -> str:
    bar, low = one.detect.min_precision, wilson(tally.right, tally.total)[0]
    known = f"{tally.right} of {amount(tally.total, 'verdict')} right, so a precision of {low:.2f} at least"
    known = known if tally.total else "no verdict yet"
    if low >= bar:
        return f"{one.detector.name} files without a person: {known}."
    missing = successes_missing(tally.right, tally.total, bar)
    needed = "more than can be counted" if missing is None else amount(missing, "more right verdict")
    return f"{one.detector.name} waits for a person: {known}. For {bar:g} it takes {needed}."


def _row(one: Prepared) -> JsonObject:
    """What a person wants to know of a detector. One that needs a person never files by itself."""
    made, detect = one.detector, one.detect
    return {
        "detector": made.name, "version": made.version, "hash": made.version_hash,
        "file": "review" if made.review_only and detect.file == "auto" else detect.file,
        "needs": _needs(made), "sample": detect.sample.rate,
    }  # fmt: skip


async def _estimate(
    settings: Settings, loaded: Pipeline, since: str | None, detectors: Sequence[Prepared]
) -> Estimate | None:
    from calltriage.pipelines.ledger.pace import at_shared_pace  # noqa: PLC0415  brings the database library
    from calltriage.wiring import open_client  # noqa: PLC0415

    try:
        async with open_client(settings) as client, at_shared_pace(client):
            return await loaded.estimate(client, loaded.window(since=since), detectors)
    except CallError as error:
        say(f"The API could not be asked how many calls there are: {error}", err=True)
        return None
