"""Statistics of small samples: Wilson's interval, McNemar's test, Matthews's correlation, F1 and its interval."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

Z_95 = 1.959963984540054
"""97.5th percentile of the normal distribution, for two-sided intervals of 95 %."""
SEED, DRAWS = 20260506, 500
"""Seed and number of draws of the bootstrap. With a fixed seed, equal cases give equal intervals."""

STEPS, DIGITS = 50, 12
"""Bisections towards a bound, and its decimals that they make right."""
MOST_MISSING = 10_000
"""Successes that are counted as missing at most."""

Interval = tuple[float, float]
Outcome = tuple[int, int, int]
"""True positives, false positives and false negatives of one call."""


def wilson(successes: int, cases: int) -> Interval:
    """Wilson's score interval of a share, at 95 %. (0, 1) for no case."""
    if cases == 0:
        return 0.0, 1.0
    share, square = successes / cases, Z_95 * Z_95
    middle = (share + square / (2 * cases)) / (1 + square / cases)
    spread = Z_95 / (1 + square / cases) * math.sqrt(share * (1 - share) / cases + square / (4 * cases * cases))
    return max(0.0, middle - spread), min(1.0, middle + spread)


@dataclass(frozen=True)
class Bounded:
    """An estimate of 0 or more with its interval."""

    value: float
    low: float
    high: float


def fraction_interval(part: Bounded, rest: Bounded) -> Interval:
    """The interval of part / (part + rest) for two independent estimates, at the level of theirs.

    It is MOVER's for a ratio (Donner and Zou, Statistical Methods in Medical Research 21(4), 2012), with r / (1 - r) =
    part / rest: the low r solves (1 - r)·part - r·rest = sqrt(((1 - r)(part - low part))² + (r(high rest - rest))²), and the
    high one the same with the other bounds. Both sides stay defined where `rest` is 0. The estimates must not both be 0.
    """

    def is_below(r: float, down: float, up: float, sign: int) -> bool:
        """Whether `r` is below the bound; `down`, `up`: how far the bounds are from `part` and `rest`."""
        return (1 - r) * part.value - r * rest.value + sign * math.hypot((1 - r) * down, r * up) > 0

    def solved(down: float, up: float, sign: int) -> float:
        low, high = 0.0, 1.0
        for _ in range(STEPS):
            middle = (low + high) / 2
            low, high = (middle, high) if is_below(middle, down, up, sign) else (low, middle)
        return (low + high) / 2

    low = solved(part.value - part.low, rest.high - rest.value, -1)
    return round(low, DIGITS), round(solved(part.high - part.value, rest.value - rest.low, 1), DIGITS)


def successes_missing(successes: int, cases: int, bar: float) -> int | None:
    """How many successes more raise the lower bound of Wilson's interval to `bar`; None if MOST_MISSING do not."""
    for more in range(MOST_MISSING + 1):
        if cases + more and wilson(successes + more, cases + more)[0] >= bar:
            return more
    return None


def mcnemar(only_first: int, only_second: int) -> float:
    """P-value of McNemar's test, exact and two-sided. The arguments count the cases that only one version got right."""
    cases, fewer = only_first + only_second, min(only_first, only_second)
    tail = ways = 1
    for chosen in range(1, fewer + 1):
        ways = ways * (cases - chosen + 1) // chosen
        tail += ways
    return min(1.0, 2 * tail / 2**cases)


def matthews(tp: int, fp: int, fn: int, tn: int) -> float | None:
    """Matthews's correlation coefficient, from -1 to 1. None if a row or column of the table is empty."""
    product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return (tp * tn - fp * fn) / math.sqrt(product) if product else None


def f1(tp: int, fp: int, fn: int) -> float | None:
    """The harmonic mean of precision and recall. None if all three are 0."""
    return 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else None


def f1_interval(calls: Sequence[Outcome], seed: int = SEED) -> Interval | None:
    """The 95 % interval of F1 by the percentile bootstrap over calls. None if no call has a finding or a label."""
    kinds = Counter(calls)
    if not any(any(kind) for kind in kinds):
        return None
    chance = random.Random(seed)  # noqa: S311  no secret
    outcomes, weights = list(kinds), list(kinds.values())
    found = list[float]()
    for _ in range(DRAWS):
        drawn = Counter(chance.choices(outcomes, weights, k=len(calls)))
        sums = [sum(kind[part] * count for kind, count in drawn.items()) for part in range(3)]
        if (score := f1(*sums)) is not None:
            found.append(score)
    found.sort()
    edge = len(found) // 40
    return found[edge], found[-1 - edge]
