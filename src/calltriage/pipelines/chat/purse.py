"""Money for requests: taken before a request is sent, at the most that it can cost, and given back after its answer."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Protocol

from calltriage.errors import Deferred


class Purse(Protocol):
    """What a pipeline may spend. A request that was never settled keeps what was taken for it: a crash spends too much
    rather than too little."""

    async def reserve(self, endpoint: str, usd: float) -> str:
        """Take money for a request, and name what was taken. Raises Deferred where the cap would be passed."""
        ...

    async def settle(self, reservation: str, usd: float) -> None:
        """What the request cost in the end."""
        ...


@dataclass
class OwnPurse:
    """Money of one process alone, for runs that keep no ledger. `cap` is in USD; None is no cap."""

    cap: float | None
    spent: float = field(default=0.0, init=False)
    _held: dict[str, float] = field(default_factory=dict[str, float], init=False)

    async def reserve(self, endpoint: str, usd: float) -> str:
        if self.cap is not None and self.spent + sum(self._held.values()) + usd > self.cap:
            raise Deferred(
                f"The next request to {endpoint} may cost {usd:.4f} USD, more than is left of {self.cap:g} USD."
            )
        name = secrets.token_hex(8)
        self._held[name] = usd
        return name

    async def settle(self, reservation: str, usd: float) -> None:
        if self._held.pop(reservation, None) is not None:
            self.spent += usd
