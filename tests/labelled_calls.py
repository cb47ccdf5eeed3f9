"""The 28 shared calls with labels, and what the built-in detectors make of them.

The calls are not in this repository; the labels are. They were made by reading every call whole. The rules were written with
the calls known: the figures say that the rules do what they say, not how they do on calls that nobody has seen.
`uv run python tests/labelled_calls.py` prints the table of src/calltriage/pipelines/README.md.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from typing import Any

import anyio
import click

from calltriage.operations.calls import Call as VendorCall
from calltriage.operations.calls import CorrectedTranscript
from calltriage.pipelines.calls import Call, view_of
from calltriage.pipelines.catalogue import BUILT_INS, built_in
from calltriage.pipelines.detecting import Detector
from calltriage.pipelines.evaluation import Score, evaluate, read_labels

CALLS = Path(__file__).parents[1] / "../shared/data/harper-valley-28.jsonl"
LABELS = Path(__file__).parent / "labels_harper_valley_28.jsonl"
TABLE = Path(__file__).parents[1] / "src/calltriage/pipelines/README.md"
BEGINS, ENDS = "<!-- measured: begins -->\n", "<!-- measured: ends -->\n"
NEAR = {
    "contradicts_time": ("time", ("branch hours", "time"), ("hours", "appointment", "a m", "am")),
    "contradicts_money": (
        "money",
        ("account balance", "transfer amount", "money amount"),
        ("balance", "transferred", "bill"),
    ),
    "contradicts_name": ("name", ("agent_name",), ("my name is",)),
}
"""How the record is compared: the type of the value, the fields of the task that hold it, and words by which it is said."""

ASKED: dict[str, dict[str, Any]] = {
    "required": {"phrases": ["harper valley"], "within_turns": 2},
    "forbidden": {"phrases": ["can you repeat", "could you repeat", "repeat that", "say that again"]},
    "before": {
        "first": ["my name is", "this is"],
        "speaker": "caller",
        "then": ["balance", "has been transferred", "has been sent", "have ordered", "i've ordered", "have scheduled"],
    },
}
"""What is asked of rules that do nothing without options: the agent opens with the bank's name; the agent does not ask the
caller to repeat something; the caller is known by name before the agent tells or does what is for them alone."""


def detectors() -> list[Detector]:
    """The built-in detectors that can be measured, with their usual options or those of ASKED."""
    plain = [built_in(name).configured(ASKED.get(name)) for name in BUILT_INS if name in labels_of()]
    records = [
        built_in("contradicts_record").configured({"kind": kind, "fact": name, "near": list(near)}, name=name)
        for name, (kind, _, near) in NEAR.items()
    ]
    return [*plain, *records]


@cache
def labels_of() -> Any:
    return read_labels(LABELS, [*BUILT_INS, *NEAR])


def views(text: str) -> list[Call]:
    """The calls as detectors see them. `text` is the human transcript, or `asr_text`, the machine's, with the human one as
    the transcript redone from the recording."""
    return [_view(json.loads(line), text) for line in CALLS.read_text(encoding="utf-8").splitlines()]


def _view(line: dict[str, Any], text: str) -> Call:
    task = {name: value for one in line["tasks"] for name, value in one.items()}
    record = {"agent_name": line["agent"]["metadata"]["agent_name"], **task}
    facts = {
        name: next((record[field] for field in fields if field in record), None)
        for name, (_, fields, _) in NEAR.items()
    }
    turns = [
        {
            "user": turn["speaker"],
            "text": turn[text] or "",
            "start_ms": turn["start_ms"],
            "duration_ms": turn["duration_ms"],
        }
        for turn in line["turns"]
    ]
    about = {
        "call_id": line["call_id"],
        "created_at": line["created_at"],
        "end_at": line["ended_at"],
        "metadata": facts,
    }
    redone = [
        {
            "speaker_label": turn["speaker"],
            "text": turn["text"],
            "start": turn["start_ms"] / 1000,
            "end": (turn["start_ms"] + turn["duration_ms"]) / 1000,
        }
        for turn in line["turns"]
    ]
    call = VendorCall.model_validate({**about, "transcripts": turns})
    return view_of(call, None if text == "text" else CorrectedTranscript.model_validate({"corrected": redone}))


async def measured() -> list[Score]:
    """The figures of all detectors, in their order."""
    by_machine = [one for one in detectors() if one.needs_corrected]
    by_people = [one for one in detectors() if not one.needs_corrected]
    scores = [
        *await evaluate(by_people, labels_of(), _each(views("text"))),
        *await evaluate(by_machine, labels_of(), _each(views("asr_text"))),
    ]
    return sorted(scores, key=lambda score: [*BUILT_INS, *NEAR].index(score.detector))


async def _each(calls: list[Call]) -> AsyncIterator[Call]:
    for call in calls:
        yield call


def table(scores: list[Score]) -> str:
    """The published table."""
    rows = ["| detector | found | right | missed | precision (95 %) | recall (95 %) |", "|---|---|---|---|---|---|"]
    for score in scores:
        tp, fp, fn = (score.total(part) for part in ("tp", "fp", "fn"))
        precision = _told(score.precision, score.precision_interval)
        recall = _told(score.recall, score.recall_interval)
        rows.append(f"| `{score.detector}` | {tp + fp} | {tp} | {fn} | {precision} | {recall} |")
    unmeasured = [name for name in BUILT_INS if name not in labels_of() and name != "contradicts_record"]
    rows += [f"| `{name}` | not measured | | | | |" for name in unmeasured]
    return "\n".join(rows) + "\n"


def _told(share: float | None, interval: tuple[float, float]) -> str:
    return "-" if share is None else f"{share:.2f} ({interval[0]:.2f} to {interval[1]:.2f})"


if __name__ == "__main__":
    click.echo(table(anyio.run(measured)), nl=False)
