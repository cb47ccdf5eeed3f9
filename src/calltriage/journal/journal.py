"""Writes on record: before they are sent, and with what became of them; equal ones are recognised."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from uuid_utils import uuid4

from calltriage.client.ledger import Entry
from calltriage.client.limits import deadline_in
from calltriage.client.look_ups import Before
from calltriage.client.receipts import Receipt
from calltriage.errors import CallError, Conflict, ServerFailure, StorageUnavailable, StoreBusyError, StoreError
from calltriage.journal.checking import check_folder
from calltriage.journal.digests import caller_name, digested
from calltriage.journal.equal_writes import NAMED, OPEN, SETTLED, UNDER_WAY, Asked, Call, Standings, this_process
from calltriage.journal.head_notes import HeadNote
from calltriage.journal.rows import FILE, Check, Row, append, facts, head_of, holds, outcome_of, prepare, rows
from calltriage.journal.showing import brief
from calltriage.journal.unanswered import FOLDER, Unanswered, When, at_once
from calltriage.leaves.instants import utc_now
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.base import Effect, Operation
from calltriage.storage import Database, SqliteFile

if TYPE_CHECKING:
    from sqlalchemy import Connection

T = TypeVar("T")
logger = logging.getLogger(__name__)

REPEATS = 20
"""Most calls of one key that are read, newest first."""
NOTE_EVERY_S = 1.0
"""Least seconds between two notes of the head."""
SHARED_TOKEN = "the holders of the token"  # noqa: S105  a caller's name, no token
"""The one caller that all holders of the shared HTTP token are, whatever its value."""
SECRET = frozenset({"url"})
"""Fields of answers that are bearer capabilities."""


_call: ContextVar[Call] = ContextVar("calltriage_call", default=Call())  # noqa: B039  frozen


@dataclass
class Journal:
    """The record of writes in `folder`, which several processes may share. A `Ledger` for the client.

    Attributes:
        folder: where its file is, made at the first write.
        organisation: says where the writes go, and for which account; keys of one are not another's.
        keep_s: seconds for which an idempotency key is known.
        window_s: seconds for which the content of a flag or a relation is a key.
        clock: now, replaced in tests.
        note: where the head is noted beside the file; None for a journal without.
        former: names under which earlier versions noted callers, by their names now; by default they noted none.
        former_organisation: what they would call the organisation with the present credentials; by default the same.
        former_others: what they called others, whose keys are not this one's.
    """

    folder: Path
    organisation: str = ""
    keep_s: float = 48 * 3600
    window_s: float = 600
    clock: Callable[[], datetime] = utc_now
    note: HeadNote | None = None
    former: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    former_organisation: str | None = field(default=None, repr=False)
    former_others: tuple[str, ...] = ()
    database: Database = field(init=False)
    _standings: Standings = field(init=False, repr=False)
    _unanswered: Unanswered = field(init=False, repr=False)
    _salt: bytes | None = field(default=None, init=False, repr=False)
    _earlier: frozenset[str] = field(default=frozenset(), init=False)
    _unnoted: bool = field(default=False, init=False)
    _note_after: float = field(default=-math.inf, init=False)
    _begun: dict[str, Asked] = field(default_factory=dict[str, Asked], init=False, repr=False)
    """Writes on record whose end is not, by their ids."""
    _turns: dict[tuple[str, str, str], anyio.Lock] = field(default_factory=dict, init=False)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        self._standings = Standings(self.keep_s, self.window_s, self.clock)
        self._unanswered = Unanswered(self.folder / FOLDER)
        self.database = Database(SqliteFile(self.folder, FILE), prepare)

    async def close(self) -> None:
        await self._note_head()
        await self.database.close()

    # What the client asks

    async def begin(self, operation: Operation[object], before: Before | None = None) -> Entry:
        """Put a write on record before it is sent. Raises StorageUnavailable when that fails: then nothing is sent."""
        asked, arguments = await self._asked(operation)
        listed = None if before is None else _compact(asdict(before))

        def change(connection: Connection) -> Entry:
            entry = self._standings.of(connection, operation, asked)
            self._append(
                connection, asked, operation=operation.tool_name(), arguments=_compact(arguments), result=listed
            )
            if operation.effect is Effect.ADD and asked.call.arrived is not None:
                self._unanswered.add(asked.write_id)
            return entry

        asked.call.writes.add(asked.write_id)
        UNDER_WAY.add(asked.write_id)  # before anybody can read the line
        try:
            entry = await self._write(change)
        except BaseException:
            UNDER_WAY.discard(asked.write_id)
            raise
        self._begun[asked.write_id] = asked
        return entry

    async def again(self, entry: Entry, operation: Operation[object]) -> Entry:
        """How a write stands by now. Raises StorageUnavailable when that cannot be read."""
        asked = replace((await self._asked(operation))[0], write_id=entry.id)
        return await self._read(lambda connection: self._standings.of(connection, operation, asked))

    async def _asked(self, operation: Operation[object]) -> tuple[Asked, JsonObject]:
        """The line for a write of the present tool call, and its arguments."""
        call, salt = _call.get(), await self._digest_key()
        name, is_patch = operation.tool_name(), operation.method == "PATCH"  # there null says something
        arguments = operation.model_dump(mode="json", exclude_unset=is_patch, exclude_none=not is_patch)
        if not call.caller:
            call = replace(self._named(salt, ""), tool=call.tool or name, key=call.key)
        return Asked(call, digested(salt, name, json.dumps(arguments, sort_keys=True)), uuid4().hex), arguments

    async def end(self, entry: Entry, operation: Operation[object], came: Receipt[object] | BaseException) -> None:
        """Record what became of a write. A failure to do so is logged: the write is what it is."""
        outcome, code, result = "unknown", None, None
        if isinstance(came, Receipt):
            outcome, result = came.outcome or "committed", _kept(came.result)
        elif isinstance(came, CallError):
            outcome, code = came.outcome or "unknown", came.code
        else:
            code = "internal_error"
        await self._settle(self._begun.pop(entry.id), operation.tool_name(), outcome, code, result)
        UNDER_WAY.discard(entry.id)

    # What the server asks

    def _named(self, salt: bytes, who: str) -> Call:
        """A call of this caller, under each name that its writes may stand under."""

        name = partial(caller_name, salt)
        before = self.organisation if self.former_organisation is None else self.former_organisation
        former = {name(before, one) for one in (who, self.former.get(who, ""))}
        whoever = ("", SHARED_TOKEN, *self.former.values())
        known = {name(one, who) for one in (before, *self.former_others) for who in whoever}
        strangers = self._earlier - known - former
        return Call(name(self.organisation, who), tuple(sorted(former)), tuple(sorted(strangers)))

    @asynccontextmanager
    async def calling(
        self,
        tool: str,
        who: str,
        key: str | None,
        *,
        when_answered: When = at_once,
        came: datetime | None = None,
    ) -> AsyncGenerator[Call]:
        """Around a tool call: the writes in it are its own. Calls with one key go one after the other.

        `when_answered` is given what is to be done once the answer has gone out; by default the call ends with this block.
        `came` is when the call came at the earliest; by default it comes now.
        """
        came = came or self.clock()
        with self._unanswered.call(when_answered) as (writes, beside, elsewhere):
            salt = await self._digest_key()
            arrived, _ = await self._read(head_of)
            digest = None if key is None else digested(salt, "key", tool, key)
            named = self._named(salt, who)
            call = replace(
                named,
                tool=tool,
                key=digest,
                writes=writes,
                beside=beside,
                elsewhere=elsewhere,
                came=came,
                arrived=arrived,
            )
            async with self._in_turn(call):
                yield call

    @asynccontextmanager
    async def _in_turn(self, call: Call) -> AsyncGenerator[None]:
        with _within(call):
            if call.key is None:
                yield
                return
            name = (call.caller, call.tool, call.key)
            lock = self._turns.setdefault(name, anyio.Lock())
            try:
                async with lock:
                    yield
            finally:
                if not lock.locked():  # else who waited has it now
                    self._turns.pop(name, None)

    async def once(self, call: Call, arguments: JsonObject, act: Callable[[], Awaitable[JsonObject]]) -> JsonObject:
        """Do what a key stands for unless it was done; then answer as before, outcome replayed.

        Raises Conflict when the key came with other arguments before. A call that was cut off is gone through again: each of
        its writes is found done, looked for, or sent.
        """
        content = digested(await self._digest_key(), call.tool, json.dumps(arguments, sort_keys=True))
        asked = Asked(call, content, uuid4().hex)

        def change(connection: Connection) -> JsonObject | None:
            same_key = f"kind = 'asked' AND {NAMED} AND tool = ? AND key = ? AND operation IS NULL"
            newest = f"seq IN (SELECT seq FROM entries WHERE {same_key} ORDER BY seq DESC LIMIT {REPEATS})"  # noqa: S608  ours
            found = rows(connection, newest, (call.names, call.tool, call.key))
            before = [row for row in found if self._standings.is_kept(row, call.key)]
            others = [row for row in before if row.fingerprint != asked.fingerprint]
            before = [row for row in before if row not in others]
            if any(row.caller not in call.strangers for row in others):
                raise Conflict(
                    "This idempotency key came with other arguments before. Nothing was done; use a new key for a new call.",
                    code="idempotency_conflict",
                    field="idempotency_key",
                    outcome="not_committed",
                )
            for outcome in [outcome_of(connection, row) for row in reversed(before)]:
                if outcome is not None and outcome.outcome in {"committed", "replayed"}:
                    return json.loads(outcome.result or "{}")
            self._append(connection, asked)
            return None

        done = await self._write(change)
        if done is not None:
            return {**done, "outcome": "replayed"}
        outcome, code, body = "unknown", None, None
        try:
            body = await act()
            outcome = str(body.get("outcome", "committed"))
            return body
        except CallError as error:
            outcome, code = error.outcome or "not_committed", error.code
            raise
        finally:
            with anyio.CancelScope(shield=True):
                await self._settle(asked, None, outcome, code, None if body is None else _compact(body))

    async def has_asked(self, operation: type[Operation[Any]]) -> bool:
        """Whether the present tool call repeats one of its key that made this write, or may have. False without a key."""
        call, same = _call.get(), f"kind = 'asked' AND {NAMED} AND key = ? AND operation = ? AND ({OPEN} OR {SETTLED})"
        return await self._read(lambda it: any(rows(it, same, (call.names, call.key, operation.tool_name()))))

    async def recent(self, call: Call, limit: int = 50) -> list[JsonObject]:
        """A caller's newest writes, newest first, in ids and outcomes."""

        def read(connection: Connection) -> list[JsonObject]:
            asked = rows(
                connection,
                f"seq IN (SELECT seq FROM entries WHERE kind = 'asked' AND operation IS NOT NULL AND {NAMED} "  # noqa: S608
                "ORDER BY seq DESC LIMIT ?)",
                (replace(call, key=None).names, limit),
            )
            return [brief(row, outcome_of(connection, row)) for row in asked][::-1]

        return await self._read(read, is_brief=False)

    # What the operator asks

    async def verify(self) -> Check:
        """Follow the chain, and compare it with its head and with the head noted beside it. Raises StoreError for a file
        that cannot be read as a journal."""
        return await anyio.to_thread.run_sync(check_folder, self.folder, self.note)

    async def every(self, limit: int | None = None) -> list[Row]:
        """All rows in order, or the newest few."""
        condition = "1 = 1" if limit is None else "seq > (SELECT seq FROM head) - ?"
        values = () if limit is None else (limit,)
        return await self._read(lambda connection: list(rows(connection, condition, values)), is_brief=False)

    # The file

    def _append(self, connection: Connection, asked: Asked, **more: str | None) -> None:
        append(
            connection, at=self._now(), kind="asked", write_id=asked.write_id, process=this_process(),
            caller=asked.call.caller, tool=asked.call.tool, key=asked.call.key, fingerprint=asked.fingerprint, **more,
        )  # fmt: skip

    def _now(self) -> str:
        return self.clock().astimezone(UTC).isoformat(timespec="milliseconds")

    async def _digest_key(self) -> bytes:
        """A secret of this journal, so that what it digests cannot be guessed from outside. The first call reads the names
        of earlier versions' callers, too."""
        if self._salt is None:
            found = await self._read(facts)
            self._earlier = frozenset(filter(None, found["earlier callers"].split(",")))
            self._salt = bytes.fromhex(found["salt"])
        return self._salt

    async def _settle(
        self, asked: Asked, operation: str | None, outcome: str, code: str | None, result: str | None
    ) -> None:
        def change(connection: Connection) -> None:
            append(
                connection, at=self._now(), kind="outcome", write_id=asked.write_id, caller=asked.call.caller,
                tool=asked.call.tool, operation=operation, fingerprint=asked.fingerprint, outcome=outcome, code=code,
                result=result,
            )  # fmt: skip

        try:
            await self.database.write(change)
        except Exception:
            logger.exception("the journal could not record what became of a write by %s", asked.call.tool)
            call = _call.get()
            if call.caller:
                call.unrecorded.append(asked.write_id)
            return
        await self._written()

    async def _write(self, change: Callable[[Connection], T]) -> T:
        done = await self._guarded(self.database.write(change, deadline=deadline_in(math.inf)))
        await self._written()
        return done

    async def _written(self) -> None:
        """After a write: note the head unless that was done within `NOTE_EVERY_S`."""
        self._unnoted = True
        if anyio.current_time() >= self._note_after:
            await self._note_head()

    async def _note_head(self) -> None:
        """Note the head beside the file, if there is a new one. A failure is logged: the journal stands without its note."""
        if self.note is None or not self._unnoted:
            return
        self._unnoted, self._note_after = False, anyio.current_time() + NOTE_EVERY_S
        with anyio.CancelScope(shield=True):
            try:
                noted = await anyio.to_thread.run_sync(self.note.read)
                head, is_held = await self.database.read(
                    lambda connection: (head_of(connection), holds(connection, noted))
                )
                if not is_held:
                    logger.error("the journal lacks a row that was noted beside it: run calltriage journal verify")
                elif noted is None or noted[0] < head[0]:
                    await anyio.to_thread.run_sync(self.note.write, *head)
            except Exception as error:  # noqa: BLE001  the write that came before is done, whatever happens here
                logger.warning("the journal's head could not be noted: %s", error)

    async def _read(self, query: Callable[[Connection], T], *, is_brief: bool = True) -> T:
        return await self._guarded(self.database.read(query, is_brief=is_brief))

    async def _guarded(self, work: Awaitable[T]) -> T:
        from sqlalchemy import exc  # noqa: PLC0415

        try:
            return await work
        except StoreBusyError as error:
            raise ServerFailure(
                "Another process keeps the journal busy, so nothing was sent. Wait, then call again.",
                code="storage_busy",
                retry_after_s=1.0,
                outcome="not_committed",
            ) from error
        except (StoreError, exc.SQLAlchemyError, OSError) as error:
            raise StorageUnavailable(
                "The journal cannot be used, so nothing was sent. Ask the operator to run: calltriage doctor",
                outcome="not_committed",
            ) from error


@contextmanager
def _within(call: Call) -> Generator[None]:
    token = _call.set(call)
    try:
        yield
    finally:
        _call.reset(token)


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _kept(result: Any) -> str | None:
    """An answer as it is kept: whole but for what would open a door."""
    if result is None:
        return None
    return _compact({name: value for name, value in result.model_dump(mode="json").items() if name not in SECRET})
