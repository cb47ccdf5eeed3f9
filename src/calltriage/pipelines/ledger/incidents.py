"""Incidents in the ledger: all findings of a fingerprint, the issue that they are filed on, and people's decisions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Literal

from sqlalchemy import ColumnElement, Connection, and_, bindparam, func, select, update

from calltriage.errors import Conflict, NotFound
from calltriage.leaves.instants import written
from calltriage.leaves.strict_json import JsonObject
from calltriage.pipelines.ledger.candidates import OF_FAMILY
from calltriage.pipelines.ledger.findings import FILED
from calltriage.pipelines.ledger.ledger import Ledger
from calltriage.pipelines.ledger.rows import own
from calltriage.pipelines.ledger.tables import findings, incidents

State = Literal["open", "waiting", "filed", "resolved", "regressed"]
Muted = Literal["always", "until_escalating"]
MUTED = "muted"
"""Reason of a finding that is counted because its incident is muted."""
BEYOND = "its issue has as many calls as it may hold"
"""Reason of a finding that is counted and not attached. Its `issue_id` is that issue."""
GATHERED = ("new", "accepted", "filed", "counted")
"""States of findings that count when `is_escalating` decides."""
LEAST_CALLS, TIMES, DAYS = 5, 3, 7
"""An incident escalates when the last 24 hours have at least LEAST_CALLS calls, and more than TIMES the daily mean of the
DAYS days before."""
MOST_NAMED = 20
"""Most incidents that one name may mean before a person is asked which."""
SHOWN = len("v1:") + 16
"""Characters of a fingerprint that people are shown, enough to name an incident by."""
MOST_TOLD = 1_000
"""Characters of a sentence that lists incidents."""
MOST_LEFT = 200
"""Most incidents that `with_counts` names."""
MOST_MERGED = 20
"""Longest chain of merges that is followed."""


_INCIDENT = select(incidents).where(own(incidents, "fingerprint"))
_CHANGE = update(incidents).where(own(incidents, "fingerprint"))
_MERGED = select(incidents.c.fingerprint).where(
    own(incidents), incidents.c.merged_into.in_(bindparam("into", expanding=True))
)
_COUNT_NEW = update(findings).where(OF_FAMILY, findings.c.state == "new").values(
    state="counted", why=MUTED, updated_at=bindparam("at")
)  # fmt: skip
_CALLS = select(func.count(findings.c.call_id.distinct())).where(OF_FAMILY)
_GATHERED = _CALLS.where(findings.c.state.in_(("filed", "counted")))
_BEYOND = _CALLS.where(
    own(findings, "issue_id"), findings.c.state == "counted", findings.c.why == BEYOND,
    findings.c.call_id.not_in(FILED),
)  # fmt: skip


def by_fingerprint(connection: Connection, ledger: Ledger, fingerprint: str) -> JsonObject | None:
    """The row of an incident, or of the one that it was merged into; None if there is none."""
    for _ in range(MOST_MERGED):
        asked = {"of_account": ledger.account, "of_fingerprint": fingerprint}
        row = connection.execute(_INCIDENT, asked).mappings().one_or_none()
        if row is None or row["merged_into"] is None:
            return None if row is None else dict(row)
        fingerprint = row["merged_into"]
    return None


def family(connection: Connection, ledger: Ledger, fingerprint: str) -> list[str]:
    """A fingerprint and all fingerprints that were merged into it, directly or through others."""
    found, look = [fingerprint], [fingerprint]
    for _ in range(MOST_MERGED):
        merged = connection.execute(_MERGED, {"of_account": ledger.account, "into": look})
        look = [name for (name,) in merged if name not in found]
        if not look:
            break
        found += look
    return found


def count_new(connection: Connection, ledger: Ledger, fingerprints: Sequence[str]) -> None:
    """Count the new findings of a muted incident."""
    connection.execute(_COUNT_NEW, {"of_account": ledger.account, "family": fingerprints, "at": ledger.now()})


def change(connection: Connection, ledger: Ledger, fingerprint: str, **values: object) -> None:
    """Set columns of an incident."""
    this = {"of_account": ledger.account, "of_fingerprint": fingerprint}
    connection.execute(_CHANGE, {**this, **values, "updated_at": ledger.now()})


def calls_between(connection: Connection, ledger: Ledger, fingerprints: Sequence[str], start: str, end: str) -> int:
    """Number of calls of these incidents that began at `start` or later and before `end`."""
    where = and_(
        findings.c.account == ledger.account,
        findings.c.fingerprint.in_(fingerprints),
        findings.c.state.in_(GATHERED),
        findings.c.call_began >= start,
        findings.c.call_began < end,
    )
    return connection.execute(select(func.count(findings.c.call_id.distinct())).where(where)).scalar_one()


def calls_gathered(connection: Connection, ledger: Ledger, fingerprint: str) -> int:
    """Number of calls of an incident that are evidence of its issue or counted: no findings that wait for a person, and none
    that were dismissed."""
    asked = {"of_account": ledger.account, "family": family(connection, ledger, fingerprint)}
    return connection.execute(_GATHERED, asked).scalar_one()


def calls_beyond(connection: Connection, ledger: Ledger, incident: JsonObject) -> int:
    """Number of calls of an incident that are counted and not attached because its present issue was full."""
    of_family = family(connection, ledger, incident["fingerprint"])
    asked = {"of_account": ledger.account, "of_issue_id": incident["issue_id"], "family": of_family}
    return connection.execute(_BEYOND, asked).scalar_one()


def with_counts(connection: Connection, ledger: Ledger, pipeline: str, today: str) -> list[str]:
    """Incidents of a pipeline with open issues of which calls may have been counted on days before `today` and not told:
    MOST_LEFT at most, those that have waited longest."""
    since = func.coalesce(incidents.c.commented_on, "")
    counted = select(findings.c.id).where(
        findings.c.account == incidents.c.account, findings.c.issue_id == incidents.c.issue_id,
        findings.c.state == "counted", findings.c.why == BEYOND,
        findings.c.updated_at >= func.substr(since, 1, len(ledger.now())),
    )  # fmt: skip
    where = and_(
        incidents.c.account == ledger.account, incidents.c.pipeline == pipeline,
        incidents.c.state.in_(("filed", "regressed")), func.substr(since, 1, len(today)) < today,
        incidents.c.merged_into.is_(None), incidents.c.muted.is_(None), counted.exists(),
    )  # fmt: skip
    query = select(incidents.c.fingerprint).where(where).order_by(since, incidents.c.fingerprint).limit(MOST_LEFT)
    return list(connection.execute(query).scalars())


def is_escalating(connection: Connection, ledger: Ledger, fingerprints: Sequence[str]) -> bool:
    """Whether an incident is found far more often than in the days before; see LEAST_CALLS."""
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
    """Make findings new again that were counted while their incident was muted, if their call began in the last 24 hours."""
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
    """Incidents, last changed first. With `merged`, those that were merged into others instead."""
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
    """The incident that a person names by its fingerprint, the beginning of it, or its issue's ticket.

    Raises NotFound if there is none, and Conflict if there are several, or if it was merged into another one.
    """
    found = _called(connection, ledger, name, incidents.c.merged_into.is_(None))
    merged = [] if found else _called(connection, ledger, name, incidents.c.merged_into.is_not(None))
    if merged:
        one = _only(merged)
        raise Conflict(
            f"{one['fingerprint'][:SHOWN]} is merged into {one['merged_into'][:SHOWN]}; split it first, or name that one."
        )
    return _only(found)


def _is_ticket(name: str) -> bool:
    return name.strip().lower().startswith("t-")


def _called(connection: Connection, ledger: Ledger, name: str, *narrowed: ColumnElement[bool]) -> list[JsonObject]:
    """The incidents with this ticket or with this beginning of a fingerprint."""
    text = name.strip().lower().removeprefix("calltriage-fp:").strip()
    fingerprint = text if text.startswith("v") else f"v1:{text}"
    of_name = incidents.c.fingerprint.startswith(fingerprint, autoescape=True)
    if _is_ticket(name):
        of_name = incidents.c.ticket == text.upper()
    return _rows(connection, ledger, of_name, *narrowed)


def _rows(connection: Connection, ledger: Ledger, *narrowed: ColumnElement[bool]) -> list[JsonObject]:
    query = select(incidents).where(incidents.c.account == ledger.account, *narrowed)
    query = query.order_by(incidents.c.fingerprint).limit(MOST_NAMED)
    return [dict(row) for row in connection.execute(query).mappings()]


def _only(found: Sequence[JsonObject]) -> JsonObject:
    """The only one of some incidents. Raises NotFound or Conflict, which names them."""
    if not found:
        raise NotFound("No incident has this fingerprint or ticket. List them with: calltriage pipeline incidents")
    if len(found) > 1:
        several = "; ".join(
            " ".join(filter(None, (one["fingerprint"][:SHOWN], one["detector"], one["key"]))) for one in found
        )
        raise Conflict(f"Several incidents have this name. Give the fingerprint of one of them: {several}"[:MOST_TOLD])
    return found[0]


def mute(connection: Connection, ledger: Ledger, fingerprint: str, how: Muted, why: str) -> None:
    """Only count an incident's findings from now on, for good or until it escalates."""
    change(connection, ledger, fingerprint, muted=how, muted_at=ledger.now(), muted_why=why)


