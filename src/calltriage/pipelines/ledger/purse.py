"""What endpoints may spend, counted for all processes and machines of a pipeline: a day is one of UTC."""

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
"""Reservations happen one after another, so that two never take the same money."""


@dataclass(frozen=True)
class LedgerPurse:
    """Money of a pipeline. `cap` is in USD for a day; None is no cap, and what is spent is counted all the same."""

    ledger: Ledger
    pipeline: str
    cap: float | None

    async def reserve(self, endpoint: str, usd: float) -> str:
        """Take money for a request. Raises Deferred where the day's cap would be passed."""
        return await self.ledger.write(partial(self._reserve, endpoint=endpoint, usd=usd), LANE)

    async def settle(self, reservation: str, usd: float) -> None:
        """What the request cost in the end. A reservation that is never settled counts for its day."""
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
