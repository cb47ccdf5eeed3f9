"""Results: one row for each call, content of the call, detector and version, so that nothing is examined twice."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, case, func, or_, select

from calltriage.pipelines.findings import Measure
from calltriage.pipelines.ledger.items import TO_DO
from calltriage.pipelines.ledger.ledger import Ledger
from calltriage.pipelines.ledger.rows import add_new
from calltriage.pipelines.ledger.tables import items, measures, results

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Subquery


INSTANT = len("2026-05-06T12:00:00.000Z")
"""Characters of an instant in the ledger."""
_OF_MEASURE = (*results.primary_key.columns.keys(), "at")
"""What a measure has of its result."""
EXAMINED = ("found", "not_found", "cannot_tell")
"""Verdicts of a detector that examined the call."""


@dataclass(frozen=True)
class Result:
    """How one examination by a detector ended; see `tables.results`. `findings`: the verified ones. `usd`: cost. `ms`:
    duration in milliseconds. `measures`: figures of the call."""

    detector: str
    version_hash: str
    verdict: str
    findings: int = 0
    tokens: int = 0
    usd: float = 0.0
    ms: float = 0.0
    error: str | None = None
    measures: tuple[Measure, ...] = ()


@dataclass(frozen=True)
class Known:
    """How an earlier examination ended. `findings`: the number of its verified findings."""

    verdict: str
    findings: int = 0

    @property
    def has_verified(self) -> bool:
        return self.verdict == "found" and self.findings > 0


async def of_call(ledger: Ledger, call_id: str, content_hash: str) -> dict[tuple[str, str], Known]:
    """What is known of a call with this content, by detector and version hash."""
    columns = (results.c.detector, results.c.version_hash, results.c.verdict, results.c.findings)
    query = select(*columns).where(
        results.c.account == ledger.account, results.c.call_id == call_id, results.c.content_hash == content_hash
    )
    return await ledger.read(
        lambda connection: {
            (row.detector, row.version_hash): Known(row.verdict, row.findings) for row in connection.execute(query)
        }
    )


@dataclass(frozen=True)
class Made:
    """The results of detectors on a call with this content."""

    call_id: str
    content_hash: str
    results: Sequence[Result]


@dataclass(frozen=True)
class Share:
    """How many calls a detector examined in a time, and in how many of them it found something."""

    detector: str
    found: int
    calls: int


def shares(connection: Connection, ledger: Ledger, detectors: Collection[str], since: str) -> list[Share]:
    """The numbers of each detector since an instant. Only the verdicts found and not_found count."""
    found = func.count(case((results.c.verdict == "found", results.c.call_id)).distinct())
    query = (
        select(results.c.detector, found, func.count(results.c.call_id.distinct()))
        .where(results.c.account == ledger.account, results.c.at >= since)
        .where(results.c.detector.in_(detectors), results.c.verdict.in_(("found", "not_found")))
        .group_by(results.c.detector)
        .order_by(results.c.detector)
    )
    return [Share(*row) for row in connection.execute(query)]


_OF_ITEM = and_(*(results.c[name] == items.c[name] for name in ("account", "call_id", "content_hash")))
"""The condition that a result is of an item's call, as it was then."""


def of_versions(versions: Mapping[str, str]) -> ColumnElement[bool]:
    """Results of these versions of detectors. `versions`: version hashes by name."""
    return or_(*(and_(results.c.detector == name, results.c.version_hash == one) for name, one in versions.items()))


def last_verdicts(where: ColumnElement[bool], *by: ColumnElement[str]) -> tuple[Subquery, ColumnElement[str]]:
    """The last of these results for each value of the columns `by`: a subquery with these columns, and its verdict."""
    # Instants have one length: of texts that begin with one, the greatest is the last.
    dated = func.max(results.c.at + results.c.verdict).label("dated")
    last = select(*by, dated).where(where).group_by(*by).subquery()
    return last, func.substr(last.c.dated, INSTANT + 1)


def failures(connection: Connection, ledger: Ledger, run_id: str, versions: Mapping[str, str]) -> dict[str, int]:
    """On how many calls of a run detectors failed, by detector; calls that are tried again count, too. `versions`: version
    hashes by name."""
    at_all = (items.c.account == ledger.account, items.c.run_id == run_id, items.c.state.in_(("failed", *TO_DO)))
    query = select(results.c.detector, func.count()).select_from(items.join(results, _OF_ITEM)).where(*at_all)
    query = query.where(results.c.verdict == "failed", of_versions(versions))
    rows = connection.execute(query.group_by(results.c.detector).order_by(results.c.detector))
    return {row[0]: row[1] for row in rows}


MOST_REASONS = 10
"""Reasons of results that are read."""


@dataclass(frozen=True)
class Reason:
    """Why a detector did not examine calls. `verdict`: failed, not_offered. `why`: may hold an endpoint's words."""

    detector: str
    verdict: str
    calls: int
    why: str


def reasons(
    connection: Connection, ledger: Ledger, run_id: str, versions: Mapping[str, str] | None = None
) -> list[Reason]:
    """The most frequent reasons why detectors failed on calls of a run, or were not offered what they need. `versions`:
    version hashes by name; None for whatever version."""
    count = func.count()
    query = (
        select(results.c.detector, results.c.verdict, count, results.c.error)
        .select_from(items.join(results, _OF_ITEM))
        .where(items.c.account == ledger.account, items.c.run_id == run_id)
        .where(results.c.verdict.in_(("failed", "not_offered")), results.c.error.is_not(None))
        .group_by(results.c.detector, results.c.verdict, results.c.error)
        .order_by(count.desc(), results.c.detector, results.c.error)
        .limit(MOST_REASONS)
    )
    if versions:
        query = query.where(of_versions(versions))
    return [Reason(*row) for row in connection.execute(query)]


def store(connection: Connection, ledger: Ledger, made: Sequence[Made]) -> None:
    """Store results and their measures. A later result replaces a failure; any other one stays."""
    at, rows, figures = ledger.now(), list[dict[str, Any]](), list[dict[str, Any]]()
    for one in made:
        of_call = {"account": ledger.account, "call_id": one.call_id, "content_hash": one.content_hash, "at": at}
        for result in one.results:
            row = {**of_call, **vars(result)}
            if measured := row.pop("measures"):
                of_result = {name: row[name] for name in _OF_MEASURE}
                figures += ({**of_result, **vars(each)} for each in measured)
            rows.append(row)
    add_new(connection, results, rows, replacing=("verdict", "failed"))
    add_new(connection, measures, figures)


def has_some(connection: Connection, ledger: Ledger) -> bool:
    """Whether any call was examined."""
    query = select(results.c.call_id).where(results.c.account == ledger.account, results.c.verdict.in_(EXAMINED))
    return connection.execute(query.limit(1)).first() is not None
