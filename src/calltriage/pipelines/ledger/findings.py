"""Findings in the ledger: their first state, recording them once, counting them to incidents, and lists of them.

A finding's id is made of the call, detector, kind, turn and words. A finding that is found again keeps its state: what a
person decided stands, and what was filed stays filed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from sqlalchemy import ColumnElement, Connection, Row, and_, bindparam, func, insert, select, update

from calltriage.leaves.instants import written
from calltriage.leaves.strict_json import JsonObject
from calltriage.pipelines.findings import Verification, Verified
from calltriage.pipelines.ledger.ledger import Ledger
from calltriage.pipelines.ledger.reviews import BY_WEIGHT
from calltriage.pipelines.ledger.rows import own
from calltriage.pipelines.ledger.tables import findings, incidents, items, reviews

if TYPE_CHECKING:
    from calltriage.pipelines.calls import Call
    from calltriage.pipelines.spec import Detect

State = Literal["new", "accepted", "filed", "dismissed", "unverified", "stale", "counted", "suppressed"]
REVIEW_ONLY = "review only"
"""Reason of a new finding that is never filed without a person."""
VERSION_FIELDS = ("agent_version", "agent_version_id", "pathway_version", "version")
"""Fields of a call that may name the agent's version; the first one that is present counts."""
SILENT = ("unverified", "suppressed")
"""States of findings that do not count for their incident."""
NO_CALL = "the API has no such call"
"""Reason of a finding in a call that is not on the API. It is counted until a detector finds it again."""
FILED_BEFORE = "another version of the detector filed this moment by other words"
"""Reason of a finding that is counted, as long as it holds. Results are made anew, effects are not."""
SHORTEST_ID = 6
"""Least characters of a finding's id by which a person may name it."""
CHUNK = 500
"""Most ids in one statement."""


@dataclass(frozen=True)
class Placed:
    """A finding with its first state, and the reason of that state."""

    found: Verified
    state: State
    why: str | None = None


def place(found: Verified, detect: Detect, suppressed_by: str | None = None) -> Placed:
    """Decide a finding's first state by its verification and by its detector's table in the file."""
    if found.verification is Verification.UNVERIFIED:
        return Placed(found, "unverified", "no turn has these words")
    if suppressed_by is not None:
        return Placed(found, "suppressed", f"{suppressed_by} found something in the call")
    if detect.file == "count":
        return Placed(found, "counted", "its detector only counts")
    return Placed(found, "new", REVIEW_ONLY if found.review_only else None)


@dataclass(frozen=True)
class Recorded:
    """What the `examined` detectors found in a call."""

    call: Call
    placed: Sequence[Placed]
    examined: Collection[str]


def record(
    connection: Connection,
    ledger: Ledger,
    run_id: str,
    pipeline: str,
    calls: Sequence[Recorded],
    *,
    refile: bool = False,
) -> None:
    """Record what detectors found in calls, in the caller's transaction. A finding that is there already is not recorded
    again. The pipeline's own new ones of a call's `examined` detectors that are not found any more become stale.

    One whose moment another version of its detector filed by other words is counted, unless `refile`.
    """
    of_calls, fresh, more = _of_calls(connection, ledger, calls), list[JsonObject](), dict[str, _More]()
    about: JsonObject = {"account": ledger.account, "pipeline": pipeline, "run_id": run_id}
    at = ledger.now()
    for one in calls:
        known = of_calls.get(one.call.call_id, {})
        if known and not refile:
            again = {each.found.finding_id for each in one.placed}
            there = [row for name, row in known.items() if name not in again and row.pipeline == pipeline]
            placed = [_beside(each, known.get(each.found.finding_id), there) for each in one.placed]
            one = replace(one, placed=placed)  # noqa: PLW2901
        new = {each.found.finding_id: each for each in one.placed if each.found.finding_id not in known}
        rows = [{**_row(each, one.call), **about, "created_at": at, "updated_at": at} for each in new.values()]
        fresh += rows
        _add_up(more, [row for row in rows if row["state"] not in SILENT], known)
        if known:
            _record_again(connection, ledger, one, known, about)
    if fresh:
        connection.execute(_INSERT, fresh)
    if more:
        _count(connection, ledger, more, at)


_Row = Row[*tuple[object, ...]]
Known = dict[str, _Row]
"""Recorded findings of a call: rows by id."""


