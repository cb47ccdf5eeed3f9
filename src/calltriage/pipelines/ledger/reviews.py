"""Verdicts of people and agents on findings. Append-only: earlier verdicts stay. The last verdict of a person on a finding
counts; without one, the last of an agent.

An agent's verdict counts for a detector's precision only if the file sets `issues.agent_verdicts`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from sqlalchemy import Connection, insert, select
from uuid_utils import uuid7

from calltriage.leaves.strict_json import JsonObject
from calltriage.pipelines.ledger.ledger import Ledger
from calltriage.pipelines.ledger.tables import findings, reviews

Verdict = Literal["right", "wrong", "expected", "minor", "duplicate", "missed", "nothing"]
Reason = Literal["wrong", "expected", "minor", "duplicate"]
"""Why a finding is dismissed. Only `wrong` counts against the detector: the moment is not what the detector says."""
REASONS: tuple[Reason, ...] = get_args(Reason)
RIGHT: tuple[Verdict, ...] = ("right", "expected", "minor")
"""Verdicts that the moment is what the detector says."""
Role = Literal["human", "agent"]


@dataclass(frozen=True)
class Review:
    """One verdict, on a finding or on what a detector did not find.

    Attributes:
        by: the reviewer's name, as the system knows it.
        reason: the reviewer's own words.
    """

    call_id: str
    detector: str
    verdict: Verdict
    by: str
    role: Role
    reason: str | None = None
    finding_id: str | None = None
    kind: str | None = None
    turn: int | None = None
    quote: str | None = None


def add(connection: Connection, ledger: Ledger, review: Review) -> str:
    """Put a verdict on record. Returns its id, which says which of a process's verdicts of one millisecond is the last."""
    review_id = uuid7().hex
    row: JsonObject = {**review.__dict__, "account": ledger.account, "id": review_id, "at": ledger.now()}
    connection.execute(insert(reviews).values(row))
    return review_id


def of_finding(connection: Connection, ledger: Ledger, finding_id: str) -> list[JsonObject]:
    """The verdicts on a finding, oldest first."""
    query = select(reviews).where(reviews.c.account == ledger.account, reviews.c.finding_id == finding_id)
    return [dict(row) for row in connection.execute(query.order_by(reviews.c.at, reviews.c.id)).mappings()]


def counting(said: Iterable[JsonObject]) -> JsonObject | None:
    """Of a finding's verdicts the one that counts: the last of a person; without one, the last of an agent."""
    return max(said, key=lambda one: (one["role"], one["at"], one["id"]), default=None)


def is_said(said: Iterable[JsonObject], review: Review) -> bool:
    """Whether the last verdict of this role on a finding is this one by the same reviewer, without a new reason."""
    last = counting(one for one in said if one["role"] == review.role)
    same = last is not None and (last["by"], last["verdict"]) == (review.by, review.verdict)
    return last is not None and same and review.reason in (None, last["reason"])


@dataclass(frozen=True)
class Tally:
    """Numbers of findings of one detector version that were called right and wrong."""

    right: int = 0
    wrong: int = 0

    @property
    def total(self) -> int:
        return self.right + self.wrong


BY_WEIGHT = (reviews.c.role, reviews.c.at, reviews.c.id)
"""An order of verdicts in which the last one on a finding is the one that counts: "agent" comes before "human"."""


def tally_of(known: Mapping[tuple[str, str], Tally], names: Iterable[str], version_hash: str) -> Tally:
    """The tally of one version of a detector, under all of its names. `known`: see `tallies`."""
    found = [known.get((name, version_hash), Tally()) for name in dict.fromkeys(names)]
    return Tally(sum(one.right for one in found), sum(one.wrong for one in found))


def tallies(
    connection: Connection, ledger: Ledger, *, with_agents: bool = False, pipeline: str | None = None
) -> dict[tuple[str, str], Tally]:
    """Tallies by detector and version hash. One verdict on a finding counts; `duplicate` counts as neither.

    `with_agents`: an agent's verdict counts where no person has given one.
    """
    query = (
        select(reviews.c.finding_id, reviews.c.verdict, findings.c.detector, findings.c.version_hash)
        .join(findings, (findings.c.account == reviews.c.account) & (findings.c.id == reviews.c.finding_id))
        .where(reviews.c.account == ledger.account)
        .order_by(*BY_WEIGHT)
    )
    if not with_agents:
        query = query.where(reviews.c.role == "human")
    if pipeline is not None:
        query = query.where(findings.c.pipeline == pipeline)
    last = {row.finding_id: row for row in connection.execute(query)}
    found = dict[tuple[str, str], Tally]()
    for row in last.values():
        before = found.get((row.detector, row.version_hash), Tally())
        if row.verdict in RIGHT:
            found[row.detector, row.version_hash] = Tally(before.right + 1, before.wrong)
        elif row.verdict == "wrong":
            found[row.detector, row.version_hash] = Tally(before.right, before.wrong + 1)
    return found
