"""Reads the figures of a report from the ledger: findings, precision, and how many of them people have reviewed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, func, select

from calltriage.errors import SpecError
from calltriage.leaves.strict_json import JsonObject
from calltriage.pipelines.ledger import findings as of_findings
from calltriage.pipelines.ledger.blind import Recall, recalls
from calltriage.pipelines.ledger.ledger import Ledger
from calltriage.pipelines.ledger.measures import Distribution, distributions
from calltriage.pipelines.ledger.results import EXAMINED, last_verdicts
from calltriage.pipelines.ledger.reviews import Tally, tallies
from calltriage.pipelines.ledger.tables import findings, incidents, items, results, reviews, runs, spend
from calltriage.pipelines.spec import stored_spec
from calltriage.pipelines.statistics import wilson

LATEST = 10
"""Most findings without a verdict that a report shows."""
MOST_INCIDENTS = 20
"""Most incidents that a report shows."""


@dataclass(frozen=True)
class DetectorFigures:
    """Figures of one detector. They count findings and calls since the report's `since`, except `right` and `reviewed`.

    Attributes:
        states: numbers of findings by state.
        right, reviewed: findings of the present version that people called right, and all with a verdict, of all time.
        low, high: the 95 % interval of the precision.
        seen: findings with a person's verdict.
        examined, failed: calls that it examined, and calls on which it failed, each by its last result on the call.
        usd: what endpoints cost.
        recall: of all time, of the present version; None without a person's label on a call without a finding.
    """

    name: str
    states: dict[str, int]
    right: int
    reviewed: int
    low: float
    high: float
    seen: int
    examined: int
    failed: int
    usd: float
    recall: Recall | None = None

    @property
    def found(self) -> int:
        return sum(self.states.values())

    @property
    def precision(self) -> float | None:
        return self.right / self.reviewed if self.reviewed else None

    @property
    def coverage(self) -> float:
        """The share of its findings with a person's verdict."""
        return self.seen / self.found if self.found else 0.0


@dataclass(frozen=True)
class Figures:
    """A report's content.

    Attributes:
        pipeline: its name; None: all pipelines.
        since, until: the time in which the findings were made.
        calls: calls that some detector examined.
        by_day: numbers of findings by day of the call, then by detector.
        incidents: rows of the incidents that changed in the time, most calls first.
        measures: what detectors measured on calls, of their present versions.
        waiting: rows of the newest findings without a verdict. They hold callers' words.
    """

    pipeline: str | None
    since: str
    until: str
    calls: int
    detectors: list[DetectorFigures]
    by_day: dict[str, dict[str, int]]
    incidents: list[JsonObject]
    waiting: list[JsonObject]
    usd: float
    measures: list[Distribution]

    @property
    def days(self) -> list[str]:
        return sorted(self.by_day)

    @property
    def states(self) -> Counter[str]:
        total = Counter[str]()
        for one in self.detectors:
            total.update(one.states)
        return total


def gathered(
    connection: Connection, ledger: Ledger, since: str, pipeline: str | None = None, *, whole: bool = True
) -> Figures:
    """The figures since an instant, of all pipelines or one. Without `whole` there is no recall and no measure: all results
    are read for these.

    Results belong to a detector's version, not to a pipeline. Those of a pipeline are the results of the detectors that its
    files name, on the calls of its runs.
    """
    own = and_(findings.c.account == ledger.account, *([] if pipeline is None else [findings.c.pipeline == pipeline]))
    made = [own, findings.c.created_at >= since]
    here = and_(results.c.account == ledger.account, *_of_pipeline(connection, ledger, pipeline))
    looked = and_(here, results.c.at >= since)
    calls = select(func.count(results.c.call_id.distinct())).where(looked, results.c.verdict.in_(EXAMINED))
    judged = tallies(connection, ledger, pipeline=pipeline)
    wanted = of_findings.Wanted(state="new", pipeline=pipeline, since=since, limit=LATEST)
    paid = and_(spend.c.account == ledger.account, spend.c.at >= since, spend.c.state == "settled")
    paid = paid if pipeline is None else and_(paid, spend.c.pipeline == pipeline)
    versions = _versions(connection, own, here)
    measured = recalls(connection, ledger, versions, here) if whole else {}
    return Figures(
        pipeline=pipeline,
        since=since,
        until=ledger.now(),
        calls=connection.execute(calls).scalar_one(),
        detectors=_detectors(connection, made, looked, versions, judged, measured=measured),
        by_day=_by_day(connection, made),
        incidents=_incidents(connection, ledger, since, pipeline),
        waiting=of_findings.listed(connection, ledger, wanted),
        usd=float(connection.execute(select(func.sum(spend.c.usd)).where(paid)).scalar_one() or 0),
        measures=distributions(connection, looked, versions) if whole else [],
    )


