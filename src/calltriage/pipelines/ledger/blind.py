"""Calls that people label blind, without a finding to look at: from them follows how much a detector misses.

`sample` names calls, and `remember` keeps that it did. A label on another call was given because somebody came upon the
moment. It counts for that call alone, never as one of a random sample.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, func, select

from calltriage.pipelines.ledger.ledger import Ledger
from calltriage.pipelines.ledger.results import EXAMINED, last_verdicts
from calltriage.pipelines.ledger.reviews import RIGHT
from calltriage.pipelines.ledger.rows import add_new
from calltriage.pipelines.ledger.tables import findings, labels, results, reviews
from calltriage.pipelines.statistics import Bounded, fraction_interval, wilson

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Select

LABELS = ("missed", "nothing")
"""Verdicts on a call without a finding."""
SAMPLE = "sample"
"""`source` of a row that says that a call was named to be labelled blind."""
EVERY = ""
"""`detector` of such a row for a call that was named for all detectors."""
NO_TURN = -1
SILENT = ("unverified", "stale")
"""States of findings that flag no call: nobody said the words, or the present version does not find them."""


@dataclass(frozen=True)
class Recall:
    """How many of the calls that hold a moment for a detector it flags; of all time, for its present version.

    The calls that it examined are two strata: F flagged ones and U unflagged ones. Of `judged` flagged calls people found
    `right` to have a right finding, so F·p calls are rightly flagged, p = right / judged. Of `labelled` unflagged calls,
    drawn at random and labelled blind, `missed` have a miss. `known` unflagged calls were labelled without being drawn;
    `known_missed` of them have a miss, and they stand for themselves. So M = known_missed + (U - known)·m calls are missed,
    m = missed / labelled, and

        recall = F·p / (F·p + M).

    This is the estimate of a total from a stratified sample (Cochran, Sampling Techniques, 3rd edition, section 5.3), put
    into both parts of the ratio. Bounds: Wilson's of p and m, brought together by `statistics.fraction_interval`. The unit
    is the call: moments that are missed in a flagged call do not count.

    Attributes:
        value: the recall. None without a blind label, without a verdict on any finding there is, or if nothing was found and
            nothing missed.
        low, high: its 95 % interval.
        miss_low, miss_high: the 95 % interval of m.
    """

    flagged: int
    judged: int
    right: int
    unflagged: int
    labelled: int
    missed: int
    known: int
    known_missed: int
    value: float | None
    low: float
    high: float
    miss_low: float
    miss_high: float

    @classmethod
    def of(
        cls, *, flagged: int, judged: int, right: int, unflagged: int, labelled: int, missed: int, known: int = 0,
        known_missed: int = 0,
    ) -> Recall:  # fmt: skip
        """The recall that follows from these numbers of calls."""
        precision, share = wilson(right, judged), wilson(missed, labelled)
        drawn = unflagged - known
        value, (low, high) = None, (0.0, 1.0)
        if labelled and (judged or not flagged):
            found = Bounded(*(flagged * one for one in (right / judged if judged else 0.0, *precision)))
            lost = Bounded(*(known_missed + drawn * one for one in (missed / labelled, *share)))
            if found.value + lost.value > 0:
                value, (low, high) = found.value / (found.value + lost.value), fraction_interval(found, lost)
        return cls(
            flagged, judged, right, unflagged, labelled, missed, known, known_missed, value, low, high, *share
        )  # fmt: skip


def recalls(
    connection: Connection, ledger: Ledger, versions: Mapping[str, str], here: ColumnElement[bool]
) -> dict[str, Recall]:
    """The recall of each detector for which people labelled calls. `versions`: the present version hash by detector. `here`:
    a condition for the results that count."""
    known = select(reviews.c.detector).where(_is_label(ledger))
    names = sorted(set(connection.execute(known.distinct()).scalars()) & versions.keys())
    return {name: _recall(connection, ledger, name, versions[name], here) for name in names}


def _recall(connection: Connection, ledger: Ledger, name: str, version: str, here: ColumnElement[bool]) -> Recall:
    calls = _calls(ledger, name, version, here).subquery()
    counts = select(calls.c.is_flagged, func.count()).group_by(calls.c.is_flagged)
    sizes = {bool(is_flagged): count for is_flagged, count in connection.execute(counts)}
    right = _right(connection, ledger, name, calls)
    blind, known = dict[str, bool](), dict[str, bool]()
    was_named = select(labels.c.call_id).where(
        labels.c.account == ledger.account, labels.c.call_id == reviews.c.call_id, labels.c.source == SAMPLE,
        labels.c.detector.in_((name, EVERY)),
    )  # fmt: skip
    query = (
        select(reviews.c.call_id, reviews.c.verdict, was_named.exists().label("is_blind"))
        .join(calls, calls.c.call_id == reviews.c.call_id)
        .where(_is_label(ledger), reviews.c.detector == name, ~calls.c.is_flagged)
        .order_by(reviews.c.at, reviews.c.id)
    )  # fmt: skip
    for row in connection.execute(query):  # the last label on a call counts
        (blind if row.is_blind else known)[row.call_id] = row.verdict == "missed"
    return Recall.of(
        flagged=sizes.get(True, 0), judged=len(right), right=sum(right.values()), unflagged=sizes.get(False, 0),
        labelled=len(blind), missed=sum(blind.values()), known=len(known), known_missed=sum(known.values()),
    )  # fmt: skip


def _right(connection: Connection, ledger: Ledger, name: str, calls: Any) -> dict[str, bool]:
    """Of the flagged calls with a person's verdict: whether one of their findings is right. `duplicate` says neither."""
    query = (
        select(findings.c.call_id, findings.c.id, reviews.c.verdict)
        .join(calls, calls.c.call_id == findings.c.call_id)
        .join(reviews, and_(reviews.c.account == findings.c.account, reviews.c.finding_id == findings.c.id))
        .where(
            findings.c.account == ledger.account, findings.c.detector == name, findings.c.state.not_in(SILENT),
            calls.c.is_flagged, reviews.c.role == "human",
        )
        .order_by(reviews.c.at, reviews.c.id)
    )  # fmt: skip
    last = {row.id: row for row in connection.execute(query)}
    found = dict[str, bool]()
    for row in last.values():
        if row.verdict in RIGHT or row.verdict == "wrong":
            found[row.call_id] = found.get(row.call_id, False) or row.verdict in RIGHT
    return found