def _beside(one: Placed, before: _Row | None, others: Sequence[_Row]) -> Placed:
    """A finding's first state beside `others` of its call and pipeline that are not found any more. `before`: its row."""
    found, is_held = one.found, before is not None and before.why == FILED_BEFORE
    is_filed = any(
        (row.fingerprint, row.turn) == (found.fingerprint, found.turn)
        and (is_held or row.version_hash != found.version_hash)  # found in between, a row has the new version
        for row in others
        if _stands(row)
    )
    return replace(one, state="counted", why=FILED_BEFORE) if is_filed and one.state == "new" else one


def _stands(row: _Row) -> bool:
    """Whether a finding's moment is flagged, or will be, and is none that a person called wrong."""
    is_flagged = row.state == "dismissed" and row.issue_id is not None and row.why != "wrong"
    return is_flagged or row.state in ("filed", "accepted")


def _record_again(connection: Connection, ledger: Ledger, one: Recorded, known: Known, about: JsonObject) -> None:
    """Record what changes about a call's findings that are `known` already. `about`: their pipeline and run now."""
    again = {each.found.finding_id: each for each in one.placed if each.found.finding_id in known}
    judged = _judged(connection, ledger, [name for name, each in again.items() if _is_changed(known[name], each)])
    for name, each in again.items():
        row = known[name]
        if row.why == FILED_BEFORE and row.pipeline != about["pipeline"]:
            continue  # another pipeline does not know what stands there
        values = _found_again(row, each, judged.get(name))
        if row.why == FILED_BEFORE and "state" in values:
            values["run_id"] = about["run_id"]
        if values:
            where = and_(findings.c.account == ledger.account, findings.c.id == name)
            connection.execute(update(findings).where(where).values(**values, updated_at=ledger.now()))
    gone = [
        name
        for name, row in known.items()
        if name not in again and row.state in ("new", "unverified") and row.detector in one.examined
        and row.pipeline == about["pipeline"]
    ]  # fmt: skip
    set_state(connection, ledger, gone, "stale", "not found any more")


_OF_CALLS = select(findings).where(own(findings), findings.c.call_id.in_(bindparam("calls", expanding=True)))
_INSERT = insert(findings)


def _of_calls(connection: Connection, ledger: Ledger, calls: Sequence[Recorded]) -> dict[str, Known]:
    asked = {"of_account": ledger.account, "calls": [one.call.call_id for one in calls]}
    found = dict[str, Known]()
    for row in connection.execute(_OF_CALLS, asked):
        found.setdefault(row.call_id, {})[row.id] = row
    return found


def _row(one: Placed, call: Call) -> JsonObject:
    found = one.found
    version = next((str(value)[:100] for name in VERSION_FIELDS if (value := call.value(name)) is not None), None)
    return {
        "id": found.finding_id, "call_id": call.call_id,
        "content_hash": call.content_hash, "detector": found.detector, "kind": found.kind,
        "version_hash": found.version_hash, "turn": found.turn, "quote": found.quote, "note": found.note,
        "key": found.key, "severity": found.severity, "timing": str(found.timing),
        "verification": str(found.verification), "fingerprint": found.fingerprint, "group": dict(found.group),
        "state": one.state, "why": one.why, "issue_id": None,
        "call_began": None if call.began is None else written(call.began), "call_version": version,
    }  # fmt: skip


def _is_changed(row: _Row, one: Placed) -> bool:
    return row.version_hash != one.found.version_hash or row.why == NO_CALL


def _judged(connection: Connection, ledger: Ledger, ids: Collection[str]) -> dict[str, str]:
    """The verdicts that count, on those of the findings that have one."""
    if not ids:
        return {}
    where = and_(reviews.c.account == ledger.account, reviews.c.finding_id.in_(ids))
    query = select(reviews.c.finding_id, reviews.c.verdict, reviews.c.role).where(where)
    rows = connection.execute(query.order_by(*BY_WEIGHT))
    return {row.finding_id: f"{row.verdict} by {row.role}" for row in rows}


def _found_again(row: _Row, one: Placed, judged: str | None) -> JsonObject:
    """What changes about a finding that is found again: its detector's version, and its state if the state said that there
    was nothing to file. It gets the state that it would begin in now, or that a person gave it.

    A finding with a verdict keeps its version: the verdict is on what that version found, and opens no other.
    """
    values: JsonObject = {}
    if judged is None and row.version_hash != one.found.version_hash:
        values["version_hash"] = one.found.version_hash
    is_left_out = row.state in ("stale", "unverified", "suppressed") or row.why in (NO_CALL, FILED_BEFORE)
    is_accepted = row.why == NO_CALL and judged == "right by human"
    state, why = ("accepted", None) if is_accepted else (one.state, one.why)
    if is_left_out and (state, why) != (row.state, row.why):
        values |= {"state": state, "why": why}
    return values


