"""`calltriage pipeline eval`: how good detectors are on labelled calls, and what a changed file changes."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click

from calltriage.cli.listing import show_rows
from calltriage.cli.options import settings_of
from calltriage.cli.pipelines.showing import progress
from calltriage.cli.terminal import say
from calltriage.errors import NotFound, SettingsError
from calltriage.leaves.amounts import amount
from calltriage.leaves.gate import one_line
from calltriage.leaves.strict_json import JsonObject
from calltriage.pipelines.calls import Call, view_of
from calltriage.pipelines.detecting import Detector
from calltriage.pipelines.dry_run import Progress
from calltriage.pipelines.evaluation import (
    Comparison,
    Labels,
    Score,
    compared,
    counterparts,
    evaluate,
    present_names,
    read_labels,
)
from calltriage.pipelines.reading import read_call
from calltriage.pipelines.spec import Spec, read_spec
from calltriage.settings import Settings

if TYPE_CHECKING:
    from calltriage.client.client import Client

BELOW = 3
"""Exit status when a detector is below the bar."""
SHOWN_FLIPS = 50
COLUMNS = (
    "detector", "calls", "found", "right", "missed", "precision", "recall", "F1", "MCC", "cannot_tell", "unverified",
    "not_offered", "failed", "usd", "ms_per_call",
)  # fmt: skip


@click.command("eval")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--labels",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="What there is to find: lines of JSON.",
)
@click.option(
    "--calls",
    "given",
    type=click.Path(exists=True, path_type=Path),
    help="A file of calls instead of those of the API.",
)
@click.option(
    "--against",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="An older file to compare with.",
)
@click.option(
    "--min-precision", type=click.FloatRange(0, 1), help="What the lower 95 % bound of each precision has to reach."
)
@click.option("--split", type=click.Choice(["dev", "test"]), help="Labels of this split alone.")
@click.option("--no-cache", is_flag=True, help="Ask endpoints anew.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for programs.")
@click.pass_context
def evaluate_file(
    context: click.Context, file: Path, *, labels: Path, min_precision: float | None, as_json: bool, **asked: Any
) -> None:
    """Measure a file's detectors on labelled calls. Nothing is written but what endpoints cost.

    A label is a line of JSON: {"call_id": "a", "detector": "agent_silence", "verdict": "positive", "turn": 7}. "negative" is
    a moment that must not be found, "none" says that the call has nothing to find. A finding is right when a positive label
    of its call lies at most one turn away. Intervals are of 95 %.

    Exit status 0, or 3 when --min-precision is given and a detector is below it, or has no finding to tell it by.
    """
    settings, spec = settings_of(context), read_spec(file)
    names = present_names(spec.detect)
    wanted = read_labels(labels, names, asked["split"], names)
    if not wanted:
        raise SettingsError(f"{labels} holds no label{' of this split' if asked['split'] else ''}.")
    scores = anyio.run(_measured, settings, spec, wanted, asked)
    before = _before(settings, spec, wanted, asked)
    changes = [compared(score, before[score.detector]) for score in scores if score.detector in before]
    low = [] if min_precision is None else [one.detector for one in scores if one.precision_interval[0] < min_precision]
    if as_json:
        flips = [{**vars(change), "flips": [vars(flip) for flip in change.flips]} for change in changes]
        say(json.dumps({"detectors": [score.row() for score in scores], "against": flips, "below": low}))
    else:
        show_rows(map(_shown, scores), COLUMNS, as_json=False)
        for change in changes:
            _show(change)
        if asked["against"] and (lacks := [one.detector for one in scores if one.detector not in before]):
            say(
                f"{asked['against']} has no {', '.join(lacks)}, under no earlier name (`was`) either: nothing to compare."
            )
        if low:
            say(f"Below {min_precision:g} at the lower 95 % bound, or without a finding: {', '.join(low)}.")
    if low:
        sys.exit(BELOW)


def _before(settings: Settings, spec: Spec, labels: Labels, asked: JsonObject) -> dict[str, Score]:
    """What the detectors of the file of --against make of the labelled calls, by the names that they have in `spec`."""
    if asked["against"] is None:
        return {}
    older = read_spec(asked["against"])
    named = counterparts(spec.detect, older.detect)
    of_older = {name: labels[now] for now, name in named.items() if now in labels}
    scores = {one.detector: one for one in anyio.run(_measured, settings, older, of_older, asked)}
    return {now: scores[name] for now, name in named.items() if name in scores}


async def _measured(settings: Settings, spec: Spec, labels: Labels, asked: JsonObject) -> list[Score]:
    """The scores of a file's detectors. A day's cap of money, and the pace of requests, are one for runs and for this."""
    from calltriage.pipelines.ledger.pace import at_shared_pace  # noqa: PLC0415  brings the database library
    from calltriage.pipelines.pipeline import opened_detectors  # noqa: PLC0415
    from calltriage.wiring import open_client  # noqa: PLC0415

    async with (
        open_client(settings) as client,
        at_shared_pace(client),
        opened_detectors(client, spec, cache=not asked["no_cache"], is_dry=True) as detectors,
    ):
        measured = [one.detector for one in detectors if one.detector.name in labels]
        with progress() as shown:
            if asked["given"] is not None:
                return await evaluate(measured, labels, _of_file(asked["given"], shown))
            return await evaluate(measured, labels, _of_api(client, measured, labels, shown))


async def _of_file(path: Path, shown: Progress) -> AsyncIterator[Call]:
    """The calls of a file, in any format that `desk import` takes. `shown` gets how many are done, and of how many."""
    from calltriage.desk.handlers.call_shapes import detail  # noqa: PLC0415
    from calltriage.desk.importing.checking import checked  # noqa: PLC0415
    from calltriage.desk.importing.sources import find_sources  # noqa: PLC0415
    from calltriage.operations.calls import Call as VendorCall  # noqa: PLC0415
    from calltriage.operations.calls import CorrectedTranscript  # noqa: PLC0415

    with checked(find_sources([path])) as found:
        found.refuse_bad(leave_out=None)
        total = found.entries.counts["call"]
        for done, entry in enumerate((one for one in found.entries if one.kind == "call"), 1):
            lines = entry.values["corrected"]
            redone = None if lines is None else CorrectedTranscript.model_validate({"corrected": lines})
            yield view_of(VendorCall.model_validate(detail(entry.values["record"])), redone)
            shown(done, total)


async def _of_api(
    client: Client, detectors: Sequence[Detector], labels: Labels, shown: Progress
) -> AsyncIterator[Call]:
    """The labelled calls as the API has them. One that it has no more is left out. `shown` gets how many are done, and how
    many there are."""
    corrected = any(one.needs_corrected for one in detectors)
    ids = dict.fromkeys(call_id for by_call in labels.values() for call_id in by_call)
    for done, call_id in enumerate(ids, 1):
        try:
            call = await read_call(client, call_id, corrected=corrected)
        except NotFound:
            say(f"There is no call {one_line(call_id)}; its labels are left out.", err=True)
        else:
            yield call
        shown(done, len(ids))


def _shown(score: Score) -> dict[str, object]:
    row = score.row()
    shown = {
        name: _figure(row[key], row[f"{key}_95"]) for name, key in (("precision", "precision"), ("recall", "recall"))
    }
    return {
        **row,
        **shown,
        "found": score.total("tp") + score.total("fp"),
        "right": row["tp"],
        "missed": row["fn"],
        "F1": _figure(row["f1"], row["f1_95"]),
        "MCC": None if score.mcc is None else f"{score.mcc:.2f}",
    }


def _figure(share: Any, interval: Any) -> str | None:
    return None if share is None or interval is None else f"{share:.2f} ({interval[0]:.2f} to {interval[1]:.2f})"


def _show(change: Comparison) -> None:
    """A comparison, with the calls of which the two say something else."""
    say(
        f"{change.detector}: {amount(change.better, 'call')} better, {change.worse} worse "
        f"(p = {change.p:.3f} that both are equally good), {amount(len(change.flips), 'changed verdict')}."
    )
    rows = [
        {
            "call": flip.call_id,
            "turn": flip.turn,
            "now": flip.now,
            "that is": "right" if flip.is_right else "wrong",
            "resource": f"triage://calls/{flip.call_id}/transcript",
        }
        for flip in change.flips[:SHOWN_FLIPS]
    ]
    if rows:
        show_rows(rows, ("call", "turn", "now", "that is", "resource"), as_json=False)
    if len(change.flips) > SHOWN_FLIPS:
        say(f"… and {len(change.flips) - SHOWN_FLIPS} more; --json has all.")
