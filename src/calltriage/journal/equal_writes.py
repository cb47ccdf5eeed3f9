"""How a write stands before it is sent: what the journal knows of equal ones that were asked for before."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from calltriage.client.ledger import Entry, Standing
from calltriage.client.look_ups import Before
from calltriage.journal.rows import Row, any_row, outcome_of, rows
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.base import Effect, Operation
from calltriage.operations.flags import AddFlag
from calltriage.operations.issues import CreateIssue
from calltriage.operations.relations import LinkIssue

if TYPE_CHECKING:
    from sqlalchemy import Connection

NATURAL = (AddFlag, LinkIssue)
"""Operations whose content is a key: an equal one within `window_s` is a repeat, not a second one."""
NAMED = "caller IN (SELECT value FROM json_each(?))"
"""The caller's rows, given `Call.names`."""
EQUAL = f"""kind = 'asked' AND {NAMED} AND fingerprint = ? AND operation = ? AND key IS ?
    AND seq < COALESCE((SELECT seq FROM entries AS own WHERE own.write_id = ? AND own.kind = 'asked'), seq + 1)"""  # noqa: S608
"""Equal writes that were asked for before one of this id, or before now when there is none."""
SETTLED = """EXISTS (SELECT 1 FROM entries AS o WHERE o.write_id = entries.write_id AND o.kind = 'outcome'
    AND o.outcome IN ('committed', 'replayed'))"""
OPEN = """NOT EXISTS (SELECT 1 FROM entries AS o WHERE o.write_id = entries.write_id AND o.kind = 'outcome'
    AND o.outcome IN ('committed', 'replayed', 'not_committed'))"""
"""Leaves out attempts that were not carried out, such as a repeat that was told to wait. They say nothing of
earlier ones."""


@dataclass(frozen=True)
class Call:
    """A tool call, as far as the writes in it are concerned.

    Attributes:
        caller: digest of who calls.
        tool: its name.
        key: digest of its idempotency key.
        former: names under which earlier versions noted the caller.
        strangers: names in their rows that may be the caller's, since they held credentials that may have changed.
        writes: ids of its writes.
        beside: those of the calls of this process that had not ended when it came.
        elsewhere: those of any process whose answers had not gone out when it came.
        came: when it came.
        arrived: number of the journal's last row soon after; None for writes without a tool call.
        unrecorded: its writes whose outcome could not be put on record.
    """

    caller: str = ""
    former: tuple[str, ...] = ()
    strangers: tuple[str, ...] = ()
    tool: str = ""
    key: str | None = None
    writes: set[str] = field(default_factory=set[str], compare=False)
    beside: tuple[set[str], ...] = ()
    elsewhere: frozenset[str] = frozenset()
    came: datetime | None = None
    arrived: int | None = None
    unrecorded: list[str] = field(default_factory=list[str], compare=False)

    @property
    def names(self) -> str:
        """Names, as a JSON list, under which its writes stand. A key tells a caller apart where the name does not."""
        return json.dumps([self.caller, *self.former, *(self.strangers if self.key is not None else ())])


@dataclass(frozen=True)
class Asked:
    """One line to write: by which call, a digest of the content, the id that its outcome will have too."""

    call: Call
    fingerprint: str
    write_id: str


