"""Words that come near to words that nobody said."""

from __future__ import annotations

import pytest

from calltriage.matching.near_words import near_words, words_in

SAID = words_in(
    [
        "My refund, and the replacement! It was cancelled; I called at 3:30.",
        "Die Überweisung der Straße 12.",
        "退款在哪里",
    ]
)


@pytest.mark.parametrize(
    ("search", "near"),
    [("refunds", ["refund"]), ("Refudn", ["refund"]), ("reffund please", ["refund"]), ("replacements", ["replacement"]),
     ("cancelling", ["cancelled"]), ("uberweisungen", ["uberweisung"]), ("zebra", []), ("found", []), ("refund", []),
     ("退货", []), ("3:40", []), ("!", [])],
)  # fmt: skip
def test_forms_of_a_word_and_slips_come_near_and_other_words_do_not(search: str, near: list[str]) -> None:
    assert near_words(search, SAID) == near


def test_words_that_come_near_are_few() -> None:
    said = {f"refun{letter}" for letter in "abcefghijklmnopqrstuvwxyz"}
    assert len(near_words("refund", said)) == 3
