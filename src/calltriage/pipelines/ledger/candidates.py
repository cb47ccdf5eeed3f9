"""Findings of incidents that wait to be filed: accepted ones, and new ones that need no person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, false, func, or_, select, true

from calltriage.pipelines.ledger.ledger import Ledger
from calltriage.pipelines.ledger.rows import own
from calltriage.pipelines.ledger.tables import findings

MOST_WAITING = 1_000
"""Most incidents that `left` names."""
MOST_OF_INCIDENT = 2_000
"""Most findings that `of_incident` names."""


@dataclass(frozen=True)
class Candidate:
    """A finding that waits to be filed; `tables.findings` says what its fields mean."""

    id: str
    pipeline: str
    state: str
    why: str | None
    call_id: str
    detector: str
    kind: str
    version_hash: str
    turn: int | None
    quote: str
    note: str
    key: str | None
    severity: str | None
    call_began: str | None
    call_version: str | None
    run_id: str | None
    created_at: str

    @property
    def at(self) -> str:
        """When its call began; when it was found, if the begin is not known."""
        return self.call_began or self.created_at


@dataclass(frozen=True)
class Versions:
    """Versions of a detector, by their hashes; None: all of them. `identity`: its first name, which is in fingerprints."""

    detector: str
    hashes: tuple[str, ...] | None
    identity: str


@dataclass(frozen=True)
class Alone:
    """New findings that need no person: those that a pipeline found itself, with these versions of detectors.

    `with_a_person`: names of the pipeline's other detectors.
    """

    pipeline: str
    versions: tuple[Versions, ...]
    with_a_person: frozenset[str] = frozenset()

    def of(self, detector: str) -> Alone:
        """Those that an incident of this detector may hold; all of them for a name that the file does not have."""
        if detector in self.with_a_person:
            return Alone(self.pipeline, ())
        own = {one.identity for one in self.versions if one.detector == detector}
        return Alone(self.pipeline, tuple(one for one in self.versions if one.identity in own or not own))


OF_FAMILY = and_(own(findings), findings.c.fingerprint.in_(bindparam("family", expanding=True)))
"""Findings of incidents: the parameters `of_account` and `family`, their fingerprints."""
_CANDIDATES = (
    select(*(findings.c[name] for name in Candidate.__dataclass_fields__))
    .where(OF_FAMILY, findings.c.state.in_(("accepted", "new")))  # the index has it; an OR of states would not use it
    .order_by(findings.c.state, findings.c.call_began, findings.c.id)
    .limit(MOST_OF_INCIDENT)
)


def of_incident(
    connection: Connection, ledger: Ledger, fingerprints: Sequence[str], alone: Alone | None
) -> list[Candidate]:
    """Accepted findings, then new ones `alone`, each by the begin of their call: MOST_OF_INCIDENT at most, in which findings
    that are held back or wait for a person take no place. None: all new ones."""
    asked = {"of_account": ledger.account, "family": fingerprints}
    return [Candidate(*row) for row in connection.execute(_candidates_with(alone), asked)]


@lru_cache(maxsize=50)
def _candidates_with(alone: Alone | None) -> Select[Any]:
    if alone is None:
        return _CANDIDATES
    is_accepted = findings.c.state == "accepted"
    if not alone.versions:
        return _CANDIDATES.where(is_accepted)
    return _CANDIDATES.where(or_(is_accepted, and_(findings.c.pipeline == alone.pipeline, _is_new_of(alone.versions))))


def left(connection: Connection, ledger: Ledger, pipeline: str, alone: Sequence[Versions]) -> list[str]:
    """Incidents with accepted findings of a pipeline, then those with new ones of the detectors `alone`. The newest first,
    MOST_WAITING at most: a backlog does not keep a watch from what is found today."""
    where = and_(
        findings.c.account == ledger.account, findings.c.pipeline == pipeline, findings.c.fingerprint.is_not(None),
        or_(findings.c.state == "accepted", _is_new_of(alone)),
    )  # fmt: skip
    first = func.min(findings.c.state), func.max(findings.c.created_at).desc()  # accepted ones come first
    query = select(findings.c.fingerprint).where(where).group_by(findings.c.fingerprint).order_by(*first)
    return list(connection.execute(query.limit(MOST_WAITING)).scalars())


def _is_new_of(several: Sequence[Versions]) -> ColumnElement[bool]:
    """Findings that wait for nobody, of these versions of detectors."""
    of_detectors = (
        and_(
            findings.c.detector == one.detector,
            true() if one.hashes is None else findings.c.version_hash.in_(one.hashes),
        )
        for one in several
    )
    return and_(findings.c.state == "new", findings.c.why.is_(None), or_(false(), *of_detectors))
