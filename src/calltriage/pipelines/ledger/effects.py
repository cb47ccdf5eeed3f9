"""Effects: writes on issues, each under a key and kept for ever.

The request is recorded before it is sent. A repeat after a crash sends the same request, or finds that it was carried out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, and_, func, insert, select, update

from calltriage.leaves.strict_json import JsonObject
from calltriage.pipelines.ledger.ledger import Ledger
from calltriage.pipelines.ledger.tables import effects

TOGETHER = 500
"""Keys in one statement."""
Standing = Literal["new", "begun", "done", "refused"]
"""new: begun now. begun: by an earlier attempt whose outcome is not known. done. refused: by the API."""


@dataclass(frozen=True)
class Effect:
    """One write.

    Attributes:
        key: identifies it for ever, such as `<finding id>:flag:<issue id>`.
        kind: the operation's name, such as `add_flag`.
        request: the operation's arguments.
    """

    key: str
    kind: str
    fingerprint: str
    request: JsonObject
    finding_id: str | None = None
    run_id: str | None = None


@dataclass(frozen=True)
class Known:
    """What the ledger knows of an effect. `result`: see `tables.effects`. `issue_id`: the issue that was written on."""

    standing: Standing
    request: JsonObject
    result: JsonObject | None = None
    issue_id: str | None = None


@dataclass(frozen=True)
class Limit:
    """Most effects of one kind: of the run or, with `since`, of all runs since that instant."""

    most: int
    since: str | None = None


def begin(
    connection: Connection, ledger: Ledger, several: Sequence[Effect], limit: Limit | None = None
) -> list[Known] | None:
    """Record effects of one kind before they are sent. Returns what is known of each.

    Returns None, and records nothing, if the new ones exceed `limit`.
    """
    keys = [one.key for one in several]
    query = select(effects).where(effects.c.account == ledger.account, effects.c.key.in_(keys))
    known = {
        row.key: Known(row.state, row.request or {}, row.result, row.issue_id) for row in connection.execute(query)
    }
    fresh = [one for one in several if one.key not in known]
    if fresh and limit is not None:
        before = _count(connection, ledger, fresh[0].kind, fresh[0].run_id, limit)
        if before + len(fresh) > limit.most:
            return None
    begun = {"account": ledger.account, "state": "begun", "begun_at": ledger.now()}
    if fresh:
        connection.execute(insert(effects), [{**one.__dict__, **begun} for one in fresh])
    return [known.get(one.key) or Known("new", one.request) for one in several]


def states(connection: Connection, ledger: Ledger, keys: Sequence[str]) -> dict[str, str]:
    """The states of those of some effects that were begun, by key."""
    found = dict[str, str]()
    for first in range(0, len(keys), TOGETHER):
        some = effects.c.key.in_(keys[first : first + TOGETHER])
        query = select(effects.c.key, effects.c.state).where(effects.c.account == ledger.account, some)
        found.update((row.key, row.state) for row in connection.execute(query))
    return found


def left(connection: Connection, ledger: Ledger, kind: str, run_id: str | None, limit: Limit) -> int:
    """How many further effects of a kind may begin."""
    return max(0, limit.most - _count(connection, ledger, kind, run_id, limit))


def _count(connection: Connection, ledger: Ledger, kind: str, run_id: str | None, limit: Limit) -> int:
    of_run = effects.c.run_id == run_id if limit.since is None else effects.c.begun_at >= limit.since
    where = and_(effects.c.account == ledger.account, effects.c.kind == kind, of_run)
    return connection.execute(select(func.count()).select_from(effects).where(where)).scalar_one()


def issue_of(connection: Connection, ledger: Ledger, key: str) -> str | None:
    """Id of the issue that a write was made on, or that it created; None if it was not made."""
    where = and_(effects.c.account == ledger.account, effects.c.key == key, effects.c.state == "done")
    return connection.execute(select(effects.c.issue_id).where(where)).scalar_one_or_none()


def creation_of(fingerprint: str, follows: str | None = None) -> str:
    """The key of the write that creates an incident's issue. `follows`: id of its issue before, closed or deleted."""
    return f"{fingerprint}:create_issue" + (f":{follows}" if follows else "")


def last_created(connection: Connection, ledger: Ledger, fingerprint: str) -> str | None:
    """Id of the issue that was created last for an incident: each one's key has the id of the one before."""
    last = None
    while (issue_id := issue_of(connection, ledger, creation_of(fingerprint, last))) is not None:
        last = issue_id
    return last


def end(
    connection: Connection,
    ledger: Ledger,
    key: str,
    state: Literal["done", "refused"],
    *,
    result: JsonObject | None = None,
    issue_id: str | None = None,
) -> None:
    """Record what became of an effect."""
    where = and_(effects.c.account == ledger.account, effects.c.key == key)
    values: JsonObject = {"state": state, "result": result, "issue_id": issue_id, "ended_at": ledger.now()}
    connection.execute(update(effects).where(where).values(values))


def done(connection: Connection, ledger: Ledger, finding_id: str) -> list[JsonObject]:
    """The writes that were made for a finding, in order."""
    where = and_(effects.c.account == ledger.account, effects.c.finding_id == finding_id, effects.c.state == "done")
    query = select(effects).where(where).order_by(effects.c.begun_at)
    return [dict(row) for row in connection.execute(query).mappings()]