@dataclass
class _More:
    """What new findings add to an incident. `first`: a row of one of them. `began`: when their calls began."""

    first: JsonObject
    findings: int = 0
    calls: int = 0
    began: list[str] = field(default_factory=list[str])


def _add_up(more: dict[str, _More], rows: Sequence[JsonObject], known: Known) -> None:
    """Add a call's new findings to `more`, by fingerprint. An incident with a `known` finding counts the call already."""
    seen = {row.fingerprint for row in known.values() if row.state not in SILENT} if rows else set[str]()
    for row in rows:
        added = more.setdefault(row["fingerprint"], _More(row))
        added.findings += 1
        added.calls += row["fingerprint"] not in seen
        added.began += [] if row["call_began"] is None else [row["call_began"]]
        seen.add(row["fingerprint"])


_THERE = select(incidents.c.fingerprint, incidents.c.first_call_at, incidents.c.last_call_at).where(
    own(incidents), incidents.c.fingerprint.in_(bindparam("fingerprints", expanding=True))
)
_CREATE = insert(incidents)
_ADD = update(incidents).where(own(incidents, "fingerprint")).values(
    findings=incidents.c.findings + bindparam("more_findings"), calls=incidents.c.calls + bindparam("more_calls"),
    first_call_at=bindparam("first"), last_call_at=bindparam("last"), updated_at=bindparam("at"),
    group=func.coalesce(incidents.c.group, bindparam("its_group", type_=incidents.c.group.type)),
    key=func.coalesce(incidents.c.key, bindparam("its_key", type_=incidents.c.key.type)),
)  # fmt: skip


def _count(connection: Connection, ledger: Ledger, more: Mapping[str, _More], at: str) -> None:
    """Add new findings to the counts of their incidents, and create missing incidents. An incident whose words were removed
    has those of a new finding again."""
    there = connection.execute(_THERE, {"of_account": ledger.account, "fingerprints": list(more)}).all()
    for row in there:
        more[row.fingerprint].began += [each for each in row[1:] if each is not None]
    missing = more.keys() - {row.fingerprint for row in there}
    if missing:
        connection.execute(_CREATE, [_incident(one.first, at) for name, one in more.items() if name in missing])
    rows = [
        {"of_account": ledger.account, "of_fingerprint": name, "more_findings": one.findings, "more_calls": one.calls,
         "first": min(one.began, default=None), "last": max(one.began, default=None), "at": at,
         "its_group": one.first["group"], "its_key": one.first["key"]}
        for name, one in more.items()
    ]  # fmt: skip
    connection.execute(_ADD, rows)


def _incident(row: JsonObject, at: str) -> JsonObject:
    shared = {name: row[name] for name in ("account", "fingerprint", "pipeline", "detector", "kind", "group", "key")}
    return {**shared, "state": "open", "created_at": at, "updated_at": at}


def version_order(version: str) -> tuple[tuple[int, int | str], ...]:
    """Sort key of versions: numbers compare as numbers, so 1.9 comes before 1.10."""
    parts = re.findall(r"\d+|[^\W\d]+", version)
    return tuple((1, int(part)) if part.isdigit() else (0, part) for part in parts)


def newest_version(connection: Connection, ledger: Ledger, fingerprints: Collection[str], until: str) -> str | None:
    """The newest version of the agent in calls of some incidents that began at an instant at the latest; None if no such
    call names one."""
    where = and_(
        findings.c.account == ledger.account, findings.c.fingerprint.in_(fingerprints), findings.c.call_began <= until,
        findings.c.call_version.is_not(None),
    )  # fmt: skip
    versions = connection.execute(select(findings.c.call_version).where(where).distinct()).scalars()
    return max(versions, key=version_order, default=None)


_SET = update(findings).where(own(findings), findings.c.id.in_(bindparam("ids", expanding=True)))
FILED = select(findings.c.call_id).where(own(findings, "issue_id"), findings.c.state == "filed").distinct()
"""Ids of the calls with a filed finding on the issue `of_issue_id`."""


def set_state(
    connection: Connection,
    ledger: Ledger,
    ids: Collection[str],
    state: State,
    why: str | None,
    *,
    issue_id: str | None = None,
) -> None:
    """Set findings' state and its reason, and their issue if one is given."""
    values: JsonObject = {"of_account": ledger.account, "state": state, "why": why, "updated_at": ledger.now()}
    if issue_id is not None:
        values["issue_id"] = issue_id
    for some in _chunks(list(ids)):
        connection.execute(_SET, {**values, "ids": some})


