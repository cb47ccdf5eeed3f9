"""A call holds a search in whatever way its numbers are spoken or written."""

from __future__ import annotations

import pytest

from calltriage.matching.spoken_search import said, words_of
from calltriage.operations.calls import Turn


@pytest.mark.parametrize("text", ["$5.50 a week", "You'll be charged $5.50 a week.", "No, $5.50 per week, a day early"])
@pytest.mark.parametrize("search", ["five fifty a week", "five dollars fifty", "$5.50", "five dollars and fifty cents"])
def test_a_short_call_with_a_price_is_found_by_the_price_as_it_is_spoken(text: str, search: str) -> None:
    assert said([Turn(user="user", text=text)], words_of(search)) is not None


@pytest.mark.parametrize("search", ['"five fifty a week"', '"is five fifty"', "it's five fifty a week"])
def test_a_phrase_with_a_price_that_was_said_without_its_currency_finds_it_written(search: str) -> None:
    assert said([Turn(user="agent", text="So it's $5.50 a week. The fee is $5.50.")], words_of(search)) is not None


def test_a_phrase_with_a_price_in_one_currency_does_not_find_another() -> None:
    assert said([Turn(user="agent", text="So it's €5.50 a week.")], words_of('"$5.50 a week"')) is None
