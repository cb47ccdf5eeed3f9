"""Searching very many calls looks at as few of them as it shows.

    uv run pytest tests/unit/desk/test_searching_at_scale.py -m long -s      1,000,000 calls of 20 turns, with figures

tests/benchmarks/million_calls.py prints the same figures of a desk that it keeps.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from many_calls import filled, measured
from pydantic import SecretStr

FOUND = {"rare word": 3, "common word": 20, "absent word": 0, "rare and common word": None, "common word, one day": 20,
         "number, spoken in most": 20, "number, written in some": 20, "rare number": 3, "number as a phrase": None,
         "word that another language counts with": 0}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("count", [6_000, pytest.param(1_000_000, marks=pytest.mark.long)])
async def test_a_search_looks_at_the_calls_that_it_shows(
    tmp_path: Path, database_url: SecretStr | None, count: int
) -> None:
    desk = await filled(tmp_path, database_url, count)
    figures = await measured(desk, 15 if count > 10_000 else 1)
    await desk.close()
    for name, (inside, outside, body) in figures.items():
        print(f"{name:<26}{inside:8.2f}{outside:8.2f} ms, {len(body['calls'])} found, {body['examined']} examined")
    for name, number in FOUND.items():
        body = figures[name][2]
        assert number in {None, len(body["calls"])}, name
        assert body["examined"] == len(body["calls"]), name
