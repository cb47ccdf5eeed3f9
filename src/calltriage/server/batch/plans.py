"""Plans as they are kept between planning and applying: sealed files in the data folder, for its owner alone.

A plan is written once. What became of its writes is appended to a file beside it, line by line, each on disk before the
next write begins. Both are sealed with the server's own secret, so that nobody can alter them unseen.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import anyio
import anyio.to_thread

from calltriage.errors import Conflict, NotFound, Rejected, StorageUnavailable, StoreError
from calltriage.leaves.durable import sync, write_whole
from calltriage.leaves.folders import Folder, lock
from calltriage.leaves.seals import Seals
from calltriage.leaves.strict_json import JsonObject
from calltriage.server.context import Invocation
from calltriage.storage.folders import make_folder

T = TypeVar("T")

FOLDER = "plans"
LIFE_S = 24 * 3600
"""Seconds for which a plan is kept, unless idempotency keys are known for less: a write that was cut off is known by its
key alone."""
MOST_KEPT = 256
"""Plans of one caller that are kept. The oldest that were never begun are removed for new ones."""
MOST_BYTES = 4 * 2**20
"""Bytes of a plan's file."""
LOOK_EVERY_S = 0.1
PLAN, DONE, LOCK = ".plan", ".done", ".lock"
NAME = re.compile(r"[0-9a-f]{32}\.(plan|done|lock|part|file)")
ID_PATTERN = r"^[0-9a-f]{16}$"
SEAL_CHARACTERS = 24


@dataclass(frozen=True)
class Write:
    """One write of a plan.

    Attributes:
        tool: name of its tool.
        arguments: as they were understood; `$3` still stands for what write 3 makes.
        would: what it would do, in words.
        steps: the requests that it would send, with what they rest on.
        error: why it is not carried out; None for a write that is.
        note: what was read into its arguments.
    """

    tool: str
    arguments: JsonObject
    would: str = ""
    steps: list[JsonObject] = field(default_factory=list[JsonObject])
    error: JsonObject | None = None
    note: str = ""


@dataclass(frozen=True)
class Plan:
    """A kept plan. It ends in `good_for_s` seconds; `seal` is what the call that makes its writes has to be given."""

    plan_id: str
    seal: str
    good_for_s: int
    writes: list[Write]

    @property
    def ready(self) -> int:
        """How many writes are carried out."""
        return sum(write.error is None for write in self.writes)


@dataclass
class Course:
    """A plan while it is applied, by one call at a time.

    Attributes:
        plan: what is to be done.
        begun: numbers of the writes that were begun.
        outcomes: what became of those that ended, by number.
    """

    plan: Plan
    begun: set[int]
    outcomes: dict[int, JsonObject]
    _append: Callable[[list[Any]], None]

    async def begin(self, number: int) -> None:
        """Note on disk that a write is about to be sent."""
        await _in_thread(self._append, [number])
        self.begun.add(number)

    async def end(self, number: int, outcome: JsonObject) -> None:
        """Note on disk what became of a write."""
        self.outcomes[number] = outcome
        await _in_thread(self._append, [number, outcome])


