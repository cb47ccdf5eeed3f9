"""Rules on calls that nobody has, but an import may bring: none takes more than in proportion."""

from __future__ import annotations

from typing import Any

import pytest
from pipeline_calls import Said, call_of

from calltriage.pipelines.alignment import spoken_in_digits
from calltriage.pipelines.catalogue import BUILT_INS, built_in
from calltriage.pipelines.redaction import BuiltIn

OPTIONS: dict[str, dict[str, Any]] = {
    "required": {"phrases": ["zz top"]},
    "forbidden": {"phrases": ["zz top"]},
    "before": {"first": ["zz"], "then": ["yy"]},
    "metadata": {"when": "turns > 3"},
    "contradicts_record": {"kind": "time", "fact": "opens", "near": ["what"]},
}
LONG = ("a " * 20_000, "what is one two " * 5_000, "([" * 20_000, "five " * 20_000, "a at " * 10_000)
"""Turns that make a pattern that looks back at what it has read take minutes."""


@pytest.mark.parametrize("name", BUILT_INS)
async def test_a_rule_ends_on_endless_turns_and_on_thousands_of_them(name: str) -> None:
    turns: list[Said] = [("agent", f"this is turn {n} of very many", n * 2.0, n * 2 + 1.0) for n in range(2_000)]
    turns += [(("agent", "caller")[n % 2], text, 9_000.0 + n, 9_001.0 + n) for n, text in enumerate(LONG)]
    call = call_of(turns, corrected=turns[:900], metadata={"opens": "9:30"})

    examined = await built_in(name).configured(OPTIONS.get(name)).examine(call)

    assert len(examined.findings) <= 100


async def test_the_numbers_of_a_turn_are_read_once_however_many_turns_are_alike() -> None:
    lines = [f"the amount that you owe us today is {n} dollars and thank you" for n in range(300)]
    spoken_in_digits.cache_clear()
    await built_in("agent_loop").configured().examine(call_of([("agent", line) for line in lines]))
    read = spoken_in_digits.cache_info()
    assert read.hits + read.misses == len(lines)


@pytest.mark.parametrize("text", LONG)
async def test_masking_ends_on_endless_texts(text: str) -> None:
    [masked] = await BuiltIn().mask([text])
    assert masked.text
