"""When an incident's issue was closed, whether a finding shows that the fault came back after that, and the reason where it
does not."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from calltriage.filing.closing import closed_at
from calltriage.leaves.instants import instant, written
from calltriage.operations.issues import Issue
from calltriage.pipelines.cases import Case
from calltriage.pipelines.ledger import findings, incidents
from calltriage.pipelines.ledger.candidates import Candidate
from calltriage.pipelines.ledger.findings import version_order

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from calltriage.client.client import Client
    from calltriage.pipelines.ledger.ledger import Ledger

BEFORE_CLOSING = "its call began before the issue was closed"
IN_GRACE = "its call began within issues.reopen_grace after the issue was closed"
NO_BEGIN = "the issue is closed, and when its call began is not known"
SAME_AGENT = "its call has no newer version of the agent than those before the issue was closed"


def why_not(one: Candidate, closed: datetime, grace: timedelta, newest_version: str | None) -> str | None:
    """Why a finding does not show that the fault came back. None if its call began later than `grace` after `closed` and,
    where calls name the agent's version, with a newer one than `newest_version`."""
    began = instant(one.call_began)
    if began is None:
        return NO_BEGIN
    if began <= closed + grace:
        return BEFORE_CLOSING if began <= closed else IN_GRACE
    if newest_version is None or one.call_version is None:
        return None
    return None if version_order(one.call_version) > version_order(newest_version) else SAME_AGENT


@dataclass
class Closings:
    """When issues were closed last. An issue may be opened and closed again by people, so its history is read again where it
    was changed after the closing that is known, once for each change."""

    client: Client
    ledger: Ledger
    _read: dict[str, tuple[datetime, datetime]] = field(
        default_factory=dict[str, tuple[datetime, datetime]], init=False
    )
    """Of issues whose history this process read: when they were changed last then, and when they were closed."""

    async def of(self, case: Case, issue: Issue) -> datetime:
        """When an incident's closed issue was closed last. Records it, and the newest version of the agent until then."""
        known = case.incident["resolved_at"] if case.incident["state"] == "resolved" else None
        moment, changed = instant(known), _changed_at(issue)
        if moment is not None and changed is not None and changed <= moment:
            return moment
        closed = await self._closed_at(issue, changed)
        if known != written(closed):
            await self.ledger.write(lambda connection: self._record(connection, case, written(closed)))
        return closed

    async def _closed_at(self, issue: Issue, changed: datetime | None) -> datetime:
        before = self._read.get(issue.id)
        if before is not None and before[0] == changed:
            return before[1]
        closed = await closed_at(issue, self.client) or self.ledger.clock()
        if changed is not None:
            self._read[issue.id] = changed, closed
        return closed

    def _record(self, connection: Connection, case: Case, moment: str) -> None:
        version = findings.newest_version(connection, self.ledger, case.family, until=moment)
        values = {"state": "resolved", "resolved_at": moment, "newest_version": version}
        incidents.change(connection, self.ledger, case.fingerprint, **values)
        case.incident |= values


def _changed_at(issue: Issue) -> datetime | None:
    """When an issue was changed last; None if the API does not say."""
    told = (instant(issue.updated_at), instant(issue.last_activity_at))
    return max((one for one in told if one is not None), default=None)
