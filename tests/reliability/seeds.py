"""Chance that can be had again: TRIAGE_TEST_SEED repeats what a run printed."""

from __future__ import annotations

import os
import random


def seeded() -> random.Random:
    """A source of chance of the run's own; the module's, which jitter is drawn from, is set with it."""
    seed = int(os.environ.get("TRIAGE_TEST_SEED") or random.randrange(2**32))
    print("seed", seed)
    random.seed(seed)
    return random.Random(seed)
