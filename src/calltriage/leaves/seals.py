"""Handles that only this server could have made: what they hold is theirs to show, and good for a time only."""

from __future__ import annotations

import base64
import hmac
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

TAG = 16
"""Bytes of the seal in front of what is sealed."""


@dataclass(frozen=True)
class Seals:
    """Seals and opens handles. Servers that share the key open one another's; by default the key is this process's own.

    `clock` is Unix seconds.
    """

    key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    clock: Callable[[], float] = time.time

    def sealed(self, kind: str, seconds: int, *values: Any) -> str:
        """A handle of this kind that holds the values and ends after so many seconds."""
        payload = json.dumps([int(self.clock()) + seconds, *values], separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(self._tag(kind, payload) + payload).decode().rstrip("=")

    def opened(self, kind: str, handle: str) -> list[Any] | None:
        """What a handle holds; None when it is none of this kind or has ended."""
        ends, *values = self._read(kind, handle)
        return values if self.clock() < ends else None

    def good_for(self, kind: str, handle: str) -> int:
        """Seconds for which a handle is still good; 0 when it is none of this kind."""
        return max(0, int(self._read(kind, handle)[0] - self.clock()))

    def _read(self, kind: str, handle: str) -> list[Any]:
        """When a handle ends, and what it holds; what is none of this kind ended long ago."""
        try:
            raw = base64.b64decode(handle + "=" * (-len(handle) % 4), altchars=b"-_", validate=True)
            return json.loads(raw[TAG:]) if hmac.compare_digest(raw[:TAG], self._tag(kind, raw[TAG:])) else [0]
        except ValueError:
            return [0]

    def _tag(self, kind: str, payload: bytes) -> bytes:
        return hmac.digest(self.key, kind.encode() + b"\n" + payload, "sha256")[:TAG]
