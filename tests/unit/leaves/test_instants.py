"""Instants as people and APIs write them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from calltriage.leaves.instants import instant_of


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("90m", "2026-05-06T10:30:00+00:00"),
        ("24h", "2026-05-05T12:00:00+00:00"),
        ("30s", "2026-05-06T11:59:30+00:00"),
        ("1w", "2026-04-29T12:00:00+00:00"),
        ("7d", "2026-04-29T12:00:00+00:00"),
        ("2026-05-01", "2026-05-01T00:00:00+00:00"),
        ("2026-05-01T10:00", "2026-05-01T10:00:00+00:00"),
        ("2026-05-01T10:00+02:00", "2026-05-01T08:00:00+00:00"),
    ],
)
def test_a_time_is_written_in_the_usual_ways(text: str, instant: str) -> None:
    now = datetime(2026, 5, 6, 12, 0, tzinfo=UTC)
    assert instant_of(text, now) == datetime.fromisoformat(instant)


@pytest.mark.parametrize(
    "text", ["", "yesterday", "7", "d", "-7d", "99999d", "1y", "2026-13-01", "0001-01-01T00:00+02:00"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        instant_of(text, datetime(2026, 5, 6, 12, 0, tzinfo=UTC))
