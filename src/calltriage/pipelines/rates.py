"""Alerts about detectors that find something in too many calls (`[alert] rate`), and about incidents that escalate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from calltriage.client.side_by_side import at_once
from calltriage.leaves.instants import written
from calltriage.leaves.strict_json import JsonObject
from calltriage.pipelines.ledger import incidents, results
from calltriage.pipelines.statistics import wilson

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from calltriage.pipelines.alerts import Hearer
    from calltriage.pipelines.ledger.ledger import Ledger
    from calltriage.pipelines.spec import Spec

LOOK_EVERY = timedelta(minutes=1)
"""Time in which an incident is looked at once: a look counts the calls of eight days."""


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


@dataclass
class Spikes:
    """Alerts about incidents that are not muted and are found far more often than in the days before; see
    `incidents.is_escalating`. An incident that was unmuted since it escalates was told by the same event.

    Each is looked at once in LOOK_EVERY. Its look is due until then, so that the last batches of a run are not missed.
    """

    ledger: Ledger
    alerts: Hearer | None
    _due: dict[str, None] = field(default_factory=dict[str, None], init=False)
    _looked: dict[str, datetime] = field(default_factory=dict[str, datetime], init=False)
    _lasting: set[str] = field(default_factory=set[str], init=False)
    """Incidents that escalated when they were looked at last."""

    async def tell(self, fingerprints: Sequence[str] = (), *, is_last: bool = False) -> None:
        """Look at these incidents and at those whose look is due, and alert about those that escalate. Without a receiver
        nothing is counted. `is_last`: no later look will come, so that all are looked at that are due."""
        if self.alerts is None:
            return
        self._due |= dict.fromkeys(fingerprints)
        now = self.ledger.clock()
        looked = {name: at for name, at in self._looked.items() if timedelta(0) <= now - at < LOOK_EVERY}
        due = [name for name in self._due if is_last or name not in looked]
        if not due:
            return
        found = await self.ledger.read(partial(_escalating, ledger=self.ledger, fingerprints=due))
        tell = partial(self.alerts.tell, "spike")
        await at_once(
            *(
                tell(f"escalating {name}", one, lasts=name in self._lasting)
                for name, one in found.items()
                if one is not None
            )
        )
        self._lasting = (self._lasting - found.keys()) | {name for name, one in found.items() if one is not None}
        self._looked = looked | dict.fromkeys(due, now)
        for name in due:
            self._due.pop(name, None)


def _escalating(connection: Connection, ledger: Ledger, fingerprints: Sequence[str]) -> dict[str, JsonObject | None]:
    """The rows of the incidents that escalate, and None for the others, by their fingerprints."""
    named = (incidents.by_fingerprint(connection, ledger, one) for one in fingerprints)
    owners = {one["fingerprint"]: one for one in named if one is not None and one["muted"] is None}
    families = {name: incidents.family(connection, ledger, name) for name in owners}
    return {
        name: one if incidents.is_escalating(connection, ledger, families[name]) else None
        for name, one in owners.items()
    }
