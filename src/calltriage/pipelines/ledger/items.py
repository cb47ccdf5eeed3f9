"""Items: the calls of a run, each with its state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import Text, and_, bindparam, func, or_, select, update

from calltriage.leaves.instants import instant, written
from calltriage.leaves.strict_json import JsonObject
from calltriage.pipelines.ledger.ledger import Ledger
from calltriage.pipelines.ledger.rows import add_new, own
from calltriage.pipelines.ledger.tables import items, runs

if TYPE_CHECKING:
    from sqlalchemy import Connection

TO_DO = ("new", "examined", "deferred")
"""States in which something is left to do."""
ENDED = ("done", "skipped", "failed")
"""States in which nothing is left to do."""
UNSETTLED = "unsettled"
"""State of an item that is none of the run's calls, because its call had not settled when it was listed."""


@dataclass(frozen=True)
class Listed:
    """A listed call.

    Attributes:
        made_at: when it was made.
        due_at: when it may be examined at the earliest.
        is_left_out: the run does not wait until it is due.
    """

    call_id: str
    made_at: str | None = None
    due_at: datetime | None = None
    is_left_out: bool = False


@dataclass(frozen=True)
class Item:
    """A call of a run that has to be examined or filed. `attempt`: number of earlier attempts. `error`: the last one's."""

    call_id: str
    state: str = "new"
    attempt: int = 0
    error: str | None = None


def added(ledger: Ledger, run_id: str, calls: Sequence[Listed]) -> Callable[[Connection], None]:
    """A change that adds calls to the run. Existing items stay as they are."""
    now = ledger.now()
    rows = [
        {
            "account": ledger.account, "run_id": run_id, "call_id": one.call_id, "made_at": one.made_at,
            "state": UNSETTLED if one.is_left_out else "new",
            "due_at": None if one.due_at is None else written(one.due_at), "updated_at": now,
        }
        for one in calls
    ]  # fmt: skip
    return lambda connection: add_new(connection, items, rows)


async def unlisted(ledger: Ledger, run_id: str, calls: Sequence[Listed]) -> list[Listed]:
    """Those of the calls that are no items of the run."""
    query = select(items.c.call_id).where(_of(ledger, run_id, [one.call_id for one in calls]))
    known = await ledger.read(lambda connection: set(connection.execute(query).scalars()))
    return [one for one in calls if one.call_id not in known]


async def examined(ledger: Ledger, call_ids: Sequence[str], *, pipeline: str, spec_hash: str) -> set[str]:
    """Those of the calls that a run of the pipeline has examined, or that its watch will. A run of a single call counts if
    it was of the same file, a run over other calls than the API's does not."""
    of_runs = and_(items.c.account == runs.c.account, items.c.run_id == runs.c.id)
    query = (
        select(items.c.call_id, runs.c.spec_hash, runs.c.window)
        .join(runs, of_runs)
        .where(items.c.account == ledger.account, items.c.call_id.in_(call_ids), runs.c.pipeline == pipeline)
        .where(or_(items.c.state.in_(ENDED), and_(runs.c.mode == "watch", runs.c.state != "cancelled")))
    )

    def counts(of: str, window: JsonObject) -> bool:
        return window.get("calls") is None and (window.get("call") is None or of == spec_hash)

    return await ledger.read(
        lambda connection: {row.call_id for row in connection.execute(query) if counts(row.spec_hash, row.window)}
    )


def left_by_runs(connection: Connection, ledger: Ledger, watch_id: str, pipeline: str, since: str) -> list[Listed]:
    """Calls that runs of a pipeline, begun at `since` or later, left out because they had not settled, and that are no items
    of its watch."""
    own_items = items.alias()
    is_known = and_(own_items.c.account == items.c.account, own_items.c.call_id == items.c.call_id)
    known = select(own_items.c.call_id).where(is_known, own_items.c.run_id == watch_id)
    of_runs = select(runs.c.id).where(
        runs.c.account == ledger.account, runs.c.pipeline == pipeline, runs.c.created_at >= since, runs.c.mode == "run"
    )
    left = and_(items.c.account == ledger.account, items.c.state == UNSETTLED, items.c.run_id.in_(of_runs))
    query = select(items.c.call_id, items.c.made_at, items.c.due_at).where(left, ~known.exists())
    return [Listed(row.call_id, row.made_at, instant(row.due_at)) for row in connection.execute(query)]


