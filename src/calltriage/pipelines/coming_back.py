"""Whether a finding shows that a fault came back after its issue was closed, and the reason where it does not."""

from __future__ import annotations

from datetime import datetime, timedelta

from calltriage.leaves.instants import instant
from calltriage.pipelines.ledger.findings import version_order
from calltriage.pipelines.ledger.incidents import Candidate

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
