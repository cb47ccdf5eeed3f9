"""One comment a day on an issue about further calls that are counted and not attached."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from calltriage.operations.activity import AddComment
from calltriage.pipelines import issue_texts
from calltriage.pipelines.ledger import incidents

if TYPE_CHECKING:
    from calltriage.leaves.strict_json import JsonObject
    from calltriage.pipelines.issue_writes import IssueWrites
    from calltriage.pipelines.ledger.ledger import Ledger


@dataclass(frozen=True)
class Counts:
    """Comments on issues how many further calls are counted.

    Attributes:
        most: calls that an issue may hold as evidence of one incident; further ones are counted.
    """

    ledger: Ledger
    writes: IssueWrites
    most: int

    async def tell(self, incident: JsonObject, *, is_last: bool) -> None:
        """Comment on an incident's issue if further calls were counted since the last comment.

        At most once a day (UTC). During a run it waits for the next day; with `is_last`, the end of a run, it does not.
        """
        if incident["evidence"] < self.most:
            return
        fingerprint = incident["fingerprint"]
        now = await self.ledger.read(lambda connection: incidents.by_fingerprint(connection, self.ledger, fingerprint))
        if now is None or now["evidence"] < self.most:
            return
        today, in_all = self.ledger.now()[:10], int(now["calls"])
        posted, since, told = (now["commented_on"] or f"- {today} {now['evidence']}").split(" ")
        is_due = posted != today and (is_last or since < today)
        if in_all > int(told) and is_due:
            text = issue_texts.counts(in_all - int(told), since, in_all)
            comment = AddComment(issue_id=now["issue_id"], detail=text)
            await self.writes.once(f"{fingerprint}:counts:{today}", comment, fingerprint)
            await self._note(fingerprint, f"{today} {today} {in_all}")
        elif now["commented_on"] is None:
            await self._note(fingerprint, f"{posted} {since} {told}")

    async def _note(self, fingerprint: str, commented_on: str) -> None:
        change = partial(incidents.change, ledger=self.ledger, fingerprint=fingerprint, commented_on=commented_on)
        await self.ledger.write(change)
