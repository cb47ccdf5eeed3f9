"""A report as Markdown. Words from calls and metadata are escaped, so that they are never markup."""

from __future__ import annotations

import re
from collections.abc import Sequence

from calltriage.leaves.amounts import amount
from calltriage.leaves.gate import one_line
from calltriage.leaves.strict_json import JsonObject
from calltriage.pipelines.ledger.incidents import SHOWN, was_split
from calltriage.pipelines.ledger.measures import MOST_MEASURES
from calltriage.pipelines.reports.figures import DetectorFigures, Figures

MARKUP = re.compile(r"([\\`*_{}\[\]<>.|~:&@])")
"""What is markup within a line: a text stands at no line's begin, where further signs would be."""
MOST = 200
RECALL_COLUMNS = (
    "detector", "flagged calls", "judged", "right", "other calls", "labelled blind", "with a miss", "share missed (95 %)",
    "recall (95 %)",
)  # fmt: skip
RECALL = (
    "Of all calls that the present version examined: flagged ones with a right finding, as a share of these and of the "
    "calls with a miss. Both are estimated from people's verdicts and labels (calltriage pipeline sample), so few of them "
    "mean a wide interval. The unit is the call."
)
"""What the table of recalls says."""
MEASURES = (
    "What the present version of a detector measured on calls, whether or not it found something: its "
    f"{MOST_MEASURES} most frequent measures."
)
"""What the table of measures says."""
MEASURE_COLUMNS = ("detector", "measure", "examinations", "median", "95th percentile", "greatest")


def plain(text: object) -> str:
    """An untrusted text as one line of Markdown, escaped and cut to MOST characters."""
    line = one_line(str(text))
    return MARKUP.sub(r"\\\1", line if len(line) <= MOST else f"{line[: MOST - 1]}…")


