"""How often a detector finds something: an alert where that is more than the file allows, and surely so."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from calltriage.pipelines.ledger import results
from calltriage.pipelines.ledger.ledger import written
from calltriage.pipelines.statistics import wilson

if TYPE_CHECKING:
    from calltriage.pipelines.alerts import Hearer
    from calltriage.pipelines.ledger.ledger import Ledger
    from calltriage.pipelines.spec import Spec


async def tell_rates(ledger: Ledger, spec: Spec, alerts: Hearer) -> None:
    """Tell of each detector that found something in more than the file's share of the calls of its time: where there were
    enough calls, and the lower 95 % bound of the share is above it."""
    rate = None if spec.alert is None else spec.alert.rate
    if rate is None:
        return
    since, names = written(ledger.clock() - rate.within), [one.known_as for one in spec.detect]
    for one in await ledger.read(partial(results.shares, ledger=ledger, detectors=names, since=since)):
        if one.calls >= rate.calls and wilson(one.found, one.calls)[0] > rate.share:
            about = {"detector": one.detector, "found_in": one.found, "of_calls": one.calls}
            await alerts.tell("rate", f"rate {one.detector}", about)
