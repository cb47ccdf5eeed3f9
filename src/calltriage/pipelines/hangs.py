"""How often versions of users' detectors took too long, after which they are switched off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

import anyio

MOST_HANGS = 3
"""Calls on which a version of a detector takes too long before it is switched off."""
COUNT_FOR = timedelta(days=1)
"""Time after its last hang in which a version's hangs count. Then it is tried again, and they are counted anew."""


def tried(version_hash: str, deadline_s: float) -> str:
    """What hangs are counted for: a version of a detector (`Detector.version_hash`) with its deadline in seconds."""
    return f"{version_hash}@{deadline_s:g}"


class Hangs(Protocol):
    """Calls on which versions of detectors took too long, without those that are older than COUNT_FOR. A version is what
    `tried` says."""

    async def count(self, detector: str, version: str) -> int:
        """On how many calls this version took too long."""
        ...

    async def add(self, detector: str, version: str, why: str) -> int:
        """Count one more. Returns how many there are now. `why`: what happened, in words without any of a call."""
        ...


@dataclass(frozen=True)
class OwnHangs:
    """Those of one process, for runs without a ledger. `clock`: seconds, by default the loop's."""

    clock: Callable[[], float] = anyio.current_time
    _counted: dict[tuple[str, str], tuple[float, int]] = field(
        default_factory=dict[tuple[str, str], tuple[float, int]], init=False
    )
    """Numbers of hangs, each with the time of the last."""

    async def count(self, detector: str, version: str) -> int:
        at, count = self._counted.get((detector, version), (0.0, 0))
        return count if self.clock() - at < COUNT_FOR.total_seconds() else 0

    async def add(self, detector: str, version: str, why: str) -> int:  # noqa: ARG002  nobody reads it
        count = await self.count(detector, version) + 1
        self._counted[detector, version] = self.clock(), count
        return count