def take_settled(connection: Connection, ledger: Ledger, run_id: str) -> int:
    """Make calls due that a run left out and that have settled since. Returns how many there are."""
    now = ledger.now()
    of_run = and_(items.c.account == ledger.account, items.c.run_id == run_id, items.c.state == UNSETTLED)
    change = update(items).where(of_run, items.c.due_at <= now).values(state="new", updated_at=now)
    return connection.execute(change).rowcount


def again(ledger: Ledger, run_id: str, call_id: str, due_at: datetime) -> Callable[[Connection], None]:
    """A change that makes a call due, again if it was examined. If the call has not changed, nothing is recorded twice."""

    def change(connection: Connection) -> None:
        added(ledger, run_id, [Listed(call_id, due_at=due_at)])(connection)
        ended = items.c.state.in_((*ENDED, UNSETTLED))
        values = {"state": "new", "due_at": written(due_at), "updated_at": ledger.now()}
        connection.execute(update(items).where(_of(ledger, run_id, [call_id]), ended).values(**values))

    return change


async def to_do(ledger: Ledger, run_id: str, most: int) -> list[Item]:
    """Items that are due, at most `most`."""
    query = (
        select(items.c.call_id, items.c.state, items.c.attempt, items.c.error)
        .where(items.c.account == ledger.account, items.c.run_id == run_id, items.c.state.in_(TO_DO))
        .where(or_(items.c.due_at.is_(None), items.c.due_at <= ledger.now()))
        .limit(most)
    )
    return await ledger.read(lambda connection: [Item(*row) for row in connection.execute(query)])


async def left_of(ledger: Ledger, run_id: str, call_ids: Sequence[str]) -> list[Item]:
    """The items of these calls that are due."""
    query = (
        select(items.c.call_id, items.c.state, items.c.attempt, items.c.error)
        .where(_of(ledger, run_id, call_ids), items.c.state.in_(TO_DO))
        .where(or_(items.c.due_at.is_(None), items.c.due_at <= ledger.now()))
    )
    return await ledger.read(lambda connection: [Item(*row) for row in connection.execute(query)])


async def next_due(ledger: Ledger, run_id: str) -> str | None:
    """When the next item is due; None if nothing is left to do."""
    query = (
        select(items.c.due_at)
        .where(items.c.account == ledger.account, items.c.run_id == run_id, items.c.state.in_(TO_DO))
        .order_by(items.c.due_at)
        .limit(1)
    )
    return await ledger.read(lambda connection: connection.execute(query).scalar_one_or_none())


async def waits(ledger: Ledger, run_id: str) -> bool:
    """Whether something is left to do, and nothing of it is due."""
    due = await next_due(ledger, run_id)
    return due is not None and not await to_do(ledger, run_id, 1)


@dataclass(frozen=True)
class Standing:
    """An item's new state. `error`: the reason. `due_at`: when it is due again."""

    call_id: str
    state: str
    error: str | None = None
    content_hash: str | None = None
    due_at: datetime | None = None


_STAND = update(items).where(own(items, "run_id", "call_id")).values(
    state=bindparam("state"), error=bindparam("error"), due_at=bindparam("due"), updated_at=bindparam("at"),
    attempt=items.c.attempt + 1, content_hash=func.coalesce(bindparam("hash", type_=Text()), items.c.content_hash),
)  # fmt: skip


def stand(connection: Connection, ledger: Ledger, run_id: str, standings: Sequence[Standing]) -> None:
    """Set items' states. A content hash of None keeps the recorded one."""
    if not standings:
        return
    shared = {"of_account": ledger.account, "of_run_id": run_id, "at": ledger.now()}
    rows = [
        {**shared, "of_call_id": one.call_id, "state": one.state, "error": one.error, "hash": one.content_hash,
         "due": None if one.due_at is None else written(one.due_at)}
        for one in standings
    ]  # fmt: skip
    connection.execute(_STAND, rows)


def _of(ledger: Ledger, run_id: str, call_ids: Sequence[str]):
    return (items.c.account == ledger.account) & (items.c.run_id == run_id) & items.c.call_id.in_(call_ids)
