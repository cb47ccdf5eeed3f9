"""How often versions of users' detectors took too long, after which they are switched off."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol

MOST_HANGS = 3
"""Calls on which a version of a detector takes too long before it is switched off."""


class Hangs(Protocol):
    """Calls on which versions of detectors took too long. A version is a `Detector.version_hash`."""

    async def count(self, detector: str, version_hash: str) -> int:
        """On how many calls this version took too long."""
        ...

    async def add(self, detector: str, version_hash: str, why: str) -> int:
        """Count one more. Returns how many there are now. `why`: what happened, in words without any of a call."""
        ...


@dataclass(frozen=True)
class OwnHangs:
    """Those of one process, for runs without a ledger."""

    _counted: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]], init=False)

    async def count(self, detector: str, version_hash: str) -> int:
        return self._counted[detector, version_hash]

    async def add(self, detector: str, version_hash: str, why: str) -> int:  # noqa: ARG002  nobody reads it
        self._counted[detector, version_hash] += 1
        return self._counted[detector, version_hash]
