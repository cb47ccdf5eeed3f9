"""Money for requests: the most that a request can cost is reserved before it is sent, and its real cost is settled after.

Requests cost less than is reserved for them. So a request for which only reservations under way leave too little waits until
they are settled. It is deferred if what is spent leaves too little.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Protocol

import anyio

from calltriage.errors import Deferred


class Purse(Protocol):
    """What a pipeline may spend. A reservation that is never settled, as after a crash, counts as spent."""

    async def reserve(self, endpoint: str, usd: float) -> str:
        """Reserve USD for a request, once reservations under way leave so much. Returns the reservation's id.

        Raises Deferred if the cap would be passed.
        """
        ...

    async def settle(self, reservation: str, usd: float) -> None:
        """Replace a reservation by the real cost in USD."""
        ...


@dataclass
class OwnPurse:
    """A purse of one process, for runs without a ledger. `cap`: USD in all; None: no cap."""

    cap: float | None
    spent: float = field(default=0.0, init=False)
    _held: dict[str, float] = field(default_factory=dict[str, float], init=False)
    _settled: anyio.Event = field(default_factory=anyio.Event, init=False)

    async def reserve(self, endpoint: str, usd: float) -> str:
        while self.cap is not None and self.spent + sum(self._held.values()) + usd > self.cap:
            if self.spent + usd > self.cap:
                raise Deferred(
                    f"The next request to {endpoint} may cost {usd:.4f} USD, more than is left of {self.cap:g} USD."
                )
            await self._settled.wait()
        name = secrets.token_hex(8)
        self._held[name] = usd
        return name

    async def settle(self, reservation: str, usd: float) -> None:
        if self._held.pop(reservation, None) is not None:
            self.spent += usd
            self._settled.set()
            self._settled = anyio.Event()
