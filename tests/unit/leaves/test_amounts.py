"""Amounts as people read them."""

from __future__ import annotations

import pytest

from calltriage.leaves.amounts import amount


@pytest.mark.parametrize(("count", "told"), [(0, "0 findings"), (1, "1 finding"), (2, "2 findings")])
def test_one_thing_is_told_in_the_singular(count: int, told: str) -> None:
    assert amount(count, "finding") == told
