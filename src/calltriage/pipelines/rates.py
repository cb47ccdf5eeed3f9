"""Alerts about detectors that find something in too many calls (`[alert] rate`), and about incidents that escalate."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from calltriage.client.side_by_side import at_once
from calltriage.leaves.strict_json import JsonObject
from calltriage.pipelines.ledger import incidents, results
from calltriage.pipelines.ledger.ledger import written
from calltriage.pipelines.statistics import wilson

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from calltriage.pipelines.alerts import Hearer
    from calltriage.pipelines.ledger.ledger import Ledger
    from calltriage.pipelines.spec import Spec


async def tell_rates(ledger: Ledger, spec: Spec, alerts: Hearer) -> None:
    """Alert about each detector with enough calls within the time whose share of calls with a finding is too high.

    The share is too high if the lower bound of its 95 % interval is above `alert.rate.share`.
    """
    rate = None if spec.alert is None else spec.alert.rate
    if rate is None:
        return
    since, names = written(ledger.clock() - rate.within), [one.known_as for one in spec.detect]
    for one in await ledger.read(partial(results.shares, ledger=ledger, detectors=names, since=since)):
        if one.calls >= rate.calls and wilson(one.found, one.calls)[0] > rate.share:
            about = {"detector": one.detector, "found_in": one.found, "of_calls": one.calls}
            await alerts.tell("rate", f"rate {one.detector}", about)


async def tell_spikes(ledger: Ledger, fingerprints: Sequence[str], alerts: Hearer) -> None:
    """Alert about those of some incidents that are not muted and are found far more often than in the days before; see
    `incidents.is_escalating`. An incident that was unmuted since it escalates was told by the same event."""
    found = await ledger.read(partial(_escalating, ledger=ledger, fingerprints=fingerprints))
    await at_once(*(alerts.tell("spike", f"escalating {one['fingerprint']}", one) for one in found))


def _escalating(connection: Connection, ledger: Ledger, fingerprints: Sequence[str]) -> list[JsonObject]:
    named = (incidents.by_fingerprint(connection, ledger, one) for one in fingerprints)
    owners = {one["fingerprint"]: one for one in named if one is not None and one["muted"] is None}
    return [
        one
        for name, one in owners.items()
        if incidents.is_escalating(connection, ledger, incidents.family(connection, ledger, name))
    ]
