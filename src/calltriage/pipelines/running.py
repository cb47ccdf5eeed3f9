"""The steps of a run for each call: fetch, detect, verify, record, file.

A crash may interrupt any step. The next process starts the item again. It finds the results, findings and effects that
are in the ledger already, and repeats none of them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import anyio

from calltriage.client.client import Client
from calltriage.errors import CallError, NotFound, SettingsError, StoreError
from calltriage.leaves.instants import written
from calltriage.pipelines.calls import Call
from calltriage.pipelines.examining import Examination, Prepared, examine
from calltriage.pipelines.filing_step import Filer
from calltriage.pipelines.findings import Verification
from calltriage.pipelines.ledger import findings, results, runs
from calltriage.pipelines.ledger.items import Item, Standing, next_due
from calltriage.pipelines.ledger.ledger import Ledger
from calltriage.pipelines.ledger.results import Known
from calltriage.pipelines.ledger.retention import forget_older
from calltriage.pipelines.patience import is_of_all, may_be_repeated, patiently
from calltriage.pipelines.reading import read_call
from calltriage.pipelines.recording import Recorder
from calltriage.pipelines.spec import Spec
from calltriage.pipelines.tallies import Tally

MOST_AT_ONCE = 32
"""Most calls in hand at a time."""
TRIES = 3
"""How often a call is examined while a model's detector fails."""
AGAIN_AFTER = timedelta(minutes=1)
"""Pause before the second try; each later pause is twice as long."""
LOOK_AGAIN_AFTER = timedelta(hours=1)
"""Time after the end of a watched call without a corrected transcript at which it is examined again."""
LONGEST_ID = 200
"""Characters of a call's id that the log shows."""

logger = logging.getLogger(__name__)


def _unheard() -> None:
    """The default of `heard`: ignores progress."""


@dataclass(frozen=True)
class _Examined:
    """An item whose findings are recorded.

    Attributes:
        examination: None if an earlier process recorded the findings.
        state: the item's state in the ledger.
        fingerprints: the incidents of its findings.
        began: when the examination started, by `time.perf_counter`.
        error: which detectors failed; None if none did.
    """

    item: Item
    examination: Examination | None
    state: str
    fingerprints: tuple[str, ...]
    began: float
    error: str | None

    def standing(self, failed: Mapping[str, str]) -> Standing:
        """The item's last state. `failed`: error codes by fingerprint, of the incidents that could not be filed."""
        error = next((failed[one] for one in self.fingerprints if one in failed), self.error)
        return Standing(self.item.call_id, "done" if error is None else "failed", error)


