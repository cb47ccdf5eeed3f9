"""The money that a pipeline may spend on endpoints each day (UTC), counted over all processes and machines."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from calltriage.errors import Deferred
from calltriage.pipelines.ledger.tables import spend

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from calltriage.pipelines.ledger.ledger import Ledger

LANE = "pipeline spend"
"""Lane of the ledger: reservations run one after another, so that two never take the same money."""


@dataclass(frozen=True)
class LedgerPurse:
    """The purse of a pipeline. `cap`: USD for each day; None: no cap, but spending is still counted."""

    ledger: Ledger
    pipeline: str
    cap: float | None

    async def reserve(self, endpoint: str, usd: float) -> str:
        """Reserve USD for a request. Returns the reservation's id. Raises Deferred if the day's cap would be passed."""
        return await self.ledger.write(partial(self._reserve, endpoint=endpoint, usd=usd), LANE)

    async def settle(self, reservation: str, usd: float) -> None:
        """Replace a reservation by the real cost. One that is never settled counts in full for its day."""
        await self.ledger.write(partial(self._settle, reservation=reservation, usd=usd), LANE)

    def _reserve(self, connection: Connection, endpoint: str, usd: float) -> str:
        now = self.ledger.now()
        if self.cap is not None and (spent := self._spent(connection, now[:10])) + usd > self.cap:
            raise Deferred(
                f"The next request to {endpoint} may cost {usd:.4f} USD, and {spent:.4f} of today's {self.cap:g} USD are "
                "spent or taken. It goes on tomorrow (UTC), or when limits.usd_per_day is raised."
            )
        name = secrets.token_hex(16)
        row = {
            "account": self.ledger.account, "id": name, "pipeline": self.pipeline, "day": now[:10], "detector": endpoint,
            "state": "reserved", "reserved_usd": usd, "usd": 0.0, "tokens_in": 0, "tokens_out": 0, "at": now,
        }  # fmt: skip
        connection.execute(spend.insert(), [row])
        return name

    def _spent(self, connection: Connection, day: str) -> float:
        of_day = (spend.c.account == self.ledger.account) & (spend.c.pipeline == self.pipeline) & (spend.c.day == day)
        total = func.coalesce(func.sum(spend.c.usd + spend.c.reserved_usd), 0.0)
        return float(connection.execute(select(total).where(of_day)).scalar_one())

    def _settle(self, connection: Connection, reservation: str, usd: float) -> None:
        own = (spend.c.account == self.ledger.account) & (spend.c.id == reservation)
        open_one = own & (spend.c.state == "reserved")
        connection.execute(spend.update().where(open_one).values(state="settled", reserved_usd=0.0, usd=usd))