@dataclass(frozen=True)
class Plans:
    """The plans of one caller on one organisation's data.

    Attributes:
        folder: where all plans are.
        seals: what they are sealed with.
        owner: digest of caller and organisation, the first half of a file's name.
        life_s: seconds for which a plan is kept.
    """

    folder: Path
    seals: Seals
    owner: str
    life_s: int = LIFE_S

    @classmethod
    def of(cls, work: Invocation) -> Plans:
        """The plans of a call's caller. Raises Rejected if there is no journal: a write that was cut off could
        not be recognised."""
        if work.server.journal is None:
            raise Rejected("No journal is kept here, so no plan can be.", outcome="not_committed")
        owner = hashlib.sha256(json.dumps([work.server.journal.organisation, work.who]).encode()).hexdigest()[:16]
        life = int(min(LIFE_S, work.server.journal.keep_s))
        return cls(work.server.journal.folder / FOLDER, work.server.seals, owner, life)

    async def keep(self, writes: list[Write]) -> Plan:
        """Keep a plan. Raises Rejected for one that is too large, StorageUnavailable where there is no room."""
        return await _in_thread(self._keep, writes)

    async def find(self, plan_id: str, seal: str | None = None) -> Plan:
        """The plan. Raises NotFound for an unknown one, which another caller's is too; Rejected for another seal than its
        own, and for one that was altered."""
        return await _in_thread(self._find, plan_id, seal)

    @asynccontextmanager
    async def applying(
        self, plan: Plan, until: float, sleep: Callable[[float], Awaitable[None]]
    ) -> AsyncGenerator[Course]:
        """Hold a plan while it is applied; one call at a time can. Raises Conflict (`in_flight`) if another call still holds
        it at `until`, a time on the event loop's clock."""
        while (course := await _in_thread(self._claimed, plan)) is None:
            if anyio.current_time() >= until:
                raise Conflict(
                    "Another call is applying this plan. Call again: it goes on where that one ended.",
                    code="in_flight",
                    retry_after_s=2.0,
                    outcome="not_committed",
                )
            await sleep(LOOK_EVERY_S)
        found, claim = course
        with claim:
            yield found

    async def outcomes(self, plan: Plan) -> dict[int, JsonObject]:
        """What became of a plan's writes so far."""
        return await _in_thread(self._outcomes, plan)

    # The files

    def _keep(self, writes: list[Write]) -> Plan:
        make_folder(self.folder.parent)  # where the secret is
        make_folder(self.folder)
        plan_id = secrets.token_hex(8)
        text = self.seals.sealed(PLAN, self.life_s, self.owner, plan_id, [asdict(write) for write in writes])
        if len(text) > MOST_BYTES:
            raise Rejected("The plan's texts are too long together. Plan fewer writes.", field="writes")
        name = self.owner + plan_id
        with Folder(self.folder) as folder:
            self._make_room(folder)
            folder.put(name + PLAN, text.encode(), for_good=True)
        return Plan(plan_id, _seal(text), self.life_s, writes)

    def _make_room(self, folder: Folder) -> None:
        """Remove files of plans that have ended and, where the caller has too many, the oldest that were never begun.
        Raises Rejected (`too_many_plans`) if that makes no room."""
        before, ages = time.time() - LIFE_S - 60, dict[str, float]()
        for name in filter(NAME.fullmatch, folder.names()):
            about = folder.about(name)
            if about is not None and about.st_mtime < before:
                folder.remove(name)
            elif about is not None:
                ages[name] = about.st_mtime
        own = [name for name in ages if name.startswith(self.owner) and name.endswith(PLAN)]
        idle = [name for name in own if name.removesuffix(PLAN) + DONE not in ages]
        for name in sorted(idle, key=lambda one: ages[one])[: max(0, len(own) - MOST_KEPT + 1)]:
            folder.remove(name)
        if len(own) - len(idle) >= MOST_KEPT:
            raise Rejected("Too many plans are kept. Wait until the oldest end.", code="too_many_plans")

    def _find(self, plan_id: str, seal: str | None) -> Plan:
        try:
            with Folder(self.folder) as folder, os.fdopen(folder.open(self.owner + plan_id + PLAN), "rb") as file:
                text = file.read(MOST_BYTES + 1).decode("ascii", "replace")
        except FileNotFoundError:
            raise _unknown() from None
        writes = self._opened(PLAN, text, plan_id)
        good_for_s = self.seals.good_for(PLAN, text)
        if not good_for_s:
            raise _unknown()
        if seal is not None and not secrets.compare_digest(seal.encode(), _seal(text).encode()):
            raise Rejected("This is not the plan's seal. Pass the one that came with the plan.", field="seal")
        return Plan(plan_id, _seal(text), good_for_s, [Write(**write) for write in writes[0]])

    def _opened(self, kind: str, text: str, plan_id: str) -> list[Any]:
        """The values that were sealed for a plan of this owner, also after its time. Raises Rejected (`plan_altered`) if
        they were altered."""
        match replace(self.seals, clock=lambda: 0.0).opened(kind, text):
            case [self.owner, str(sealed_for), *values] if sealed_for == plan_id:
                return values
            case _:
                raise Rejected(
                    "The kept plan is not as it was made. Nothing was done; plan anew.",
                    code="plan_altered",
                    field="plan_id",
                    outcome="not_committed",
                )

    def _claimed(self, plan: Plan) -> tuple[Course, ExitStack] | None:
        """The plan's course, and what releases it; None while another call holds it. The lock ends with its process."""
        name = self.owner + plan.plan_id
        with ExitStack() as stack:
            folder = stack.enter_context(Folder(self.folder))
            handle = folder.open(name + LOCK, os.O_RDWR | os.O_CREAT)
            stack.callback(os.close, handle)
            try:
                lock(handle)
            except OSError:
                return None
            lines = self._lines(folder, plan.plan_id)
            file = os.fdopen(folder.open(name + DONE, os.O_WRONLY | os.O_CREAT), "wb", buffering=0)
            stack.enter_context(file)
            file.truncate(whole := sum(len(line) + 1 for line, _ in lines))  # drops a line that a crash cut off
            file.seek(whole)
            folder.sync()
            return Course(plan, *_read(lines), partial(self._append, file, plan.plan_id)), stack.pop_all()

    def _append(self, file: BinaryIO, plan_id: str, entry: list[Any]) -> None:
        line = self.seals.sealed(DONE, LIFE_S, self.owner, plan_id, *entry).encode() + b"\n"
        write_whole(file, line)
        sync(file)

    def _lines(self, folder: Folder, plan_id: str) -> list[tuple[bytes, list[Any]]]:
        """The complete lines of a plan's file of outcomes, each with its values."""
        try:
            with os.fdopen(folder.open(self.owner + plan_id + DONE), "rb") as file:
                lines = file.read().split(b"\n")[:-1]
        except FileNotFoundError:
            return []
        return [(line, self._opened(DONE, line.decode("ascii", "replace"), plan_id)) for line in lines]

    def _outcomes(self, plan: Plan) -> dict[int, JsonObject]:
        with Folder(self.folder) as folder:
            return _read(self._lines(folder, plan.plan_id))[1]


def _read(lines: list[tuple[bytes, list[Any]]]) -> tuple[set[int], dict[int, JsonObject]]:
    """The writes that were begun, and what became of those that ended."""
    entries = [entry for _, entry in lines]
    return {entry[0] for entry in entries}, {entry[0]: entry[1] for entry in entries if len(entry) > 1}


def _seal(text: str) -> str:
    """Digest of a plan's sealed text. The text has the server's seal, so nobody else can make one."""
    return hashlib.sha256(text.encode()).hexdigest()[:SEAL_CHARACTERS]


def _unknown() -> NotFound:
    return NotFound(
        "No plan of yours has this id, or its time is over. Nothing was done; plan anew.",
        code="plan_not_found",
        field="plan_id",
        outcome="not_committed",
    )


async def _in_thread(act: Callable[..., T], *arguments: object) -> T:
    """Run `act` on the files in a thread. Raises StorageUnavailable if the folder cannot be used."""
    try:
        return await anyio.to_thread.run_sync(act, *arguments)
    except (OSError, StoreError) as error:
        raise StorageUnavailable(
            "The folder of plans cannot be used. Ask the operator to run: calltriage doctor", outcome="not_committed"
        ) from error
