"""How sure figures of few cases are: intervals, a test of two versions on the same calls, and agreement as one number."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence

Z_95 = 1.959963984540054
"""The normal distribution's 97.5th percentile: of a two-sided interval of 95 %."""
SEED, DRAWS = 20260506, 500
"""Of the bootstrap: the same cases give the same interval."""

Interval = tuple[float, float]
Outcome = tuple[int, int, int]
"""True positives, false positives and false negatives of one call."""


def wilson(successes: int, cases: int) -> Interval:
    """Between which a share lies, at 95 %: Wilson's score interval. Of no case, anywhere."""
    if cases == 0:
        return 0.0, 1.0
    share, square = successes / cases, Z_95 * Z_95
    middle = (share + square / (2 * cases)) / (1 + square / cases)
    spread = Z_95 / (1 + square / cases) * math.sqrt(share * (1 - share) / cases + square / (4 * cases * cases))
    return max(0.0, middle - spread), min(1.0, middle + spread)


def mcnemar(only_first: int, only_second: int) -> float:
    """How likely two versions that are equally good differ so much, on cases that only one of them got right: McNemar's
    test, exact and two-sided."""
    cases, fewer = only_first + only_second, min(only_first, only_second)
    tail = ways = 1
    for chosen in range(1, fewer + 1):
        ways = ways * (cases - chosen + 1) // chosen
        tail += ways
    return min(1.0, 2 * tail / 2**cases)


def matthews(tp: int, fp: int, fn: int, tn: int) -> float | None:
    """Matthews's correlation of calls that were found and calls that have it, from -1 to 1. None where a side is empty."""
    product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return (tp * tn - fp * fn) / math.sqrt(product) if product else None


def f1(tp: int, fp: int, fn: int) -> float | None:
    """The harmonic mean of precision and recall. None where there is neither a finding nor a label."""
    return 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else None


def f1_interval(calls: Sequence[Outcome], seed: int = SEED, draws: int = DRAWS) -> Interval | None:
    """Between which F1 lies, at 95 %: by drawing as many calls again and again (percentile bootstrap). None where no call
    has a finding or a label."""
    kinds = Counter(calls)
    if not any(any(kind) for kind in kinds):
        return None
    chance = random.Random(seed)  # noqa: S311  no secret
    outcomes, weights = list(kinds), list(kinds.values())
    found = list[float]()
    for _ in range(draws):
        drawn = Counter(chance.choices(outcomes, weights, k=len(calls)))
        sums = [sum(kind[part] * count for kind, count in drawn.items()) for part in range(3)]
        if (score := f1(*sums)) is not None:
            found.append(score)
    found.sort()
    edge = len(found) // 40
    return found[edge], found[-1 - edge]