def _calls(ledger: Ledger, name: str, version: str, here: ColumnElement[bool]) -> Select[Any, bool]:
    """The calls that a version of a detector examined, by its last result on each, and whether it flags them."""
    of_version = and_(here, results.c.detector == name, results.c.version_hash == version)
    last, verdict = last_verdicts(of_version, results.c.call_id)
    has_finding = select(findings.c.id).where(
        findings.c.account == ledger.account, findings.c.call_id == last.c.call_id, findings.c.detector == name,
        findings.c.state.not_in(SILENT),
    )  # fmt: skip
    is_flagged = and_(verdict == "found", has_finding.exists()).label("is_flagged")
    return select(last.c.call_id, is_flagged).where(verdict.in_(EXAMINED))


def sample(connection: Connection, ledger: Ledger, most: int, detector: str | None = None) -> list[str]:
    """Ids of examined calls without a finding, to be labelled blind: in the order of a hash of their ids, until a person has
    labelled them.

    With `detector`: calls that its present version examined and does not flag, until they are labelled for it. Else: calls
    without any finding, until they are labelled for some detector. All results are read: call it outside of writes, and
    `remember` what it names.
    """
    query = _without_any(ledger) if detector is None else _without_its(connection, ledger, detector)
    ids: Iterator[str] = connection.execute(query, execution_options={"yield_per": 1000}).scalars()
    return heapq.nsmallest(most, ids, key=_order)


def remember(connection: Connection, ledger: Ledger, call_ids: Sequence[str], detector: str | None = None) -> None:
    """Remember that calls were named to be labelled blind: for a detector, or for all of them."""
    about = {"account": ledger.account, "detector": detector or EVERY, "turn": NO_TURN, "at": ledger.now()}
    rows = [{**about, "call_id": one, "verdict": "named", "source": SAMPLE, "split": None} for one in call_ids]
    add_new(connection, labels, rows)


def _is_labelled(ledger: Ledger, call_id: Any, *narrowed: ColumnElement[bool]) -> ColumnElement[bool]:
    return select(reviews.c.id).where(_is_label(ledger), reviews.c.call_id == call_id, *narrowed).exists()


def _is_label(ledger: Ledger) -> ColumnElement[bool]:
    """A person's verdict on a call without a finding."""
    return and_(reviews.c.account == ledger.account, reviews.c.role == "human", reviews.c.verdict.in_(LABELS))


def _without_any(ledger: Ledger) -> Select[Any]:
    has_finding = select(findings.c.id).where(
        findings.c.account == ledger.account, findings.c.call_id == results.c.call_id
    )
    here = and_(results.c.account == ledger.account, results.c.verdict.in_(EXAMINED))
    query = select(results.c.call_id).where(here, ~has_finding.exists(), ~_is_labelled(ledger, results.c.call_id))
    return query.distinct()


def _without_its(connection: Connection, ledger: Ledger, detector: str) -> Select[Any]:
    own = and_(results.c.account == ledger.account, results.c.detector == detector)
    newest = select(results.c.version_hash).where(own).group_by(results.c.version_hash)
    version = connection.execute(newest.order_by(func.max(results.c.at).desc()).limit(1)).scalar_one_or_none()
    calls = _calls(ledger, detector, version or "", own).subquery()
    is_labelled = _is_labelled(ledger, calls.c.call_id, reviews.c.detector == detector)
    return select(calls.c.call_id).where(~calls.c.is_flagged, ~is_labelled)


def _order(call_id: str) -> bytes:
    return blake2b(call_id.encode("utf-8", "backslashreplace"), digest_size=16).digest()