def _chunks(ids: list[str]) -> Iterable[list[str]]:
    """Ids in parts that are short enough for one statement."""
    return (ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK))


@dataclass(frozen=True)
class Wanted:
    """A filter of findings. None in a field does not narrow. `since`: least `created_at`."""

    state: str | None = None
    pipeline: str | None = None
    detector: str | None = None
    call_id: str | None = None
    since: str | None = None
    limit: int = 50


def _meant(ledger: Ledger, wanted: Wanted) -> ColumnElement[bool]:
    narrowed = ("state", "pipeline", "detector", "call_id")
    where = [findings.c[name] == value for name in narrowed if (value := getattr(wanted, name)) is not None]
    if wanted.since is not None:
        where.append(findings.c.created_at >= wanted.since)
    return and_(findings.c.account == ledger.account, *where)


def listed(connection: Connection, ledger: Ledger, wanted: Wanted) -> list[JsonObject]:
    """Findings, newest first, `limit` at most."""
    query = select(findings).where(_meant(ledger, wanted))
    query = query.order_by(findings.c.created_at.desc(), findings.c.id.desc()).limit(wanted.limit)
    return [dict(row) for row in connection.execute(query).mappings()]


_WAITING = (
    select(findings.c.fingerprint)
    .where(
        own(findings, "call_id", "pipeline"), findings.c.state.in_(("new", "accepted")),
        findings.c.fingerprint.is_not(None),
    )
    .distinct()
    .order_by(findings.c.fingerprint)
)  # fmt: skip


def waiting(connection: Connection, ledger: Ledger, call_id: str, pipeline: str) -> list[str]:
    """Fingerprints of all findings of a pipeline in a call that are in the states new and accepted."""
    asked = {"of_account": ledger.account, "of_call_id": call_id, "of_pipeline": pipeline}
    return list(connection.execute(_WAITING, asked).scalars())


def waiting_before(connection: Connection, ledger: Ledger, run_id: str, pipeline: str) -> int:
    """How many findings of a pipeline's earlier runs wait for a person in the calls that a run of it examined."""
    of_run = select(items.c.call_id).where(items.c.account == ledger.account, items.c.run_id == run_id)
    where = and_(
        findings.c.account == ledger.account, findings.c.pipeline == pipeline, findings.c.state == "new",
        findings.c.run_id != run_id, findings.c.call_id.in_(of_run),
    )  # fmt: skip
    return connection.execute(select(func.count()).select_from(findings).where(where)).scalar_one()


def held_back(connection: Connection, ledger: Ledger, call_id: str, pipeline: str) -> set[str]:
    """Names of detectors with a finding of the pipeline in a call that is counted by FILED_BEFORE."""
    of_call = and_(findings.c.account == ledger.account, findings.c.call_id == call_id, findings.c.pipeline == pipeline)
    query = select(findings.c.detector).where(of_call, findings.c.state == "counted", findings.c.why == FILED_BEFORE)
    return set(connection.execute(query).scalars())


def page(connection: Connection, ledger: Ledger, wanted: Wanted) -> tuple[list[JsonObject], int]:
    """Findings as `listed` has them, and how many there are in all, whatever the `limit`."""
    query = select(func.count()).select_from(findings).where(_meant(ledger, wanted))
    return listed(connection, ledger, wanted), connection.execute(query).scalar_one()


def calls_filed(connection: Connection, ledger: Ledger, issue_id: str) -> set[str]:
    """Ids of the calls with a filed finding on an issue."""
    asked = {"of_account": ledger.account, "of_issue_id": issue_id}
    return set(connection.execute(FILED, asked).scalars())


def by_id(connection: Connection, ledger: Ledger, name: str) -> list[JsonObject]:
    """The findings whose id is or begins with `name`, 5 at most; none for a malformed `name`."""
    if re.fullmatch(r"[0-9a-f]{6,64}", name) is None:
        return []
    query = select(findings).where(findings.c.account == ledger.account, findings.c.id.startswith(name)).limit(5)
    return [dict(row) for row in connection.execute(query).mappings()]


def by_ids(connection: Connection, ledger: Ledger, ids: Sequence[str]) -> dict[str, JsonObject]:
    """Those of these findings that are in the ledger, by id."""
    query = select(findings).where(findings.c.account == ledger.account)
    parts = (connection.execute(query.where(findings.c.id.in_(some))).mappings() for some in _chunks(list(ids)))
    return {row["id"]: dict(row) for rows in parts for row in rows}
