"""One call of a run, from reading it to filing what was found: fetch, detect, verify, record, file.

Each step may be cut off. What was recorded stands. An item that was cut off is done again from its beginning, which finds
its results, findings and effects in the ledger and repeats none of them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from calltriage.client.client import Client
from calltriage.errors import Blocked, CallError, Forbidden, NotFound, StorageUnavailable, Unauthenticated
from calltriage.pipelines.calls import Call
from calltriage.pipelines.examining import Examination, Prepared, examine
from calltriage.pipelines.filing_step import Filer
from calltriage.pipelines.ledger import findings, items, results
from calltriage.pipelines.ledger.items import Item
from calltriage.pipelines.ledger.ledger import Ledger
from calltriage.pipelines.reading import may_pass, patiently, read_call
from calltriage.pipelines.spec import Spec
from calltriage.pipelines.tallies import Tally

if TYPE_CHECKING:
    from sqlalchemy import Connection

TRIES = 3
"""Times that a call is examined by a detector whose failure may pass."""
AGAIN_AFTER = timedelta(minutes=1)

logger = logging.getLogger(__name__)


@dataclass
class Work:
    """What a run does with each of its calls.

    Attributes:
        tally: what this process found.
    """

    client: Client
    ledger: Ledger
    spec: Spec
    run_id: str
    detectors: Sequence[Prepared]
    filer: Filer
    tally: Tally

    def __post_init__(self) -> None:
        self._corrected = any(one.detector.needs_corrected for one in self.detectors)
        self._remembers = any(one.detector.is_model for one in self.detectors)

    async def item(self, item: Item) -> None:
        """Bring an item to its end, or to where it waits. Waits for what is away. Raises what makes all others fail, too."""
        try:
            await patiently(lambda: self._carry_out(item))
        except (Unauthenticated, Forbidden, Blocked, StorageUnavailable):
            raise
        except CallError as error:
            if may_pass(error):
                raise
            await self._end(item, "failed", error.code)
            logger.warning("call %s failed: %s", item.call_id, error.code)

    async def _carry_out(self, item: Item) -> None:
        try:
            call = await read_call(self.client, item.call_id, corrected=self._corrected)
        except NotFound:
            await self._end(item, "skipped", "gone")
            self.tally.skipped += 1
            return
        known = await results.of_call(self.ledger, call.call_id, call.content_hash) if self._remembers else {}
        examination = await examine(call, self.detectors, known)
        state, due_at = self._state_after(item, examination)
        await self.ledger.write(lambda connection: self._record(connection, examination, state, due_at))
        await self._file(call, examination, known)
        if state == "examined":
            await self._end(item, "done")
        self.tally.add(examination)

    def _state_after(self, item: Item, examination: Examination) -> tuple[str, datetime | None]:
        now = self.ledger.clock()
        if examination.deferred is not None:
            return "deferred", (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
        if examination.failed is not None and item.attempt + 1 < TRIES:
            return "new", now + AGAIN_AFTER * 2**item.attempt
        return "examined" if examination.found or item.state != "new" else "done", None

    def _record(self, connection: Connection, examination: Examination, state: str, due_at: datetime | None) -> None:
        call, ledger = examination.call, self.ledger
        results.stored(ledger, call.call_id, call.content_hash, examination.results)(connection)
        placed = [findings.place(one.verified, one.detect, one.suppressed_by) for one in examination.found]
        findings.record(
            connection, ledger, run_id=self.run_id, pipeline=self.spec.name, call=call, placed=placed,
            examined=examination.examined,
        )  # fmt: skip
        why = examination.deferred or examination.failed
        items.set_state(
            ledger, self.run_id, call.call_id, state, error=why, content_hash=call.content_hash, due_at=due_at
        )(connection)

    async def _file(self, call: Call, examination: Examination, known: Mapping[tuple[str, str], str]) -> None:
        """File what was found now, and what was found before and was cut off before it was filed."""
        found = [one.verified for one in examination.found]
        if found:
            await self.filer.file(call, found)
        if "found" in known.values():
            now = {one.fingerprint for one in found}
            for fingerprint in await _waiting(self.ledger, call.call_id):
                if fingerprint not in now:
                    await self.filer.settle(fingerprint, call)

    async def _end(self, item: Item, state: str, error: str | None = None) -> None:
        await self.ledger.write(items.set_state(self.ledger, self.run_id, item.call_id, state, error=error))


async def _waiting(ledger: Ledger, call_id: str) -> list[str]:
    """Fingerprints of a call's findings that may have to be filed."""
    wanted = findings.Wanted(call_id=call_id)
    found = await ledger.read(lambda connection: findings.listed(connection, ledger, wanted))
    return list(dict.fromkeys(one["fingerprint"] for one in found if one["state"] in {"new", "accepted"}))
