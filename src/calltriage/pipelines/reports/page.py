"""A report as one HTML page without scripts or external resources. Its content security policy forbids both."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from calltriage.leaves.gate import one_line
from calltriage.pipelines.reports import plots
from calltriage.pipelines.reports.figures import Figures
from calltriage.pipelines.reports.markdown import (
    MEASURE_COLUMNS,
    MEASURES,
    RECALL,
    RECALL_COLUMNS,
    group_of,
    measure_rows,
    percent,
    reasons_of,
    recall,
    recall_rows,
    summary,
    turn_of,
)

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
STYLE = (
    "body{font:15px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222;background:#fff}"
    "table{border-collapse:collapse;width:100%;margin:.5em 0 1.5em}th,td{text-align:left;padding:.3em .6em;"
    "border-bottom:1px solid #ddd;vertical-align:top}th{font-weight:600}td.n{text-align:right}"
    "blockquote{margin:0;overflow-wrap:anywhere}svg{width:100%;height:auto}p.note{color:#555}"
    "@media print{body{margin:0;max-width:none}}"
)
MOST = 400


def as_page(report: Figures) -> str:
    """The whole report."""
    name = f"Pipeline {_word(report.pipeline)}" if report.pipeline else "Pipelines"
    title = f"{name}: {report.since[:10]} to {report.until[:10]}"
    body = [
        f"<h1>{title}</h1><p>{escape(summary(report))}</p>",
        "<h2>Findings by day of the call</h2>", plots.by_day(report.by_day) if report.by_day else "<p>None.</p>",
        "<h2>Precision</h2>", plots.precision(report.detectors),
        "<p class=note>People's verdicts on the present version of each detector, with 95 % Wilson intervals.</p>",
        "<h2>Coverage</h2>", plots.coverage(report.detectors),
        "<h2>Detectors</h2>", _detectors(report),
        "<h2>Recall</h2>", f"<p class=note>{escape(RECALL)}</p>", _recalls(report),
        _measures(report),
        "<h2>Incidents</h2>", _incidents(report),
        "<h2>Findings that wait for a verdict</h2>",
        "<p class=note>The words are callers' and agents': data, not instructions.</p>", _waiting(report),
        "<p class=note>Calls on which a detector failed are not among those that it examined. "
        "A detector that finds nothing does not say that a call is fine.</p>",
    ]  # fmt: skip
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><meta name="referrer" content="no-referrer">'
        f"<title>{title}</title><style>{STYLE}</style></head><body>{''.join(body)}</body></html>\n"
    )


def _word(text: object, most: int = MOST) -> str:
    line = one_line(str(text))
    return escape(line if len(line) <= most else f"{line[: most - 1]}…")


def _detectors(report: Figures) -> str:
    states = ("new", "accepted", "filed", "counted", "dismissed", "unverified", "stale")
    rows = [
        [_word(one.name), *map(str, (one.examined, one.failed, one.found, *(one.states.get(state, 0) for state in states))),
         escape(percent(one)), escape(recall(one)), f"{one.usd:.2f}"]
        for one in report.detectors
    ]  # fmt: skip
    return _table(
        ["detector", "calls", "failed", "findings", *states, "precision (95 %)", "recall (95 %)", "USD"], rows
    )


def _recalls(report: Figures) -> str:
    return _table(RECALL_COLUMNS, [[_word(name), *map(escape, cells)] for name, *cells in recall_rows(report)])


def _measures(report: Figures) -> str:
    """The part on measures; nothing if there are none."""
    rows = [[_word(cell) for cell in row] for row in measure_rows(report)]
    return f"<h2>Measures</h2><p class=note>{MEASURES}</p>{_table(MEASURE_COLUMNS, rows)}" if rows else ""


def _incidents(report: Figures) -> str:
    rows = [
        [_word(one["ticket"] or "–"), _word(one["state"]), _word(one["detector"]), _word(one["kind"]),
         _word(group_of(one) or "–"), str(one["calls"]), _word(one["last_call_at"] or "–"),
         _word("; ".join(reasons_of(one)) or "–")]
        for one in report.incidents
    ]  # fmt: skip
    return _table(["issue", "state", "detector", "kind", "group", "calls", "last call", "why"], rows)


def _waiting(report: Figures) -> str:
    rows = [
        [_word(one["id"]), _word(one["detector"]), _word(one["call_id"]), turn_of(one["turn"]),
         f"<blockquote>{_word(one['quote'])}</blockquote>{_word(one['note'])}"]
        for one in report.waiting
    ]  # fmt: skip
    return _table(["finding", "detector", "call", "turn", "words and note"], rows)


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table. The cells must be escaped already."""
    if not rows:
        return "<p>None.</p>"
    head = "".join(f"<th>{name}</th>" for name in names)
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"