@dataclass(frozen=True)
class Standings:
    """Tells how writes stand.

    Attributes:
        keep_s: seconds for which an idempotency key is known.
        window_s: seconds for which the content of a flag or a relation is a key.
        clock: now.
    """

    keep_s: float
    window_s: float
    clock: Callable[[], datetime]

    def of(self, connection: Connection, operation: Operation[object], asked: Asked) -> Entry:
        """What is known of equal writes that were asked for before: under the same key, or without one like this."""
        key, fresh = asked.call.key, Entry(asked.write_id)
        is_key = key is not None or isinstance(operation, NATURAL)
        # create_issue compares with the open issues itself, and files an equal one only where it is told to.
        is_add = operation.effect is Effect.ADD and not isinstance(operation, CreateIssue)
        equal = (asked.call.names, asked.fingerprint, operation.tool_name(), key, asked.write_id)
        if not any_row(connection, EQUAL, equal):
            return fresh
        newest = f"seq = (SELECT seq FROM entries WHERE {EQUAL} AND {SETTLED} ORDER BY seq DESC LIMIT 1)"  # noqa: S608  ours
        settled = next(iter(rows(connection, newest, equal)), None)
        if key is not None and settled is not None and self.is_kept(settled, key):  # whatever was asked since
            return self._done(connection, operation, settled, fresh, "done")
        later = rows(connection, f"{EQUAL} AND {OPEN} AND seq > ?", (*equal, 0 if settled is None else settled.seq))
        attempts = self._unbroken(list(later), key)
        if attempts:
            still_open = self._open(connection, fresh, attempts)
            # Another's of equal content, at this very moment, does not stand in for a change or for an issue.
            return still_open if is_key or is_add or not still_open.under_way else fresh
        if settled is None:
            return fresh
        if is_add and self._overlaps(asked.call, settled, outcome_of(connection, settled)):
            return self._done(connection, operation, settled, fresh, "done")
        if is_key and self.is_kept(settled, key):
            return self._done(connection, operation, settled, fresh, "standing")
        return fresh

    def _done(
        self, connection: Connection, operation: Operation[object], settled: Row, fresh: Entry, standing: Standing
    ) -> Entry:
        """How a write stands if an equal one was carried out. Without a kept answer it has to be looked for."""
        outcome, result_type = outcome_of(connection, settled), operation.result_type()
        try:
            answer = json.loads((outcome and outcome.result) or "null")
            result = None if result_type is None else TypeAdapter[Any](result_type).validate_python(answer)
        except ValueError:
            return self._open(connection, fresh, [settled])
        return replace(fresh, standing=standing, result=result)

    def _open(self, connection: Connection, fresh: Entry, attempts: list[Row]) -> Entry:
        """How a write stands if the outcomes of its earlier attempts (oldest first) are unknown."""
        return replace(
            fresh,
            standing="open",
            age_s=self._age(attempts[0]),
            last_age_s=self._age(attempts[-1]),
            before=_before(attempts[0]),
            under_way=any(_under_way(row) and outcome_of(connection, row) is None for row in attempts),
        )

    def _unbroken(self, attempts: list[Row], key: str | None) -> list[Row]:
        """The last of the attempts, back to the first gap of more than the time for which a repeat is known."""
        kept, after = list[Row](), self.clock()
        for row in reversed(attempts):
            if (after - datetime.fromisoformat(row.at)).total_seconds() > (self.keep_s if key else self.window_s):
                break
            kept.append(row)
            after = datetime.fromisoformat(row.at)
        return kept[::-1]

    def _overlaps(self, call: Call, settled: Row, outcome: Row | None) -> bool:
        """Whether a write was not settled yet when a call came, or the call that it was made in not answered.

        A call that had to wait for the journal to be opened learns of the last row later than it came. So the time of the
        outcome counts, too, where this machine's clock dated it.
        """
        if any(settled.write_id in writes for writes in call.beside):
            return True
        if settled.write_id in call.elsewhere and self.is_kept(settled, None):
            return True
        if settled.write_id in call.writes or call.arrived is None or call.came is None or outcome is None:
            return False
        is_later = _is_of_here(settled) and call.came < datetime.fromisoformat(outcome.at) <= self.clock()
        return outcome.seq > call.arrived or is_later

    def is_kept(self, row: Row, key: str | None) -> bool:
        """Whether a row is young enough to count. A row dated in the future is: the clock was set back."""
        elapsed = (self.clock() - datetime.fromisoformat(row.at)).total_seconds()
        return elapsed <= (self.keep_s if key else self.window_s)

    def _age(self, row: Row) -> float:
        """Seconds between a row and now. A clock that was set back counts by how far it was set."""
        return abs((self.clock() - datetime.fromisoformat(row.at)).total_seconds())


UNDER_WAY: set[str] = set()
"""Writes that this process is carrying out."""


@cache
def _realm() -> str:
    """Where this process's id is valid: this boot of this machine, or this container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}.{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:  # no Linux
        return platform.node()


def this_process() -> str:
    """What the journal calls this process."""
    return f"{os.getpid()}@{_realm()}"


def _is_alive(process: int) -> bool:
    if sys.platform == "win32":  # Windows has no harmless way to ask
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _under_way(asked: Row) -> bool:
    """Whether a write without an outcome is still being carried out, as far as can be told; else it was cut off.

    Nobody here knows whether a process on another machine or in another container lives: its write may be under way.
    """
    process, _, realm = (asked.process or "0").partition("@")  # earlier versions noted the number alone
    if realm not in ("", _realm()):
        return True
    return asked.write_id in UNDER_WAY if int(process) == os.getpid() else _is_alive(int(process))


def _is_of_here(asked: Row) -> bool:
    return (asked.process or "").endswith(f"@{_realm()}")


def _before(asked: Row) -> Before | None:
    """What a write's line says of the list before it was sent; None where it says nothing."""
    listed: JsonObject | None = json.loads(asked.result or "null")
    return None if listed is None else Before(tuple(listed["equal"]), listed["last"])