@dataclass
class Work:
    """What a run does with each of its calls.

    Attributes:
        tally: what this process found.
        reader: reads calls. It differs from `client`, which files issues, if the calls come from elsewhere.
        refile: see `windows.Window.refile`. Detectors whose findings were kept back examine the call again then.
    """

    client: Client
    ledger: Ledger
    spec: Spec
    run_id: str
    detectors: Sequence[Prepared]
    filer: Filer
    tally: Tally
    reader: Client
    refile: bool = False

    def __post_init__(self) -> None:
        self._corrected = any(one.detector.needs_corrected for one in self.detectors)
        self._remembers = any(one.detector.is_model for one in self.detectors)
        self._recorder = Recorder(self.ledger, self.run_id, self.spec.name, self._requests, self.refile)

    @property
    def at_once(self) -> int:
        """Calls, and incidents, in hand at a time: enough to use all requests in flight while others are recorded. No more
        than MOST_AT_ONCE, since calls in hand are read again after a crash."""
        return min(2 * self.reader.triage.in_flight, MOST_AT_ONCE)

    def _requests(self) -> int:
        """How many requests the clients of this run have sent."""
        own = self.client.requests
        return own if self.reader is self.client else own + self.reader.requests

    async def state(self) -> str:
        """The run's state. Waits while the database is away."""
        return await patiently(lambda: runs.state_of(self.ledger, self.run_id))

    async def why_waiting(self) -> str | None:
        """Why the run is not done although nothing is due; None if no call waits."""
        due = await next_due(self.ledger, self.run_id)
        return None if due is None else f"Some calls wait until {due}. The same command goes on then."

    async def batch(self, items: Sequence[Item], heard: Callable[[], None] = _unheard) -> None:
        """Examine items, `at_once` at a time, then file what they found, once for each incident.

        Waits while the API or a database is away. An item that fails alone is recorded as failed. Raises errors that every
        other item would meet, too, such as Unauthenticated. `heard` is called after each examined item.
        """
        left, found = iter(items), list[_Examined]()

        async def take() -> None:
            for item in left:
                done = await self._examined(item)
                found.extend([done] if done is not None else [])
                heard()

        async with anyio.create_task_group() as tasks:
            for _ in range(min(self.at_once, len(items))):
                tasks.start_soon(take)
        await self._file(found)

    async def _examined(self, item: Item) -> _Examined | None:
        """Examine a call and record what was found. None if nothing is left to file."""
        began = time.perf_counter()
        try:
            done = await self._carry_out(item, began)
        except CallError as error:
            if is_of_all(error):
                raise
            await self._end([Standing(item.call_id, "failed", error.code)])
            self.tally.add_other(item.call_id)
            self._tell(item, "failed", None, began)
            logger.warning("call %s failed: %s", item.call_id, error.code)
            return None
        return done

    def _tell(self, item: Item, state: str, examination: Examination | None, began: float) -> None:
        """Log the end of an item: ids, our own names and figures, no words of the call."""
        told = {
            "run": self.run_id, "pipeline": self.spec.name, "call_id": item.call_id[:LONGEST_ID], "state": state,
            "attempt": item.attempt + 1, "findings": 0 if examination is None else len(examination.found),
            "failed": [] if examination is None else list(examination.failures),
            "ms": round((time.perf_counter() - began) * 1000),
        }  # fmt: skip
        logger.info("item ended", extra=told)

    async def _carry_out(self, item: Item, began: float) -> _Examined | None:
        if item.state == "examined":  # a process ended before it filed the findings
            fingerprints = await patiently(lambda: self._waiting(item.call_id))
            self.tally.add_other(item.call_id)
            return _Examined(item, None, item.state, tuple(fingerprints), began, item.error)
        try:
            call = await patiently(lambda: read_call(self.reader, item.call_id, corrected=self._corrected))
        except NotFound:
            await self._end([Standing(item.call_id, "skipped", "gone")])
            self.tally.skipped += 1
            self._tell(item, "skipped", None, began)
            return None
        known = dict[tuple[str, str], Known]()
        if self._remembers:
            known = await patiently(lambda: results.of_call(self.ledger, call.call_id, call.content_hash))
            if self.refile:
                known = await self._without_held_back(call.call_id, known)
        examination = await examine(call, self.detectors, known)
        state, due_at, why = self._state_after(item, examination, known)
        standing = Standing(call.call_id, state, why, call.content_hash, due_at)
        await patiently(lambda: self._recorder.record(examination, standing))
        self.tally.add(examination, left=why if state in {"new", "deferred"} else None)
        for what, name in examination.off:
            await self.filer.tell_off(what, name)
        fingerprints = await self._fingerprints(call, examination, known)
        if state != "examined" and not fingerprints:
            self._tell(item, state, examination, began)
            return None
        return _Examined(item, examination, state, fingerprints, began, why)

    async def _without_held_back(
        self, call_id: str, known: Mapping[tuple[str, str], Known]
    ) -> dict[tuple[str, str], Known]:
        """What is known of a call by detectors none of whose findings in it is held back; see `findings.FILED_BEFORE`."""
        read = partial(findings.held_back, ledger=self.ledger, call_id=call_id, pipeline=self.spec.name)
        held = await patiently(lambda: self.ledger.read(read))
        again = {name for one in self.spec.detect if held.intersection(one.names) for name in one.names}
        return {key: one for key, one in known.items() if key[0] not in again}

    async def _fingerprints(
        self, call: Call, examination: Examination, known: Mapping[tuple[str, str], Known]
    ) -> tuple[str, ...]:
        """Incidents of the new findings, and of earlier findings of the call that are not filed yet."""
        verified = (one.verified for one in examination.found)
        found = [one.fingerprint for one in verified if one.verification is not Verification.UNVERIFIED]
        if _had_findings(known):
            found += await patiently(lambda: self._waiting(call.call_id))
        return tuple(dict.fromkeys(found))

    async def _waiting(self, call_id: str) -> list[str]:
        """Incidents of a call's findings that are not filed yet."""
        read = partial(findings.waiting, ledger=self.ledger, call_id=call_id, pipeline=self.spec.name)
        return await self.ledger.read(read)

    def _state_after(
        self, item: Item, examination: Examination, known: Mapping[tuple[str, str], Known]
    ) -> tuple[str, datetime | None, str | None]:
        """The item's state after the examination, when it is due again, and the reason; None where there is none."""
        now = self.ledger.clock()
        if examination.deferred is not None:
            tomorrow = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
            wait_s = examination.wait_s
            due = tomorrow if wait_s is None else now + timedelta(seconds=wait_s)
            return "deferred", due, examination.deferred
        if examination.failed is not None and item.attempt + 1 < TRIES:
            return "new", now + AGAIN_AFTER * 2**item.attempt, examination.failed
        if (again := self._look_again_at(examination.call)) is not None and now < again:
            return "deferred", again, "looked at again once its recording may have been transcribed"
        why = f"{', '.join(examination.failures)} failed" if examination.failures else None
        if examination.found or _had_findings(known):
            return "examined", None, why
        return "done" if why is None else "failed", None, why

    def _look_again_at(self, call: Call) -> datetime | None:
        """When a call without a corrected transcript is examined again; None if it is not.

        Only a watched call may still get one, and only a detector that reads corrected transcripts needs it.
        """
        if not (self._corrected and self.filer.is_watching and call.corrected is None):
            return None
        return None if call.ended is None else call.ended + LOOK_AGAIN_AFTER

    async def _file(self, found: Sequence[_Examined]) -> None:
        """File the findings of some items, incident by incident, and record how the items end."""
        by_incident = dict[str, dict[str, Call]]()
        for one in found:
            for fingerprint in one.fingerprints:
                calls = by_incident.setdefault(fingerprint, {})
                if one.examination is not None and self.reader is self.client:
                    calls[one.item.call_id] = one.examination.call
        due = await patiently(lambda: self.filer.waiting(list(by_incident))) if by_incident else []
        left, failed = iter(due), dict[str, str]()

        async def take() -> None:
            for fingerprint in left:
                code = await self._settled(fingerprint, by_incident.get(fingerprint, {}))
                failed.update({} if code is None else {fingerprint: code})

        async with anyio.create_task_group() as tasks:
            for _ in range(min(self.at_once, len(due))):
                tasks.start_soon(take)
        await patiently(lambda: self.filer.spikes.tell(list(by_incident)))
        await self._end([one.standing(failed) for one in found if one.state == "examined"])
        for one in found:
            state = one.standing(failed).state if one.state == "examined" else one.state
            self._tell(one.item, state, one.examination, one.began)

    async def _settled(self, fingerprint: str, calls: Mapping[str, Call]) -> str | None:
        """File an incident's findings. Returns the error's code if a repeat would fail in the same way, else None."""
        try:
            await patiently(lambda: self.filer.settle(fingerprint, calls), passes=may_be_repeated)
        except CallError as error:
            if is_of_all(error):
                raise
            logger.warning("findings could not be filed: %s", error.code)
            return error.code
        return None

    async def forget_old(self) -> None:
        """Remove the words of findings that are older than the file's `retention`."""
        keeps = self.spec.retention
        if keeps is not None:
            names = [name for one in self.spec.detect for name in one.names]
            await forget_older(self.ledger, self.spec.name, names, written(self.ledger.clock() - keeps))

    async def _end(self, standings: Sequence[Standing]) -> None:
        if standings:
            await patiently(lambda: self._recorder.end(standings))


def why_paused(error: BaseException) -> str:
    """Why a run that ended by this error is paused, in the words that its status shows."""
    if isinstance(error, anyio.get_cancelled_exc_class() | KeyboardInterrupt):
        return "It was interrupted. The same command goes on."
    if isinstance(error, CallError):
        return error.code
    return str(error) if isinstance(error, SettingsError | StoreError) else type(error).__name__


def _had_findings(known: Mapping[tuple[str, str], Known]) -> bool:
    """Whether any version of a detector found something in a call before."""
    return any(one.verdict == "found" for one in known.values())
