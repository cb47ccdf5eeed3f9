"""One comment a day on an issue about further calls that are counted and not attached."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from calltriage.errors import CallError
from calltriage.operations.activity import AddComment
from calltriage.pipelines import issue_texts
from calltriage.pipelines.issue_writes import is_verdict
from calltriage.pipelines.ledger import incidents
from calltriage.pipelines.ledger.turns import alone

if TYPE_CHECKING:
    from calltriage.leaves.strict_json import JsonObject
    from calltriage.pipelines.issue_writes import IssueWrites
    from calltriage.pipelines.ledger.ledger import Ledger

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Counts:
    """Comments on issues how many further calls are counted.

    Attributes:
        most: calls that an issue may hold as evidence of one incident; further ones are counted.
    """

    ledger: Ledger
    writes: IssueWrites
    most: int

    async def tell_left(self, pipeline: str) -> None:
        """Comment on issues of a pipeline whose calls other processes counted on earlier days and did not tell."""
        today = self.ledger.now()[:10]
        left = partial(incidents.with_counts, ledger=self.ledger, pipeline=pipeline, most=self.most, today=today)
        await self.tell_all(await self.ledger.read(left), is_last=False)

    async def tell_all(self, fingerprints: Sequence[str], *, is_last: bool) -> None:
        """As `tell`, for each of some incidents in its turn."""
        for fingerprint in fingerprints:
            async with alone(self.ledger, f"incident {fingerprint}"):
                read = partial(incidents.by_fingerprint, ledger=self.ledger, fingerprint=fingerprint)
                incident = await self.ledger.read(read)
                if incident is not None and incident["issue_id"] is not None:
                    await self.tell(incident, is_last=is_last)

    async def tell(self, incident: JsonObject, *, is_last: bool) -> None:
        """Comment on an incident's issue if further calls were counted since the last comment.

        At most once a day (UTC). During a run it waits for the next day; with `is_last`, the end of a run, it does not.
        """
        if incident["evidence"] < self.most:
            return
        fingerprint, today = incident["fingerprint"], self.ledger.now()[:10]
        posted, since, told = (incident["commented_on"] or f"- {today} {incident['evidence']}").split(" ")
        if posted != today and (is_last or since < today):
            gathered = partial(incidents.calls_gathered, ledger=self.ledger, fingerprint=fingerprint)
            in_all = await self.ledger.read(gathered)
            if in_all > int(told):
                text = issue_texts.counts(in_all - int(told), since, in_all)
                comment = AddComment(issue_id=incident["issue_id"], detail=text)
                if await self._is_settled(f"{fingerprint}:counts:{today}", comment, fingerprint):
                    await self._note(incident, f"{today} {today} {in_all}")
                return
        if incident["commented_on"] is None:
            await self._note(incident, f"{posted} {since} {told}")

    async def _is_settled(self, key: str, comment: AddComment, fingerprint: str) -> bool:
        """Comment once. Returns False if nobody knows whether the comment was made. A refusal, such as for a deleted issue,
        settles it, too. Both are logged, since they concern one issue alone."""
        try:
            await self.writes.once(key, comment, fingerprint)
        except CallError as error:
            is_unknown = error.outcome == "unknown"
            if not is_unknown and not is_verdict(error):
                raise
            logger.warning("a comment on further calls may not have been made: %s", error.code)
            return not is_unknown
        return True

    async def _note(self, incident: JsonObject, commented_on: str) -> None:
        incident["commented_on"] = commented_on
        fingerprint = incident["fingerprint"]
        change = partial(incidents.change, ledger=self.ledger, fingerprint=fingerprint, commented_on=commented_on)
        await self.ledger.write(change)
