"""Counts what a run finds. Its memory is bounded, however many calls the run reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from calltriage.pipelines.examining import FAILED, SAMPLED_OUT, Examination, Found, Prepared
from calltriage.pipelines.findings import MISSING, Verification
from calltriage.pipelines.ledger.measures import MOST_MEASURES
from calltriage.pipelines.ledger.results import EXAMINED, Result

EXAMPLES = 5
"""Findings of each detector that a report shows."""
MOST_INCIDENTS = 10_000
"""Fingerprints that are counted; findings of further ones count for their detector only."""


@dataclass
class Measured:
    """A measure over the calls of a run. `sum`: of its values, one for each of the `calls`."""

    name: str
    unit: str
    calls: int = 0
    sum: float = 0.0

    def add(self, value: float) -> None:
        self.calls, self.sum = self.calls + 1, self.sum + value

    @property
    def mean(self) -> float:
        return self.sum / self.calls


@dataclass
class DetectorTally:
    """Numbers of one detector: calls by verdict, findings by kind, and examples. `ms`: milliseconds in all."""

    name: str
    version_hash: str
    file: str
    calls: int = 0
    """Calls that it examined, without those on which it failed, that have to wait, or that it does not examine."""
    known: int = 0
    """Calls on which it had a verdict before."""
    found_in: int = 0
    findings: int = 0
    unverified: int = 0
    suppressed: int = 0
    not_offered: int = 0
    cannot_tell: int = 0
    failed: int = 0
    sampled_out: int = 0
    ms: float = 0.0
    usd: float = 0.0
    why: str | None = None
    """The last reason of a failure, else of another result."""
    examples: list[Found] = field(default_factory=list[Found])
    measures: dict[tuple[str, str], Measured] = field(default_factory=dict[tuple[str, str], Measured])
    """By name and unit, MOST_MEASURES at most."""

    def add(self, result: Result) -> None:
        verdict, why = result.verdict, result.error
        if verdict == SAMPLED_OUT:
            self.sampled_out += 1
            return
        self.calls += verdict in EXAMINED
        self.found_in += verdict == "found"
        self.not_offered += verdict == "not_offered"
        self.cannot_tell += verdict == "cannot_tell"
        self.failed += verdict == FAILED
        self.ms, self.usd = self.ms + result.ms, self.usd + result.usd
        for one in result.measures:
            key = (one.name, one.unit)
            if key in self.measures or len(self.measures) < MOST_MEASURES:
                self.measures.setdefault(key, Measured(*key)).add(one.value)
        if why is not None and (verdict == FAILED or not self.failed):
            self.why = why


@dataclass
class Incident:
    """Findings with one fingerprint. `calls`: calls with such a finding. `group`: their values of the `group_by` fields."""

    detector: str
    kind: str
    key: str | None
    severity: str | None
    calls: int = 0
    group: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass
class Tally:
    """Numbers of a run.

    Attributes:
        detectors: numbers of each detector, by name.
        calls: examined calls.
        skipped: listed calls that did not exist any more.
        unsettled: listed calls that a dry run left out because they had not settled.
        others: listed calls that ended without an examination here: the API refused them, or another process had examined
            them.
        deferred: the last reason for which something has to wait; None if nothing has.
        incidents: by fingerprint, MOST_INCIDENTS at most.
        grouped: the `group_by` fields of detectors with verified findings: whether a call with one of them has the field.
    """

    detectors: dict[str, DetectorTally]
    calls: int = 0
    skipped: int = 0
    unsettled: int = 0
    others: int = 0
    deferred: str | None = None
    incidents: dict[str, Incident] = field(default_factory=dict[str, Incident])
    grouped: dict[tuple[str, str], bool] = field(default_factory=dict[tuple[str, str], bool])
    _left: set[str] = field(default_factory=set[str], init=False)

    @classmethod
    def of(cls, prepared: Sequence[Prepared]) -> Tally:
        return cls(
            {
                one.detector.name: DetectorTally(one.detector.name, one.detector.version_hash, one.detect.file)
                for one in prepared
            }
        )

    @property
    def left(self) -> int:
        """Calls of which something is left for later: a detector has to wait, or its failure may pass."""
        return len(self._left)

    @property
    def done(self) -> int:
        """Listed calls that this process is done with."""
        return self.calls + self.left + self.skipped + self.others

    @property
    def lacking(self) -> list[str]:
        """A sentence on each `group_by` field that no call with findings of its detector has."""
        return [
            f"{detector}: group_by {name}: no call with findings has it; all belong to one group."
            for (detector, name), has in self.grouped.items()
            if not has
        ]

    @property
    def failures(self) -> dict[str, int]:
        """Numbers of calls on which detectors failed, by detector; without those that did not fail."""
        return {name: one.failed for name, one in self.detectors.items() if one.failed}

    def add_other(self, call_id: str) -> None:
        """Count one call that ended without an examination here."""
        self.others += 1
        self._left.discard(call_id)

    def add(self, examination: Examination, left: str | None = None) -> None:
        """Count one call. `left`: why something of it is left for later; failures do not count yet then."""
        call_id = examination.call.call_id
        if left is None:
            self.calls += 1
            self._left.discard(call_id)
        else:
            self._left.add(call_id)
        self.deferred = left or (self.deferred if self._left else None)
        for result in examination.results:
            if left is None or result.verdict != FAILED:
                self.detectors[result.detector].add(result)
        for name in examination.known:
            self.detectors[name].known += 1
        shown = dict[str, Incident]()
        for found in examination.found:
            shown |= self._add_finding(found)
        for incident in shown.values():
            incident.calls += 1

    def _add_finding(self, found: Found) -> dict[str, Incident]:
        """Count one finding. Returns its incident by fingerprint; empty if it is not to be filed."""
        one, tally = found.verified, self.detectors[found.verified.detector]
        tally.findings += 1
        if one.verification is Verification.UNVERIFIED:
            tally.unverified += 1
            return {}
        for name, value in one.group.items():
            self.grouped[one.detector, name] = self.grouped.get((one.detector, name), False) or value != MISSING
        tally.suppressed += found.suppressed_by is not None
        if len(tally.examples) < EXAMPLES:
            tally.examples.append(found)
        is_counted = found.suppressed_by is not None or found.detect.file == "count"
        if is_counted or (one.fingerprint not in self.incidents and len(self.incidents) >= MOST_INCIDENTS):
            return {}
        new = Incident(one.detector, one.kind, one.key, one.severity, group=one.group)
        return {one.fingerprint: self.incidents.setdefault(one.fingerprint, new)}
