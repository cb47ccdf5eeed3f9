"""Figures that say how sure they are: pure, standard library only."""

from __future__ import annotations

from math import sqrt

Z95 = 1.959963984540054
"""Standard normal quantile of a two-sided 95 % interval."""


def wilson(successes: int, total: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval of a share: at 95 %, 45 of 50 is 0.79 to 0.96. (0, 1) of nothing. (E. B. Wilson, 1927.)"""
    if total == 0:
        return 0.0, 1.0
    share, square = successes / total, z * z
    middle = share + square / (2 * total)
    half = z * sqrt(share * (1 - share) / total + square / (4 * total * total))
    low, high = (middle - half) / (1 + square / total), (middle + half) / (1 + square / total)
    return max(0.0, low), min(1.0, high)
