"""Alerts about detectors that find something in too many calls (`[alert] rate`)."""

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
