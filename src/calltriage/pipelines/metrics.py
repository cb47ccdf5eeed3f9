"""Figures of a run in Prometheus's text format. No words of a call."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal

from sqlalchemy import func, select

from calltriage.leaves.instants import instant
from calltriage.pipelines.ledger import items, runs
from calltriage.pipelines.ledger.ledger import Ledger
from calltriage.pipelines.ledger.runs import Run
from calltriage.pipelines.ledger.tables import findings, spend
from calltriage.pipelines.tallies import Tally

if TYPE_CHECKING:
    from sqlalchemy import Connection

Samples = list[tuple[dict[str, str], float]]


async def metrics(ledger: Ledger, run: Run, tally: Tally) -> str:
    """Items by state, findings by detector and state, shares of unverified findings, requests, seconds since the oldest item
    was due, and USD spent today (UTC). By `tally`, of this process alone: calls that each detector examined, calls on
    which it failed, and what it measured."""
    now = await runs.get(ledger, run.id)
    by_state = await ledger.read(lambda connection: _findings(connection, ledger, run.pipeline))
    usd = await ledger.read(lambda connection: _usd(connection, ledger, run.pipeline))
    due = instant(await items.next_due(ledger, run.id))
    behind = 0.0 if due is None else max(0.0, (ledger.clock() - due).total_seconds())
    name = {"pipeline": run.pipeline}
    return "".join(
        (
            _told(
                "calltriage_pipeline_items", "gauge", [({**name, "state": s}, n) for s, n in sorted(now.counts.items())]
            ),
            _told("calltriage_pipeline_findings", "gauge", [({**name, **labels}, n) for labels, n in by_state]),
            _told("calltriage_pipeline_unverified_ratio", "gauge", _unverified(name, by_state)),
            _told("calltriage_pipeline_examined_total", "counter", _by_detector(name, tally, "calls")),
            _told("calltriage_pipeline_detector_failures_total", "counter", _by_detector(name, tally, "failed")),
            _measured(name, tally),
            _told("calltriage_pipeline_requests_total", "counter", [(name, now.requests)]),
            _told("calltriage_pipeline_seconds_behind", "gauge", [(name, behind)]),
            _told("calltriage_pipeline_usd_today", "gauge", [(name, usd)]),
        )
    )


def _findings(connection: Connection, ledger: Ledger, pipeline: str) -> Samples:
    query = select(findings.c.detector, findings.c.state, func.count()).where(
        findings.c.account == ledger.account, findings.c.pipeline == pipeline
    )
    rows = connection.execute(
        query.group_by(findings.c.detector, findings.c.state).order_by(*query.selected_columns[:2])
    )
    return [({"detector": detector, "state": state}, count) for detector, state, count in rows]


def _unverified(name: dict[str, str], by_state: Samples) -> Samples:
    """The share of each detector's findings that are unverified."""
    found, unverified = Counter[str](), Counter[str]()
    for labels, count in by_state:
        found[labels["detector"]] += round(count)
        unverified[labels["detector"]] += round(count) if labels["state"] == "unverified" else 0
    return [({**name, "detector": one}, unverified[one] / found[one]) for one in sorted(found)]


def _by_detector(name: dict[str, str], tally: Tally, figure: Literal["calls", "failed"]) -> Samples:
    return [({**name, "detector": one.name}, getattr(one, figure)) for one in tally.detectors.values()]


def _measured(name: dict[str, str], tally: Tally) -> str:
    """The number and the sum of the values of each measure, as a summary without quantiles."""
    counts, sums = Samples(), Samples()
    for detector in tally.detectors.values():
        for one in detector.measures.values():
            labels = {**name, "detector": detector.name, "measure": one.name, "unit": one.unit}
            counts.append((labels, one.calls))
            sums.append((labels, one.sum))
    measure = "calltriage_pipeline_measure"
    return f"# TYPE {measure} summary\n{_lines(f'{measure}_count', counts)}{_lines(f'{measure}_sum', sums)}"


def _usd(connection: Connection, ledger: Ledger, pipeline: str) -> float:
    query = select(func.coalesce(func.sum(spend.c.usd + spend.c.reserved_usd), 0.0)).where(
        spend.c.account == ledger.account, spend.c.pipeline == pipeline, spend.c.day == ledger.now()[:10]
    )
    return connection.execute(query).scalar_one()


def _told(name: str, kind: str, samples: Samples) -> str:
    return f"# TYPE {name} {kind}\n{_lines(name, samples)}"


def _lines(name: str, samples: Samples) -> str:
    return "".join(f"{name}{{{_labels(labels)}}} {value:.15g}\n" for labels, value in samples)


def _labels(labels: dict[str, str]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
