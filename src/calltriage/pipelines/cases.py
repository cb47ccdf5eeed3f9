"""An incident as it is settled: its row of the ledger, and its findings that wait."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from calltriage.leaves.instants import instant
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.fields import Severity
from calltriage.pipelines.findings import SEVERITIES
from calltriage.pipelines.ledger import candidates, incidents
from calltriage.pipelines.ledger.candidates import Alone, Candidate
from calltriage.pipelines.ledger.effects import created, creation_of

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from calltriage.pipelines.ledger.ledger import Ledger
    from calltriage.pipelines.spec import FileAfter

URGENT = ("critical", "high")
"""Severities that are filed after one call, whatever `issues.file_after` says."""


@dataclass
class Case:
    """An incident as it is settled.

    Attributes:
        incident: its row of `tables.incidents`.
        family: its fingerprint and those merged into it.
        waiting: its accepted findings, and its new ones that need no person; of a muted incident, all new ones.
        created: id of the issue that was created last for it, where it has none now: that issue was deleted, or the process
            ended before the incident had it. None if none was created.
        creating: state of the write that creates its next issue, begun or refused; None if it was not begun.
        chosen: those of `waiting` that may be filed now.
    """

    incident: JsonObject
    family: list[str]
    waiting: list[Candidate]
    created: str | None = None
    creating: str | None = None
    chosen: list[Candidate] = field(default_factory=list[Candidate])

    @property
    def fingerprint(self) -> str:
        return self.incident["fingerprint"]

    @property
    def severity(self) -> Severity:
        found: list[Severity] = [rank for rank in SEVERITIES if any(one.severity == rank for one in self.chosen)]
        return found[0] if found else "medium"

    @property
    def has_accepted(self) -> bool:
        return any(one.state == "accepted" for one in self.chosen)

    @property
    def creation(self) -> str:
        """The key of the write that creates its next issue."""
        return creation_of(self.fingerprint, self.created)

    def read_created(self, connection: Connection, ledger: Ledger) -> None:
        """Read `created` and `creating` of an incident that has no issue."""
        found = created(connection, ledger, self.fingerprint)
        self.created, self.creating = found.issue_ids[-1] if found.issue_ids else None, found.state


def is_enough(found: Sequence[Candidate], after: FileAfter) -> bool:
    """Whether findings reach `issues.file_after`, or one of them is urgent or accepted."""
    urgent = any(one.severity in URGENT or one.state == "accepted" for one in found)
    return bool(found) and (urgent or _reaches(found, after.calls, after.within))


def _reaches(found: Sequence[Candidate], calls: int, within: timedelta) -> bool:
    """Whether at least `calls` different calls of the findings began within a span of `within`."""
    in_time = sorted((at, one.call_id) for one in found if (at := instant(one.at)) is not None)
    first = 0
    for last, (end, _) in enumerate(in_time):
        while end - in_time[first][0] > within:
            first += 1
        if len({call_id for _, call_id in in_time[first : last + 1]}) >= calls:
            return True
    return False


def read_case(connection: Connection, ledger: Ledger, fingerprint: str, alone: Alone) -> Case | None:
    """The case of a fingerprint, or of the incident that it was merged into; None for an unknown one. `alone`: which new
    findings need no person."""
    incident = incidents.by_fingerprint(connection, ledger, fingerprint)
    if incident is None:
        return None
    family = incidents.family(connection, ledger, incident["fingerprint"])
    own = alone.of(incident["detector"]) if len(family) == 1 else alone  # one merged into it may be of another detector
    which = own if incident["muted"] is None else None
    case = Case(incident, family, candidates.of_incident(connection, ledger, family, which))
    if incident["issue_id"] is None:
        case.read_created(connection, ledger)
    return case
