"""Incidents in the ledger: what a fingerprint has gathered, the issue that it owns, and what people decided about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from sqlalchemy import Connection, and_, func, select, update

from calltriage.errors import Conflict, NotFound
from calltriage.leaves.instants import instant
from calltriage.leaves.strict_json import JsonObject
from calltriage.pipelines.ledger.ledger import Ledger, written
from calltriage.pipelines.ledger.tables import findings, incidents

State = Literal["open", "waiting", "filed", "resolved", "regressed"]
Muted = Literal["always", "until_escalating"]
MUTED = "muted"
"""Why a finding is counted only."""
GATHERED = ("new", "accepted", "filed", "counted")
"""States of findings that speak for their incident."""
LEAST_CALLS, TIMES, DAYS = 5, 3, 7
"""An incident escalates when the last 24 hours have so many calls, and more than so many times the mean of the so many days
before."""
MOST_MERGED = 20
"""Merges that are followed to the incident that owns the issue."""


@dataclass(frozen=True)
class Candidate:
    """A finding that may become evidence."""

    id: str
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
        """When its call began; when it was found, where nobody knows that."""
        return self.call_began or self.created_at


_CANDIDATE = tuple(findings.c[name] for name in Candidate.__dataclass_fields__)


def by_fingerprint(connection: Connection, ledger: Ledger, fingerprint: str) -> JsonObject | None:
    """An incident; of one that was merged, the one that it was merged into."""
    for _ in range(MOST_MERGED):
        where = and_(incidents.c.account == ledger.account, incidents.c.fingerprint == fingerprint)
        row = connection.execute(select(incidents).where(where)).mappings().one_or_none()
        if row is None or row["merged_into"] is None:
            return None if row is None else dict(row)
        fingerprint = row["merged_into"]
    return None


def family(connection: Connection, ledger: Ledger, fingerprint: str) -> list[str]:
    """A fingerprint and all that were merged into it."""
    found, look = [fingerprint], [fingerprint]
    for _ in range(MOST_MERGED):
        query = select(incidents.c.fingerprint).where(
            incidents.c.account == ledger.account, incidents.c.merged_into.in_(look)
        )
        look = [name for (name,) in connection.execute(query) if name not in found]
        if not look:
            break
        found += look
    return found


def candidates(
    connection: Connection, ledger: Ledger, fingerprints: Sequence[str], limit: int = 2000
) -> list[Candidate]:
    """Findings of incidents that wait to be filed: accepted ones first, then by when their call began."""
    where = and_(
        findings.c.account == ledger.account,
        findings.c.fingerprint.in_(fingerprints),
        findings.c.state.in_(("new", "accepted")),
    )
    query = (
        select(*_CANDIDATE).where(where).order_by(findings.c.state, findings.c.call_began, findings.c.id).limit(limit)
    )
    return [Candidate(*row) for row in connection.execute(query)]


def change(connection: Connection, ledger: Ledger, fingerprint: str, **values: object) -> None:
    """Set members of an incident."""
    where = and_(incidents.c.account == ledger.account, incidents.c.fingerprint == fingerprint)
    connection.execute(update(incidents).where(where).values(**values, updated_at=ledger.now()))


def calls_between(connection: Connection, ledger: Ledger, fingerprints: Sequence[str], start: str, end: str) -> int:
    """Calls begun from an instant on and before another one in which an incident was found."""
    where = and_(
        findings.c.account == ledger.account,
        findings.c.fingerprint.in_(fingerprints),
        findings.c.state.in_(GATHERED),
        findings.c.call_began >= start,
        findings.c.call_began < end,
    )
    return connection.execute(select(func.count(findings.c.call_id.distinct())).where(where)).scalar_one()


def is_escalating(connection: Connection, ledger: Ledger, fingerprints: Sequence[str]) -> bool:
    """Whether an incident is found far more often than in the days before."""
    now = ledger.clock()
    yesterday = now - timedelta(days=1)
    lately = calls_between(connection, ledger, fingerprints, written(yesterday), written(now))
    if lately < LEAST_CALLS:
        return False
    before = calls_between(
        connection, ledger, fingerprints, written(yesterday - timedelta(days=DAYS)), written(yesterday)
    )
    return lately > TIMES * before / DAYS


def give_back(connection: Connection, ledger: Ledger, fingerprints: Sequence[str]) -> None:
    """Findings of the last 24 hours that only counted while their incident was muted are new again."""
    where = and_(
        findings.c.account == ledger.account,
        findings.c.fingerprint.in_(fingerprints),
        findings.c.state == "counted",
        findings.c.why == MUTED,
        findings.c.call_began >= written(ledger.clock() - timedelta(days=1)),
    )
    connection.execute(update(findings).where(where).values(state="new", why=None, updated_at=ledger.now()))


def was_expected(connection: Connection, ledger: Ledger, fingerprints: Sequence[str]) -> bool:
    """Whether a person dismissed a finding of an incident as expected."""
    where = and_(
        findings.c.account == ledger.account,
        findings.c.fingerprint.in_(fingerprints),
        findings.c.state == "dismissed",
        findings.c.why == "expected",
    )
    return connection.execute(select(findings.c.id).where(where).limit(1)).first() is not None


def listed(
    connection: Connection,
    ledger: Ledger,
    *,
    state: str | None = None,
    muted: bool | None = None,
    merged: bool = False,
    limit: int = 50,
) -> list[JsonObject]:
    """Incidents, the one that was found last first. With `merged`, those that were merged
    into others."""
    is_merged = incidents.c.merged_into.is_not(None) if merged else incidents.c.merged_into.is_(None)
    where = [incidents.c.account == ledger.account, is_merged]
    if state is not None:
        where.append(incidents.c.state == state)
    if muted is not None:
        where.append(incidents.c.muted.is_not(None) if muted else incidents.c.muted.is_(None))
    query = (
        select(incidents).where(*where).order_by(incidents.c.updated_at.desc(), incidents.c.fingerprint).limit(limit)
    )
    return [dict(row) for row in connection.execute(query).mappings()]


def named(connection: Connection, ledger: Ledger, name: str) -> JsonObject:
    """The one incident that a person names: by its fingerprint, its beginning, or its issue's ticket. Raises NotFound or
    Conflict."""
    text = name.removeprefix("calltriage-fp:").strip()
    text = text if text.lower().startswith(("v", "t-")) else f"v1:{text}"
    of_name = (
        incidents.c.ticket == text.upper()
        if text.lower().startswith("t-")
        else incidents.c.fingerprint.startswith(text.lower(), autoescape=True)
    )
    query = select(incidents).where(incidents.c.account == ledger.account, of_name, incidents.c.merged_into.is_(None))
    found = [dict(row) for row in connection.execute(query.limit(2)).mappings()]
    if not found:
        raise NotFound("No incident has this fingerprint or ticket. List them with: calltriage pipeline incidents")
    if len(found) > 1:
        raise Conflict("Several incidents begin so. Give more of the fingerprint.")
    return found[0]


def mute(connection: Connection, ledger: Ledger, fingerprint: str, how: Muted, why: str) -> None:
    """Let an incident count only, for good or until it escalates."""
    change(connection, ledger, fingerprint, muted=how, muted_at=ledger.now(), muted_why=why)


def unmute(connection: Connection, ledger: Ledger, fingerprint: str) -> None:
    change(connection, ledger, fingerprint, muted=None, muted_at=None, muted_why=None)


def merge(connection: Connection, ledger: Ledger, fingerprint: str, into: str, why: str) -> None:
    """Let an incident's findings go to another one's issue from now on. Raises Conflict where the two are one already."""
    if fingerprint == into or fingerprint in family(connection, ledger, into):
        raise Conflict("The two incidents are one already.")
    if into in family(connection, ledger, fingerprint):
        raise Conflict("The other one is merged into this one. Split it first.")
    change(connection, ledger, fingerprint, merged_into=into, joined_because=f"merged by a person: {why}")


SPLIT = "split by a person: "
"""How `joined_because` begins for an incident that a person split: it is filed by itself, however alike another issue is."""


def split(connection: Connection, ledger: Ledger, fingerprint: str, why: str) -> JsonObject:
    """Give an incident an issue of its own: it leaves the one that it was merged into, or the issue that it joined. Raises
    NotFound for one that stands alone."""
    query = select(incidents).where(
        incidents.c.account == ledger.account, incidents.c.fingerprint.startswith(fingerprint, autoescape=True)
    )
    rows = connection.execute(query.limit(2)).all()
    if len(rows) != 1:
        raise NotFound(
            "No single incident has this fingerprint. List them with: calltriage pipeline incidents --merged"
        )
    row = rows[0]
    if row.merged_into is None and (row.joined_because is None or row.joined_because.startswith(SPLIT)):
        raise NotFound("This incident is neither merged nor joined to an issue of others.")
    fresh: JsonObject = {"merged_into": None, "joined_because": f"{SPLIT}{why}"}
    if row.merged_into is None:
        fresh |= {"issue_id": None, "ticket": None, "state": "open", "evidence": 0, "resolved_at": None}
    change(connection, ledger, row.fingerprint, **fresh)
    return {"fingerprint": row.fingerprint, "left": row.merged_into or row.ticket}


def reaches(found: Sequence[Candidate], calls: int, within: timedelta) -> bool:
    """Whether so many different calls with a fault began within a while."""
    in_time = sorted((at, one.call_id) for one in found if (at := instant(one.at)) is not None)
    first = 0
    for last, (end, _) in enumerate(in_time):
        while end - in_time[first][0] > within:
            first += 1
        if len({call_id for _, call_id in in_time[first : last + 1]}) >= calls:
            return True
    return False
