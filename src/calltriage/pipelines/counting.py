"""One comment a day on an issue about further calls that are counted and not attached."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Self

from calltriage.errors import CallError
from calltriage.pipelines import issue_texts
from calltriage.pipelines.ledger import incidents
from calltriage.pipelines.ledger.turns import alone

if TYPE_CHECKING:
    from calltriage.leaves.strict_json import JsonObject
    from calltriage.pipelines.issue_writes import IssueWrites
    from calltriage.pipelines.ledger.ledger import Ledger

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Told:
    """What an issue's comments told so far of the calls that are counted: an incident's `commented_on`.

    Attributes:
        since: day or instant since which calls are counted for the next comment.
        posted: day of the last comment; `-` for none.
        calls: number of calls that were told.
        telling: number of calls that are told with the comment under way; `calls` if none is.
        issue_id: the issue. Another issue of the incident begins anew.
    """

    since: str
    posted: str
    calls: int
    telling: int
    issue_id: str

    @classmethod
    def of(cls, incident: JsonObject, today: str) -> Self:
        """What an incident's row says of its present issue; nothing told, from `today` on, if it says nothing."""
        parts = (incident["commented_on"] or "").split(" ")
        if len(parts) == 5 and parts[4] == incident["issue_id"]:
            return cls(parts[0], parts[1], int(parts[2]), int(parts[3]), parts[4])
        return cls(today, "-", 0, 0, incident["issue_id"])

    def __str__(self) -> str:
        return " ".join(str(each) for each in astuple(self))


@dataclass(frozen=True)
class Counts:
    """Comments on issues how many further calls are counted."""

    ledger: Ledger
    writes: IssueWrites

    async def tell_left(self, pipeline: str) -> None:
        """Comment on issues of a pipeline whose calls other processes counted on earlier days and did not tell."""
        today = self.ledger.now()[:10]
        left = partial(incidents.with_counts, ledger=self.ledger, pipeline=pipeline, today=today)
        await self.tell_all(await self.ledger.read(left), is_last=False)

    async def tell_all(self, fingerprints: Sequence[str], *, is_last: bool) -> None:
        """As `tell`, for each of some incidents in its turn."""
        for fingerprint in fingerprints:
            async with alone(self.ledger, f"incident {fingerprint}"):
                read = partial(incidents.by_fingerprint, ledger=self.ledger, fingerprint=fingerprint)
                incident = await self.ledger.read(read)
                if incident is None or incident["issue_id"] is None:
                    continue
                owner = incident["fingerprint"]
                if owner == fingerprint:
                    await self.tell(incident, is_last=is_last)
            if owner != fingerprint:  # the one that this one was merged into has a turn of its own
                await self.tell_all([owner], is_last=is_last)

    async def tell(self, incident: JsonObject, *, is_last: bool) -> None:
        """Comment on an incident's issue if further calls were counted since the last comment.

        At most once a day (UTC). During a run it waits for the next day; with `is_last`, the end of a run, it does not.
        """
        now = self.ledger.now()
        today, told = now[:10], Told.of(incident, now[:10])
        is_under_way = told.telling != told.calls  # its request is repeated as it was
        if not is_under_way:
            beyond = partial(incidents.calls_beyond, ledger=self.ledger, incident=incident)
            counted = await self.ledger.read(beyond)
            told = replace(told, calls=min(told.calls, counted), telling=counted)
        is_due = told.posted != today and (is_last or told.since[:10] < today)
        if is_due and told.telling > told.calls:
            await self._note(incident, told)
            if await self._is_settled(incident, told):
                since = told.since if is_under_way else now  # calls counted after the first attempt are not told yet
                await self._note(incident, replace(told, since=since, posted=today, calls=told.telling))
        elif not is_under_way:
            has_nothing = told.telling == told.calls and told.since[:10] < today  # so it is not the first again
            if told.telling or has_nothing:
                await self._note(incident, replace(told, since=now if has_nothing else told.since, telling=told.calls))

    async def _is_settled(self, incident: JsonObject, told: Told) -> bool:
        """Comment once. Returns False if nobody knows whether the comment was made. A refusal, such as for a deleted issue,
        settles it, too. Both are logged, since they concern one issue alone."""
        fingerprint = incident["fingerprint"]
        gathered = partial(incidents.calls_gathered, ledger=self.ledger, fingerprint=fingerprint)
        text = issue_texts.counts(told.telling - told.calls, told.since[:10], await self.ledger.read(gathered))
        key = f"{fingerprint}:counts:{told.issue_id}:{told.since}:{told.calls}-{told.telling}"
        try:
            await self.writes.comment(key, told.issue_id, text, fingerprint)
        except CallError as error:
            if error.outcome != "unknown":
                raise
            logger.warning("a comment on further calls may not have been made: %s", error.code)
            return False
        return True

    async def _note(self, incident: JsonObject, told: Told) -> None:
        if incident["commented_on"] != str(told):
            incident["commented_on"] = str(told)
            values = {"fingerprint": incident["fingerprint"], "commented_on": str(told)}
            await self.ledger.write(partial(incidents.change, ledger=self.ledger, **values))