def unmute(connection: Connection, ledger: Ledger, fingerprint: str) -> None:
    change(connection, ledger, fingerprint, muted=None, muted_at=None, muted_why=None)


def merge(connection: Connection, ledger: Ledger, fingerprint: str, into: str, why: str) -> None:
    """File an incident's findings on another one's issue from now on. Raises Conflict if one is merged into the other."""
    if fingerprint == into:
        raise Conflict("An incident cannot be merged with itself. Name two different ones.")
    if fingerprint in family(connection, ledger, into):
        raise Conflict("The two incidents are one already.")
    if into in family(connection, ledger, fingerprint):
        raise Conflict("The other one is merged into this one. Split it first.")
    change(connection, ledger, fingerprint, merged_into=into, joined_because=f"merged by a person: {why}")


ALIKE = "very like this open issue"
"""Beginning of `joined_because` for an incident whose findings go to an issue of others; words of the title follow."""
SPLIT = "split by a person: "
"""Beginning of `joined_because` for an incident that a person split. It never joins a similar issue again."""
NO_ISSUE: JsonObject = {"issue_id": None, "ticket": None, "state": "open", "evidence": 0, "resolved_at": None}
"""Columns of an incident that has no issue."""


def separable(connection: Connection, ledger: Ledger, name: str) -> JsonObject:
    """The incident that a person names, as in `named`, to split it. A ticket names what was merged into its incidents or
    joined its issue, too.

    Raises NotFound if there is none, or none that is merged or joined, and Conflict if there are several.
    """
    called = _called(connection, ledger, name)
    if _is_ticket(name):
        of_issue = [each for one in called for each in family(connection, ledger, one["fingerprint"])]
        called = _rows(connection, ledger, incidents.c.fingerprint.in_(of_issue))
    found = [one for one in called if _is_separable(one)]
    if called and not found:
        raise NotFound("This incident is neither merged nor joined to an issue of others.")
    return _only(found)


def _is_separable(row: JsonObject) -> bool:
    return row["merged_into"] is not None or (row["joined_because"] is not None and not was_split(row))


def was_split(row: JsonObject) -> bool:
    """Whether a person split an incident."""
    return (row["joined_because"] or "").startswith(SPLIT)


def split(connection: Connection, ledger: Ledger, fingerprint: str, why: str) -> JsonObject:
    """Separate an incident from the one that it was merged into, or from the issue that it joined.

    Its next findings get an issue of their own. Raises NotFound if it is neither merged nor joined.
    """
    row = separable(connection, ledger, fingerprint)
    fresh: JsonObject = {"merged_into": None, "joined_because": f"{SPLIT}{why}"}
    if row["merged_into"] is None:
        fresh |= NO_ISSUE
    change(connection, ledger, row["fingerprint"], **fresh)
    return {"fingerprint": row["fingerprint"], "left": row["merged_into"] or row["ticket"]}
