"""Texts of the issues, flags and comments that pipelines write: fixed templates with names and figures.

Only flags hold callers' words. Values of a call's metadata are cut to one line of plain text.
"""

from __future__ import annotations

from collections.abc import Mapping

from calltriage.leaves.amounts import amount
from calltriage.leaves.gate import one_line, storable
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.fields import LONGEST_NAME
from calltriage.pipelines.ledger.incidents import SHOWN

MOST_TITLE, MOST_VALUE = 200, 60
CATEGORY = "Dialogue"
CATEGORIES = {
    "agent_silence": "Latency", "answer_latency": "Latency", "talk_over": "Speech", "digits_differ": "Transcription",
    "metadata": "Telephony", "language": "Speech",
}  # fmt: skip
"""Category of a detector's issues; CATEGORY for the others."""
GENERIC = ("before", "required", "forbidden", "metadata")
"""Kinds that do not say what is wrong. The detector's name is the fault's name then."""
COUNTS_ONLY = "Further calls are counted, not attached: an issue of a pipeline holds so many at most."


def category_of(detector: str) -> str:
    return CATEGORIES.get(detector, CATEGORY)[:LONGEST_NAME]


def _value(text: object) -> str:
    line = one_line(str(text))
    return line if len(line) <= MOST_VALUE else f"{line[: MOST_VALUE - 1]}…"


def title_of(incident: Mapping[str, object]) -> str:
    """An issue's title: the fault, its `group_by` values and its key, such as `Agent silence (pathway_id p-7, x)`."""
    fault = fault_of(str(incident["detector"]), str(incident["kind"])).replace("_", " ").capitalize()
    return storable(f"{fault}{_apart(incident)}")[:MOST_TITLE]


def fault_of(detector: str, kind: str) -> str:
    """The fault's name: the type of its flags, and the beginning of its issue's title."""
    return detector if kind in GENERIC else kind


def _apart(incident: Mapping[str, object]) -> str:
    group = incident["group"]
    values: JsonObject = dict(group) if isinstance(group, dict) else {}  # pyright: ignore[reportUnknownArgumentType]
    told = [f"{_value(name)} {_value(value)}" for name, value in sorted(values.items())]
    told += [_value(incident["key"])] if incident["key"] else []
    return f" ({', '.join(told)})" if told else ""


def description_of(incident: Mapping[str, object], pipeline: str, line: str, history: str | None = None) -> str:
    """An issue's description. Its last line is the incident's fingerprint line. `history`: said instead of when the first
    call was, of an issue that follows another one."""
    parts = [
        f"The detector {_value(incident['detector'])} of the pipeline {_value(pipeline)} found this in calls. Each flag "
        "marks a moment with the words that were said there.",
        history or f"First call: {incident['first_call_at'] or 'time not known'}.",
    ]
    parts += ["A verdict on a finding: calltriage pipeline accept ID, or dismiss ID --reason wrong.", line]
    return storable("\n\n".join(parts))


def follows(ticket: str, first: str, closed: str) -> str:
    """What the description of an issue says of the closed one that it continues. `first`: begin of its own first call."""
    return (
        f"Follows {ticket}, which was closed at {closed}. The fault is in calls that began later, the first at {first}."
    )


def note_of(note: str, finding_id: str) -> str:
    """A flag's note with the finding's id, which leads back to the finding and makes equal moments different flags."""
    return storable(f"{note.strip()} [finding {finding_id}]".strip())


def counts(calls: int, since: str, in_all: int) -> str:
    return f"Found in {amount(calls, 'more call')} since {since}; {amount(in_all, 'call')} in all. {COUNTS_ONLY}"


def regressed(calls: int, first: str, closed: str) -> str:
    return (
        f"This came back in {amount(calls, 'call')} begun after the issue was closed ({closed}), the first at {first}. "
        "The pipeline opens the issue again."
    )


def joined(title: str, fingerprint: str) -> str:
    """Comment on an issue that others filed, when a pipeline begins to add an incident's findings."""
    return (
        f"A pipeline adds its findings here from now on ({title}): this issue is open and very alike. To give them an issue "
        f'of their own: calltriage pipeline split {fingerprint[:SHOWN]} --reason "another fault"'
    )
