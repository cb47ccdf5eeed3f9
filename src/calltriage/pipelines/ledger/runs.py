"""Runs in the ledger: begin, resume, pause and cancel them, and record their progress."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, func, insert, or_, select, update

from calltriage.errors import SettingsError
from calltriage.leaves.strict_json import JsonObject
from calltriage.pipelines.ledger.findings import FILED_BEFORE
from calltriage.pipelines.ledger.items import TO_DO, UNSETTLED
from calltriage.pipelines.ledger.ledger import Ledger
from calltriage.pipelines.ledger.rows import own
from calltriage.pipelines.ledger.tables import effects, findings, items, runs

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

OPEN = ("running", "paused", "failed")
"""States of a run that can go on."""
REASONS = 5
"""Reasons of failures that a run shows."""
LOOKED_BACK = 50
"""Runs that are looked through for the newest call that was examined."""
ASKED_FOR = "asked for"
"""Reason of a run that a person paused or cancelled."""


@dataclass(frozen=True)
class Origin:
    """How a run was begun. It is stored with the run's window; runs of earlier versions have none.

    Attributes:
        file: absolute path of the pipeline's file; None if it is not known, or the pipeline was no file.
        by: `agent` for a run that an agent began by a tool.
        other_file: the file of the newest earlier run of a pipeline of this name, if it is another one.
        versions: the detectors' version hashes by name; None if they are not known.
    """

    file: str | None = None
    by: str | None = None
    other_file: str | None = None
    versions: Mapping[str, str] | None = None

    @classmethod
    def of(cls, stored: JsonObject) -> Origin:
        return cls(**{name: stored.get(name) for name in cls.__dataclass_fields__})

    def warning(self, pipeline: str) -> str | None:
        """What is to be said of `other_file`."""
        if self.other_file is None:
            return None
        return (
            f"The pipeline {pipeline} ran last from {self.other_file}, and now runs from {self.file}. Findings, incidents "
            "and verdicts go by its name. That is right for a file that was moved. If these are two pipelines, give one of "
            "them another `name`."
        )


@dataclass(frozen=True)
class Run:
    """A run; `tables.runs` says what its fields mean.

    Attributes:
        counts: numbers of its items by state; empty where they were not asked for.
    """

    id: str
    pipeline: str
    spec_hash: str
    spec: str
    mode: str
    window: JsonObject
    state: str
    watermark: str | None
    listed: bool
    found: int
    requests: int
    why: str | None
    created_at: str
    updated_at: str
    ended_at: str | None
    counts: Mapping[str, int] = field(default_factory=dict[str, int])

    @property
    def is_open(self) -> bool:
        return self.state in OPEN

    @property
    def origin(self) -> Origin:
        return Origin.of(self.window)

    @property
    def unsettled(self) -> int:
        """Number of calls that it left out because they had not settled when they were listed."""
        return self.counts.get(UNSETTLED, 0)

    @property
    def listed_calls(self) -> int:
        """Number of its calls that are listed so far, without those that it left out."""
        return sum(self.counts.values()) - self.unsettled

    @property
    def to_do(self) -> int:
        """Number of its listed calls of which something is left to do."""
        return sum(self.counts.get(state, 0) for state in TO_DO)

    @property
    def ended(self) -> int:
        """Number of its listed calls of which nothing is left to do."""
        return self.listed_calls - self.to_do


_WATCHES = runs.c.mode == "watch"
_COLUMNS = [runs.c[name] for name in Run.__dataclass_fields__ if name != "counts"]


def _of(ledger: Ledger, run_id: str) -> Any:
    return (runs.c.account == ledger.account) & (runs.c.id == run_id)


async def begin(ledger: Ledger, *, pipeline: str, spec_hash: str, spec: str, mode: str, window: JsonObject) -> Run:
    """Resume the newest open run of the same file, mode and window, or begin a new one. Its state is running then.

    `window` has what an `Origin` has, too, except `other_file`, which is found here.
    """
    new_id = f"run_{secrets.token_hex(6)}"
    same = (
        runs.c.account == ledger.account,
        runs.c.pipeline == pipeline,
        runs.c.spec_hash == spec_hash,
        runs.c.mode == mode,
    )

    newest_window = select(runs.c.window).where(*same[:2]).order_by(runs.c.created_at.desc()).limit(1)

    def change(connection: Connection) -> str:
        query = select(runs.c.id, runs.c.window).where(*same, runs.c.state.in_(OPEN)).order_by(runs.c.created_at.desc())
        asked, file = window["asked"], window.get("file")
        found = next((row for row in connection.execute(query) if row.window.get("asked") == asked), None)
        before = Origin.of(connection.execute(newest_window).scalar_one_or_none() or JsonObject()).file
        other = before if file is not None and before != file else None
        if found is not None:
            moved = found.window | ({} if file is None else {"file": file, "other_file": other})
            moved |= {"versions": window.get("versions"), "begun_at": now}
            values = {"state": "running", "why": None, "window": moved, "updated_at": now}
            connection.execute(update(runs).where(_of(ledger, found.id)).values(**values))
            return found.id
        connection.execute(
            insert(runs).values(
                account=ledger.account, id=new_id, pipeline=pipeline, spec_hash=spec_hash, spec=spec, mode=mode,
                window=window | {"other_file": other}, state="running", listed=False, created_at=now, updated_at=now,
            )
        )  # fmt: skip
        return new_id

    now = ledger.now()
    return await get(ledger, await ledger.write(change))


async def open_of(ledger: Ledger, spec_hashes: Collection[str]) -> list[Run]:
    """Open runs of these files, oldest first, without counts of their items."""
    wanted = (runs.c.account == ledger.account, runs.c.spec_hash.in_(spec_hashes), runs.c.state.in_(OPEN))
    query = select(*_COLUMNS).where(*wanted).order_by(runs.c.created_at)
    return await ledger.read(lambda connection: [Run(**row) for row in connection.execute(query).mappings()])


async def go_on(ledger: Ledger, run_id: str) -> None:
    """Set an open run to running."""
    change = update(runs).where(_of(ledger, run_id), runs.c.state.in_(OPEN))
    values = {"state": "running", "why": None, "updated_at": ledger.now()}
    await ledger.write(lambda connection: connection.execute(change.values(**values)) and None)


async def get(ledger: Ledger, run_id: str) -> Run:
    """A run by its id. Raises SettingsError for an unknown one."""

    def query(connection: Connection) -> tuple[Any, dict[str, int]]:
        row = connection.execute(select(*_COLUMNS).where(_of(ledger, run_id))).mappings().one_or_none()
        return row, _counts(connection, ledger, run_id)

    row, counts = await ledger.read(query)
    if row is None:
        raise SettingsError(f"There is no run {run_id[:64]!r}. List them with: calltriage pipeline status")
    return Run(**row, counts=counts)


def _counts(connection: Connection, ledger: Ledger, run_id: str) -> dict[str, int]:
    query = select(items.c.state, func.count()).where(items.c.account == ledger.account, items.c.run_id == run_id)
    return {row.state: row[1] for row in connection.execute(query.group_by(items.c.state))}


async def errors_of(ledger: Ledger, run_id: str) -> dict[str, int]:
    """Why items of a run failed, or are tried again: the most frequent reasons, with the number of items."""
    wrong = (items.c.account == ledger.account, items.c.run_id == run_id, items.c.state.in_(("failed", "new")))
    query = select(items.c.error, func.count()).where(*wrong, items.c.error.is_not(None)).group_by(items.c.error)
    query = query.order_by(func.count().desc(), items.c.error).limit(REASONS)
    return await ledger.read(lambda connection: {row[0]: row[1] for row in connection.execute(query)})


@dataclass(frozen=True)
class Filed:
    """What a run made of its findings: how many are filed and how many wait, issues that it filed and reopened, and findings
    that it counted by `findings.FILED_BEFORE`."""

    findings: int
    waiting: int
    issues: int
    reopened: int
    filed_before: int


async def filed_by(ledger: Ledger, run: Run) -> Filed:
    """What a run made of its findings so far."""
    made = (effects.c.account == ledger.account, effects.c.run_id == run.id, effects.c.state == "done")
    by_kind = select(effects.c.kind, func.count()).where(*made).group_by(effects.c.kind)
    own = (findings.c.account == ledger.account, findings.c.run_id == run.id)
    waits = select(func.count()).where(*own, findings.c.state == "new")
    counted = (findings.c.state == "counted", findings.c.created_at >= run.created_at)
    before = select(func.count()).where(*own, *counted, findings.c.why == FILED_BEFORE)

    def query(connection: Connection) -> Filed:
        counts = {row[0]: row[1] for row in connection.execute(by_kind)}
        flags, issues, reopened = (counts.get(one, 0) for one in ("add_flag", "create_issue", "update_issue"))
        waiting, filed_before = (connection.execute(one).scalar_one() for one in (waits, before))
        return Filed(flags, waiting, issues, reopened, filed_before)

    return await ledger.read(query)


async def newest(ledger: Ledger, most: int = 20, pipeline: str | None = None) -> list[Run]:
    """The newest runs, newest first."""
    wanted = (runs.c.account == ledger.account, *([] if pipeline is None else [runs.c.pipeline == pipeline]))

    def query(connection: Connection) -> list[Run]:
        rows = connection.execute(select(*_COLUMNS).where(*wanted).order_by(runs.c.created_at.desc()).limit(most))
        return [Run(**row, counts=_counts(connection, ledger, row["id"])) for row in rows.mappings()]

    return await ledger.read(query)


async def examined_until(ledger: Ledger, pipeline: str) -> str | None:
    """Up to when calls were examined by the newest run of a pipeline that ended, or by its watch; None if none was.

    A run that its limit ended counts up to its last call, and none counts beyond its begin. A run of a single call, or over
    other calls than the API's, does not count at all.
    """
    ended = (runs.c.account == ledger.account, runs.c.pipeline == pipeline, or_(runs.c.state == "done", _WATCHES))
    query = select(runs.c.id, runs.c.window, runs.c.mode, runs.c.watermark, runs.c.created_at).where(*ended)

    def until(connection: Connection, run: Row[Any, Any, Any, Any, Any]) -> str | None:
        if run.mode == "watch":
            return run.watermark
        whole, limit = run.window.get("until"), run.window.get("limit")
        whole = None if whole is None else min(whole, run.created_at)
        if limit is None:
            return whole
        of_run = (items.c.account == ledger.account, items.c.run_id == run.id)
        count, last = connection.execute(select(func.count(), func.max(items.c.made_at)).where(*of_run)).one()
        return whole if count < limit else last

    def newest_end(connection: Connection) -> str | None:
        rows = connection.execute(query.order_by(runs.c.created_at.desc()).limit(LOOKED_BACK)).all()
        ends = (until(connection, row) for row in rows if not (row.window.get("call") or row.window.get("calls")))
        return max(filter(None, ends), default=None)

    return await ledger.read(newest_end)


async def last_versions(ledger: Ledger, pipeline: str, spec_hash: str) -> Mapping[str, str] | None:
    """The detectors' version hashes, by name, with which a pipeline's file was begun or resumed last; None if they are not
    known."""
    of_file = (runs.c.account == ledger.account, runs.c.pipeline == pipeline, runs.c.spec_hash == spec_hash)
    query = (
        select(runs.c.window, runs.c.created_at).where(*of_file).order_by(runs.c.created_at.desc()).limit(LOOKED_BACK)
    )
    found = await ledger.read(lambda connection: connection.execute(query).all())
    last = max(found, key=lambda row: row.window.get("begun_at") or row.created_at, default=None)
    return None if last is None else Origin.of(last.window).versions


async def pipelines(ledger: Ledger) -> list[str]:
    """The names of the pipelines that ever ran."""
    query = select(runs.c.pipeline).where(runs.c.account == ledger.account).distinct().order_by(runs.c.pipeline)
    return await ledger.read(lambda connection: list(connection.execute(query).scalars()))


async def state_of(ledger: Ledger, run_id: str) -> str:
    """The present state of a run, which another process may have changed; cancelled for an unknown one."""
    query = select(runs.c.state).where(_of(ledger, run_id))
    return await ledger.read(lambda connection: connection.execute(query).scalar_one_or_none()) or "cancelled"


async def end(ledger: Ledger, run_id: str, state: str, why: str | None = None) -> None:
    """End or pause a running run, with the reason. A run that another process ended or a person stopped stays so."""
    now = ledger.now()
    ended = None if state in OPEN else now
    change = update(runs).where(_of(ledger, run_id), runs.c.state == "running")
    values = {"state": state, "why": why, "updated_at": now, "ended_at": ended}
    await ledger.write(lambda connection: connection.execute(change.values(**values)) and None)


async def stop(ledger: Ledger, run_id: str, state: str) -> Run:
    """Cancel or pause a run. The processes that work on it notice within seconds. Raises SettingsError for a run that has
    ended."""
    now = ledger.now()

    def change(connection: Connection) -> int:
        ended = now if state == "cancelled" else None
        mine = update(runs).where(_of(ledger, run_id), runs.c.state.in_(OPEN))
        values = {"state": state, "why": ASKED_FOR, "updated_at": now, "ended_at": ended}
        return connection.execute(mine.values(**values)).rowcount

    changed = await ledger.write(change)
    run = await get(ledger, run_id)
    if not changed and run.state != state:
        raise SettingsError(f"Run {run_id} is {run.state} already.")
    return run


_REQUESTED = update(runs).where(own(runs, "id")).values(requests=runs.c.requests + bindparam("more"))


def requested(connection: Connection, ledger: Ledger, run_id: str, requests: int) -> None:
    """Add to the number of requests that a run sent."""
    if requests:
        connection.execute(_REQUESTED, {"of_account": ledger.account, "of_id": run_id, "more": requests})


def progressed(
    ledger: Ledger, run_id: str, watermark: str | None, *, listed: bool, found: int
) -> Callable[[Connection], None]:
    """A change that records how far the list of calls was read. `found`: number of calls in the window."""
    values = {"watermark": watermark, "listed": listed, "found": found, "updated_at": ledger.now()}
    change = update(runs).where(_of(ledger, run_id)).values(**values)
    return lambda connection: connection.execute(change) and None
