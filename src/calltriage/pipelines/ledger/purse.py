"""The money that a pipeline may spend on endpoints each day (UTC), counted over all processes and machines."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import anyio
from sqlalchemy import case, func, select

from calltriage.errors import Deferred
from calltriage.leaves.instants import written
from calltriage.pipelines.ledger.tables import spend

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from calltriage.pipelines.ledger.ledger import Ledger

LANE = "pipeline spend"
"""Lane of the ledger: reservations run one after another, so that two never take the same money."""
UNDER_WAY = timedelta(minutes=11)
"""A reservation that is older is not waited for: its process is gone, or its request takes longer than others shall wait."""
LOOK_EVERY_S = 0.5
"""Seconds between two looks at what other processes have settled."""


@dataclass(frozen=True)
class LedgerPurse:
    """The purse of a pipeline.

    Attributes:
        cap: USD for each day; None: no cap, but spending is still counted.
        patience_s: longest wait for reservations under way.
    """

    ledger: Ledger
    pipeline: str
    cap: float | None
    patience_s: float = 600.0
    _turn: anyio.Lock = field(default_factory=anyio.Lock, init=False, repr=False)
    """Of those that wait in this process one looks at the ledger."""

    async def reserve(self, endpoint: str, usd: float) -> str:
        """Reserve USD for a request, once reservations under way leave so much. Returns the reservation's id.

        Raises Deferred if what is spent leaves too little of the day's cap, and after `patience_s`.
        """
        ends = anyio.current_time() + self.patience_s
        async with self._turn:
            while True:
                may_wait = anyio.current_time() < ends
                change = partial(self._reserve, endpoint=endpoint, usd=usd, may_wait=may_wait)
                if (reservation := await self.ledger.write(change, LANE)) is not None:
                    return reservation
                await anyio.sleep(LOOK_EVERY_S)

    async def settle(self, reservation: str, usd: float) -> None:
        """Replace a reservation by the real cost. One that is never settled counts in full for its day."""
        await self.ledger.write(partial(self._settle, reservation=reservation, usd=usd), LANE)

    def _reserve(self, connection: Connection, endpoint: str, usd: float, *, may_wait: bool) -> str | None:
        """Reserve if the cap allows it. Returns None if only reservations under way stand in the way."""
        now = self.ledger.now()
        spent, under_way = self._spent(connection, now[:10])
        if self.cap is not None and spent + under_way + usd > self.cap:
            if may_wait and spent + usd <= self.cap:
                return None
            raise Deferred(
                f"The next request to {endpoint} may cost {usd:.4f} USD, and {spent + under_way:.4f} of today's "
                f"{self.cap:g} USD are spent or taken. It goes on tomorrow (UTC), or when limits.usd_per_day is raised."
            )
        name = secrets.token_hex(16)
        row = {
            "account": self.ledger.account, "id": name, "pipeline": self.pipeline, "day": now[:10], "detector": endpoint,
            "state": "reserved", "reserved_usd": usd, "usd": 0.0, "tokens_in": 0, "tokens_out": 0, "at": now,
        }  # fmt: skip
        connection.execute(spend.insert(), [row])
        return name

    def _spent(self, connection: Connection, day: str) -> tuple[float, float]:
        """USD that count as spent on a day, and USD of reservations under way."""
        of_day = (spend.c.account == self.ledger.account) & (spend.c.pipeline == self.pipeline) & (spend.c.day == day)
        is_young = spend.c.at > written(self.ledger.clock() - UNDER_WAY)
        young = func.sum(case((is_young, spend.c.reserved_usd), else_=0.0))
        spent = func.sum(spend.c.usd + case((is_young, 0.0), else_=spend.c.reserved_usd))
        row = connection.execute(select(spent, young).where(of_day)).one()
        return float(row[0] or 0), float(row[1] or 0)

    def _settle(self, connection: Connection, reservation: str, usd: float) -> None:
        own = (spend.c.account == self.ledger.account) & (spend.c.id == reservation)
        open_one = own & (spend.c.state == "reserved")
        connection.execute(spend.update().where(open_one).values(state="settled", reserved_usd=0.0, usd=usd))
