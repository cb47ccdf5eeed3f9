"""Figures of few cases, against values from tables and by hand."""

from __future__ import annotations

import pytest

from calltriage.pipelines.statistics import f1, f1_interval, matthews, mcnemar, wilson


@pytest.mark.parametrize(
    ("successes", "cases", "low", "high"),
    [(45, 50, 0.786, 0.957), (180, 200, 0.851, 0.934), (0, 10, 0.0, 0.278), (10, 10, 0.722, 1.0), (1, 1, 0.207, 1.0)],
)
def test_the_interval_of_a_share_is_wilsons(successes: int, cases: int, low: float, high: float) -> None:
    assert wilson(successes, cases) == pytest.approx((low, high), abs=0.001)


def test_no_case_gives_no_figure() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert f1(0, 0, 0) is None
    assert f1_interval([(0, 0, 0)] * 9) is None
    assert matthews(0, 0, 5, 5) is None


@pytest.mark.parametrize(
    ("first", "second", "p"), [(0, 0, 1.0), (5, 5, 1.0), (0, 5, 0.0625), (1, 9, 0.021484375), (9, 1, 0.021484375)]
)
def test_two_versions_are_compared_by_the_exact_test(first: int, second: int, p: float) -> None:
    assert mcnemar(first, second) == pytest.approx(p)


def test_the_exact_test_takes_thousands_of_cases() -> None:
    assert mcnemar(4_900, 5_100) == pytest.approx(0.0466, abs=0.001)


def test_agreement_is_one_when_all_agree_and_minus_one_when_none_does() -> None:
    assert matthews(5, 0, 0, 5) == 1
    assert matthews(0, 5, 5, 0) == -1
    assert matthews(90, 4, 1, 1) == pytest.approx(0.2941, abs=0.0001)


def test_the_interval_of_f1_holds_it_and_is_the_same_each_time() -> None:
    calls = [(1, 0, 0)] * 40 + [(0, 1, 0)] * 5 + [(0, 0, 1)] * 5 + [(0, 0, 0)] * 50

    low, high = f1_interval(calls) or (0, 0)

    assert low < (f1(40, 5, 5) or 0) < high
    assert high - low < 0.2
    assert f1_interval(calls) == (low, high) != f1_interval(calls, seed=1)