def _of_pipeline(connection: Connection, ledger: Ledger, pipeline: str | None) -> list[Any]:
    """Conditions for the results of a pipeline; none for all pipelines."""
    if pipeline is None:
        return []
    own = and_(runs.c.account == ledger.account, runs.c.pipeline == pipeline)
    names = set[str]()
    for text in connection.execute(select(runs.c.spec).where(own).distinct()).scalars():
        try:
            names |= {name for one in stored_spec(text).detect for name in one.names}
        except SpecError:  # a file of an older version
            continue
    same = and_(items.c.account == results.c.account, items.c.call_id == results.c.call_id)
    of_runs = select(items.c.call_id).where(same, items.c.run_id.in_(select(runs.c.id).where(own)))
    return [results.c.detector.in_(names), of_runs.exists()]


def _detectors(
    connection: Connection,
    made: list[Any],
    looked: Any,
    versions: Mapping[str, str],
    judged: Mapping[tuple[str, str], Tally],
    *,
    measured: Mapping[str, Recall],
) -> list[DetectorFigures]:
    """`made`, `looked`: conditions for findings and results. `judged`: verdicts by detector and version. `measured`: recalls
    by detector."""
    by_state = select(findings.c.detector, findings.c.state, func.count()).where(*made)
    states = dict[str, dict[str, int]]()
    for name, state, count in connection.execute(by_state.group_by(findings.c.detector, findings.c.state)):
        states.setdefault(name, {})[state] = count
    paid = select(results.c.detector, func.sum(results.c.usd)).where(looked).group_by(results.c.detector)
    usd = {name: float(cost or 0) for name, cost in connection.execute(paid)}
    worked, seen = _worked(connection, looked), _seen(connection, made)
    found = list[DetectorFigures]()
    for name in sorted({*states, *worked}):
        tally = judged.get((name, versions.get(name, "")), Tally())
        low, high = wilson(tally.right, tally.total)
        verdicts = worked.get(name, Counter[str]())
        found.append(
            DetectorFigures(
                name, states.get(name, {}), tally.right, tally.total, low, high, seen.get(name, 0),
                sum(verdicts[one] for one in EXAMINED), verdicts["failed"], usd.get(name, 0.0),
                measured.get(name),
            )
        )  # fmt: skip
    return found


def _worked(connection: Connection, looked: Any) -> dict[str, Counter[str]]:
    """For each detector: numbers of calls by its last verdict on them, whatever version and content it was about."""
    last, verdict = last_verdicts(looked, results.c.call_id, results.c.detector)
    found = dict[str, Counter[str]]()
    query = select(last.c.detector, verdict, func.count()).group_by(last.c.detector, verdict)
    for name, one, count in connection.execute(query):
        found.setdefault(name, Counter[str]())[one] = count
    return found


def _seen(connection: Connection, made: list[Any]) -> dict[str, int]:
    is_reviewed = select(reviews.c.id).where(
        reviews.c.account == findings.c.account, reviews.c.finding_id == findings.c.id, reviews.c.role == "human"
    )
    query = select(findings.c.detector, func.count()).where(*made, is_reviewed.exists()).group_by(findings.c.detector)
    return {row[0]: row[1] for row in connection.execute(query)}


def _versions(connection: Connection, own: Any, here: Any) -> dict[str, str]:
    """The version hash of each detector's last result; of its last finding, if it has no result. `own`, `here`: conditions
    for findings and results."""
    found = dict[str, str]()
    for table, at, wanted in ((findings, findings.c.updated_at, own), (results, results.c.at, here)):
        query = select(table.c.detector, table.c.version_hash).where(wanted)
        query = query.group_by(table.c.detector, table.c.version_hash).order_by(func.max(at))
        found |= {name: version for name, version in connection.execute(query)}  # noqa: C416  rows are no pairs
    return found


def _by_day(connection: Connection, made: list[Any]) -> dict[str, dict[str, int]]:
    """Numbers of findings by the day on which the call began, or on which they were found if that is not known."""
    day = func.substr(func.coalesce(findings.c.call_began, findings.c.created_at), 1, 10)
    query = select(day, findings.c.detector, func.count()).where(*made).group_by(day, findings.c.detector)
    found = dict[str, dict[str, int]]()
    for at, name, count in connection.execute(query):
        found.setdefault(at, {})[name] = count
    return found


def _incidents(connection: Connection, ledger: Ledger, since: str, pipeline: str | None) -> list[JsonObject]:
    where = [incidents.c.account == ledger.account, incidents.c.updated_at >= since, incidents.c.merged_into.is_(None)]
    where += [] if pipeline is None else [incidents.c.pipeline == pipeline]
    query = select(incidents).where(*where).order_by(incidents.c.calls.desc(), incidents.c.fingerprint)
    return [dict(row) for row in connection.execute(query.limit(MOST_INCIDENTS)).mappings()]
