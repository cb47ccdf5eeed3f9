"""How often one caller may call one tool, so that an agent that goes in circles is stopped before it has written much."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import anyio

from calltriage.errors import RateLimited
from calltriage.operations.base import Effect, Tool

READS = 10
"""Calls of a tool that reads, for one of a tool that writes."""
KNOWN = 10_000
"""Pairs of caller and tool that are remembered; then the ones nearest to rest are forgotten."""


@dataclass
class Quota:
    """Calls by caller and tool: `per_minute` on average, half of that at once, for a tool that writes; ten times as many for
    one that reads. 0 is no limit.

    Of each pair only the instant is kept at which its calls so far are used up (the generic cell rate algorithm).
    """

    per_minute: int = 0
    now: Callable[[], float] = anyio.current_time
    _used_until: dict[tuple[str, str], float] = field(default_factory=dict[tuple[str, str], float], init=False)

    def take(self, who: str, tool: type[Tool]) -> None:
        """Count a call. Raises RateLimited, with the seconds to wait, when it is one too many; nothing is done then."""
        if not self.per_minute:
            return
        reads = tool.effect is Effect.READ
        each = 60 / self.per_minute / (READS if reads else 1)  # seconds
        burst = max(1, self.per_minute // 2) * (READS if reads else 1)
        now, pair = self.now(), (who, tool.tool_name())
        used_until = max(now, self._used_until.get(pair, now))
        wait = used_until - now - each * (burst - 1)
        if wait > 1e-9:
            raise RateLimited(
                "This tool was called too often in a short time. Nothing was done. If the calls are meant, go on after the "
                "wait; if they repeat themselves, stop.",
                code="too_many_calls",
                retry_after_s=float(math.ceil(wait)),
                outcome=None if reads else "not_committed",
            )
        if len(self._used_until) >= KNOWN and pair not in self._used_until:
            latest = sorted(self._used_until.items(), key=lambda item: item[1])[KNOWN // 2 :]
            self._used_until = dict(latest)
        self._used_until[pair] = used_until + each
