"""Lengths of time as people write them: "8s", "2m", "24h", "7d"."""

from __future__ import annotations

import math
import re
from datetime import timedelta

UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
LONGEST_S = 3_660 * UNITS["d"]
"""About ten years. A longer time is taken for a typing error."""
A_LENGTH = 'must be a length of time, such as "8s", "2m", "24h" or "7d"'


def seconds(value: object) -> float:
    """The seconds of a length of time. A number without a unit is seconds. Raises ValueError, which says what is wrong."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, str) and (found := re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(ms|[smhdw])\s*", value)):
        value = float(found[1]) * UNITS[found[2]]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(A_LENGTH)
    if not 0 <= value <= LONGEST_S:
        raise ValueError("must be from 0 seconds to ten years")
    return float(value)


def length(value: object) -> timedelta:
    """A length of time as a timedelta. Raises ValueError, as `seconds` does."""
    return timedelta(seconds=seconds(value))
