"""The words of issues, flags and comments that pipelines write: fixed templates, filled with names and figures.

What callers said stands in flags alone. Values of a call's metadata are shown as what they are: one line, cut, no markup.
"""

from __future__ import annotations

from collections.abc import Mapping

from calltriage.leaves.amounts import amount
from calltriage.leaves.gate import one_line, storable
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.fields import LONGEST_NAME

MOST_TITLE, MOST_VALUE = 200, 60
CATEGORY = "Dialogue"
CATEGORIES = {
    "agent_silence": "Latency", "answer_latency": "Latency", "talk_over": "Speech", "digits_differ": "Transcription",
    "metadata": "Telephony", "language": "Speech",
}  # fmt: skip
"""Built-in category of a detector's issues; `Dialogue` for others."""
GENERIC = ("before", "required", "forbidden", "metadata")
"""Kinds that say how a detector looks, not what is wrong: their faults are called as the detector is."""
COUNTS_ONLY = "Further calls are counted, not attached: an issue of a pipeline holds so many at most."


def category_of(detector: str) -> str:
    return CATEGORIES.get(detector, CATEGORY)[:LONGEST_NAME]


def _value(text: object) -> str:
    line = one_line(str(text))
    return line if len(line) <= MOST_VALUE else f"{line[: MOST_VALUE - 1]}…"


def title_of(incident: Mapping[str, object]) -> str:
    """`Agent silence (pathway_id p-7, key x)`: the fault, and what tells incidents of it apart."""
    fault = fault_of(str(incident["detector"]), str(incident["kind"])).replace("_", " ").capitalize()
    return storable(f"{fault}{_apart(incident)}")[:MOST_TITLE]


def fault_of(detector: str, kind: str) -> str:
    """What a fault is called: the type of its flags, and the beginning of its issue's title."""
    return detector if kind in GENERIC else kind


def _apart(incident: Mapping[str, object]) -> str:
    group = incident["group"]
    values: JsonObject = dict(group) if isinstance(group, dict) else {}  # pyright: ignore[reportUnknownArgumentType]
    told = [f"{_value(name)} {_value(value)}" for name, value in sorted(values.items())]
    told += [_value(incident["key"])] if incident["key"] else []
    return f" ({', '.join(told)})" if told else ""


def description_of(incident: Mapping[str, object], pipeline: str, line: str, follows: str | None = None) -> str:
    """What happened, how it was found, how to see it; the incident's line comes last."""
    parts = [
        f"The detector {_value(incident['detector'])} of the pipeline {_value(pipeline)} found this in calls. Each flag "
        "marks a moment with the words that were said there.",
        f"First call: {incident['first_call_at'] or 'time not known'}.",
    ]
    parts += [f"Follows {follows}, which was closed before these calls."] if follows else []
    parts += ["A verdict on a finding: calltriage pipeline accept ID, or dismiss ID --reason wrong.", line]
    return storable("\n\n".join(parts))


def note_of(note: str, finding_id: str) -> str:
    """A flag's note. The finding's id tells equal moments apart, and leads back to the finding."""
    return storable(f"{note.strip()} [finding {finding_id}]".strip())


def counts(calls: int, since: str, in_all: int) -> str:
    return f"Found in {amount(calls, 'more call')} since {since}; {amount(in_all, 'call')} in all. {COUNTS_ONLY}"


def regressed(calls: int, first: str, closed: str) -> str:
    return (
        f"This came back in {amount(calls, 'call')} begun after the issue was closed ({closed}), the first at {first}. "
        "The issue is open again."
    )


def joined(title: str) -> str:
    """Why findings are added to an issue that others filed."""
    return (
        f"A pipeline adds its findings here from now on ({title}): this issue is open and very alike. "
        "To give them an issue of their own: calltriage pipeline split FINGERPRINT."
    )