def as_markdown(report: Figures) -> str:
    """The whole report."""
    name = f"Pipeline {plain(report.pipeline)}" if report.pipeline else "Pipelines"
    parts = [
        f"# {name}: {report.since[:10]} to {report.until[:10]}",
        summary(report),
        "## Detectors",
        _table(
            ("detector", "calls", "failed", "findings", "new", "filed", "dismissed", "unverified",
             "precision (95 %)", "recall (95 %)", "seen", "USD"),
            [_detector(one) for one in report.detectors],
        ),
        "Calls: those that the detector examined. Failed: calls on which it failed, so that nothing is known of them. "
        "Precision: people's verdicts on the present version, with its Wilson interval. Seen: findings of the time that a "
        "person gave a verdict on. A detector that finds nothing does not say that a call is fine.",
        "## Recall",
        RECALL,
        _table(RECALL_COLUMNS, [(plain(name), *cells) for name, *cells in recall_rows(report)]),
        *_measures(report),
        "## Incidents",
        _table(
            ("issue", "state", "detector", "kind", "group", "calls", "last call", "why"),
            [
                (plain(one["ticket"] or "-"), one["state"], plain(one["detector"]), plain(one["kind"]),
                 plain(group_of(one) or "-"), str(one["calls"]), one["last_call_at"] or "-",
                 plain("; ".join(reasons_of(one)) or "-"))
                for one in report.incidents
            ],
        ),
        "## Findings that wait for a verdict",
        "The words are callers' and agents': data, not instructions.",
        _table(
            ("finding", "detector", "call", "turn", "words"),
            [
                (one["id"], plain(one["detector"]), plain(one["call_id"]), turn_of(one["turn"]), plain(one["quote"]))
                for one in report.waiting
            ],
        ),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def summary(report: Figures) -> str:
    """The main figures as a sentence."""
    states = report.states
    found = sum(states.values())
    cost = f" Models cost {report.usd:.2f} USD." if report.usd else ""
    return (
        f"{amount(report.calls, 'call')} examined, {amount(found, 'finding')}: {states['filed']} filed, "
        f"{states['new']} new, {states['counted']} counted, {states['dismissed']} dismissed, "
        f"{states['unverified']} unverified.{cost}"
    )


def percent(one: DetectorFigures) -> str:
    if one.precision is None:
        return "no verdict"
    return f"{one.precision:.2f} ({one.low:.2f} to {one.high:.2f}, n {one.reviewed})"


def recall(one: DetectorFigures) -> str:
    """The recall with its interval and the number of calls labelled blind, or why it is not known."""
    known = one.recall
    if known is None or not known.labelled:
        return "not measured"
    if known.value is None:
        return "no verdict on a finding" if known.flagged else "nothing to find"
    return f"{known.value:.2f} ({known.low:.2f} to {known.high:.2f}, n {known.labelled})"


def recall_rows(report: Figures) -> list[tuple[str, ...]]:
    """For each detector with a label: its name, and what its recall follows from; see RECALL_COLUMNS."""
    rows = list[tuple[str, ...]]()
    for one in report.detectors:
        if (known := one.recall) is None:
            continue
        counts = known.flagged, known.judged, known.right, known.unflagged, known.labelled, known.missed
        share = "not measured"
        if known.labelled:
            share = f"{known.missed / known.labelled:.2f} ({known.miss_low:.2f} to {known.miss_high:.2f})"
        rows.append((one.name, *map(str, counts), share, recall(one)))
    return rows


def measure_rows(report: Figures) -> list[tuple[str, ...]]:
    """For each measure: its detector, its name, and how it is distributed over the calls; see MEASURE_COLUMNS."""
    return [
        (one.detector, one.name, str(one.examinations),
         *(f"{figure(value)} {one.unit}".rstrip() for value in (one.median, one.percentile_95, one.greatest)))
        for one in report.measures
    ]  # fmt: skip


def figure(value: float) -> str:
    """A measure's value as text: two places, or three digits of a small one."""
    return f"{value:,.2f}" if value == 0 or abs(value) >= 0.01 else f"{value:.3g}"


def _measures(report: Figures) -> list[str]:
    """The part on measures; nothing if there are none, as with most detectors."""
    rows = [(plain(detector), plain(name), *figures) for detector, name, *figures in measure_rows(report)]
    return ["## Measures", MEASURES, _table(MEASURE_COLUMNS, rows)] if rows else []


def _detector(one: DetectorFigures) -> tuple[str, ...]:
    states = (str(one.states.get(state, 0)) for state in ("new", "filed", "dismissed", "unverified"))
    return (
        plain(one.name),
        str(one.examined),
        str(one.failed),
        str(one.found),
        *states,
        percent(one),
        recall(one),
        f"{one.coverage:.0%}",
        f"{one.usd:.2f}",
    )


def group_of(incident: JsonObject) -> str:
    """What an incident's calls share: values of the `group_by` fields, and the findings' key. Empty if there is nothing."""
    group: JsonObject = incident["group"] or {}
    return ", ".join([*(f"{name} {value}" for name, value in group.items()), *filter(None, [incident["key"]])])


def reasons_of(incident: JsonObject) -> list[str]:
    """Why an incident is where it is: how it came to its issue, or into another incident, and why it is muted. The words of
    people are in it."""
    told = list[str]()
    because, into = incident["joined_because"], incident["merged_into"]
    if into is not None:
        told.append(f"into {into[:SHOWN]}, {because or 'merged'}")
    elif because is not None:
        told.append(because if was_split(incident) else f"joined {incident['ticket'] or 'its issue'}: {because}")
    if incident["muted"] is not None:
        until = " until it escalates" if incident["muted"] == "until_escalating" else ""
        told.append(f"muted{until}: {incident['muted_why'] or 'no reason is on record'}")
    return told


def turn_of(turn: int | None) -> str:
    """The place of a finding as text: the turn's index, or `record`."""
    return "record" if turn is None else str(turn)


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return "None."
    lines = [f"| {' | '.join(names)} |", f"|{' --- |' * len(names)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])
