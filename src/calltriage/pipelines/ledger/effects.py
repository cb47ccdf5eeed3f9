"""Effects: writes on issues, each under a key and kept for ever.

The request is recorded before it is sent. A repeat after a crash sends the same request, or finds that it was carried out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, bindparam, func, insert, select, update

from calltriage.leaves.strict_json import JsonObject
from calltriage.pipelines.ledger.ledger import Ledger
from calltriage.pipelines.ledger.rows import add_new, own
from calltriage.pipelines.ledger.tables import effects

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


_KNOWN = select(effects).where(own(effects), effects.c.key.in_(bindparam("keys", expanding=True)))
_STATES = _KNOWN.with_only_columns(effects.c.key, effects.c.state)
_BEGIN = insert(effects)
_STATE = select(effects.c.state, effects.c.issue_id).where(own(effects, "key"))
_END = update(effects).where(own(effects, "key"))


def begin(
    connection: Connection, ledger: Ledger, several: Sequence[Effect], limit: Limit | None = None
) -> list[Known] | None:
    """Record effects of one kind before they are sent. Returns what is known of each.

    Returns None, and records nothing, if the new ones exceed `limit`.
    """
    asked = {"of_account": ledger.account, "keys": [one.key for one in several]}
    known = {
        row.key: Known(row.state, row.request or {}, row.result, row.issue_id)
        for row in connection.execute(_KNOWN, asked)
    }
    fresh = [one for one in several if one.key not in known]
    if fresh and limit is not None:
        before = _count(connection, ledger, fresh[0].kind, fresh[0].run_id, limit)
        if before + len(fresh) > limit.most:
            return None
    begun = {"account": ledger.account, "state": "begun", "begun_at": ledger.now()}
    if fresh:
        connection.execute(_BEGIN, [{**vars(one), **begun} for one in fresh])
    return [known.get(one.key) or Known("new", one.request) for one in several]


def states(connection: Connection, ledger: Ledger, keys: Sequence[str]) -> dict[str, str]:
    """The states of those effects that were begun, by key."""
    return {row.key: row.state for row in connection.execute(_STATES, {"of_account": ledger.account, "keys": keys})}


_OF_RUN = select(func.count()).select_from(effects).where(own(effects, "kind", "run_id"))
_SINCE = select(func.count()).select_from(effects).where(own(effects, "kind"), effects.c.begun_at >= bindparam("since"))


def left(connection: Connection, ledger: Ledger, kind: str, run_id: str | None, limit: Limit) -> int:
    """How many further effects of a kind may begin."""
    return max(0, limit.most - _count(connection, ledger, kind, run_id, limit))


def _count(connection: Connection, ledger: Ledger, kind: str, run_id: str | None, limit: Limit) -> int:
    of_all = {"of_account": ledger.account, "of_kind": kind}
    if limit.since is None:
        return connection.execute(_OF_RUN, {**of_all, "of_run_id": run_id}).scalar_one()
    return connection.execute(_SINCE, {**of_all, "since": limit.since}).scalar_one()


def flag_of(finding_id: str, issue_id: str) -> str:
    """The key of the write that flags a finding's moment on an issue."""
    return f"{finding_id}:flag:{issue_id}"


@dataclass(frozen=True)
class Recalled:
    """A write of an earlier ledger that the API still shows; see `Effect`. `result_id`: id of what it made."""

    key: str
    kind: str
    fingerprint: str
    finding_id: str
    result_id: str


def recall(connection: Connection, ledger: Ledger, issue_id: str, several: Sequence[Recalled]) -> None:
    """Record writes on an issue as done that an earlier ledger made, without their words. Known effects stay as they are."""
    now = ledger.now()
    done = {"account": ledger.account, "state": "done", "issue_id": issue_id, "begun_at": now, "ended_at": now}
    rows = {
        one.key: {
            **done, "key": one.key, "kind": one.kind, "fingerprint": one.fingerprint, "finding_id": one.finding_id,
            "result": {"id": one.result_id},
        }
        for one in several
    }  # fmt: skip
    add_new(connection, effects, list(rows.values()))


def creation_of(fingerprint: str, follows: str | None = None) -> str:
    """The key of the write that creates an incident's issue. `follows`: id of its issue before, closed or deleted."""
    return f"{fingerprint}:create_issue" + (f":{follows}" if follows else "")


@dataclass(frozen=True)
class Created:
    """Issues that were created for an incident.

    Attributes:
        issue_ids: their ids, in order: the key of each one's write has the id of the one before.
        state: of the write that creates the next one, begun or refused; None if it was not begun.
    """

    issue_ids: list[str]
    state: str | None


def created(connection: Connection, ledger: Ledger, fingerprint: str, follows: str | None = None) -> Created:
    """The issues that were created for an incident, or those after the issue `follows`."""
    found = list[str]()
    while True:
        key = creation_of(fingerprint, found[-1] if found else follows)
        row = connection.execute(_STATE, {"of_account": ledger.account, "of_key": key}).one_or_none()
        if row is None or row.state != "done" or row.issue_id is None:
            return Created(found, None if row is None else row.state)
        found.append(row.issue_id)


def end(
    connection: Connection,
    ledger: Ledger,
    key: str,
    state: Literal["done", "refused"],
    *,
    result: JsonObject | None = None,
    issue_id: str | None = None,
    has_words: bool = False,
) -> None:
    """Record what became of an effect. With `has_words`, its request and answer hold words of a call: they are not kept."""
    values: JsonObject = {"state": state, "result": result, "issue_id": issue_id, "ended_at": ledger.now()}
    if has_words:
        values |= {"request": None, "result": without_words(result)}
    connection.execute(_END, {"of_account": ledger.account, "of_key": key, **values})


def without_words(result: JsonObject | None) -> JsonObject | None:
    """What of an API's answer is no words of the call: the id of what was made, and the code of a refusal."""
    return None if result is None else {name: result[name] for name in ("id", "code") if name in result}


def done(connection: Connection, ledger: Ledger, finding_id: str) -> list[JsonObject]:
    """The writes that were made for a finding, in order."""
    query = select(effects).where(own(effects, "finding_id"), effects.c.state == "done").order_by(effects.c.begun_at)
    asked = {"of_account": ledger.account, "of_finding_id": finding_id}
    return [dict(row) for row in connection.execute(query, asked).mappings()]
