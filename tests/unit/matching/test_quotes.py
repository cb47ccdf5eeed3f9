"""Words that are nearly those of a turn, whatever their punctuation and script."""

from __future__ import annotations

import pytest

from calltriage.matching.quotes import around, nearest, start_of
from calltriage.operations.calls import Turn


@pytest.mark.parametrize(
    ("said", "quote"),
    [
        ("Cancel, order.", "cancel order"), ("Refund!", "refnd"), ("Goodbye!", "goodby."), ("OK.", "ok!"),
        ("My number is 555-0199", "number is 555 0199"),
        ("ขอยกเลิกคำสั่งซื้อของฉันวันนี้", "ขอยกเลิกคำสั่งซื้อของฉันวันนั้"),
    ],
)  # fmt: skip
def test_a_turn_that_is_nearly_the_quote_is_the_nearest(said: str, quote: str) -> None:
    turns = [Turn(text="Hello."), Turn(text=said), Turn(text="Bye")]
    near = nearest(turns, quote)
    assert (near[0].index, near[0].likeness > 0.5) == (1, True)


def test_a_quote_without_words_is_near_to_nothing() -> None:
    assert nearest([Turn(text="Hello"), Turn(text="")], "?!") == []
    assert nearest([], "hello") == []


def test_what_is_shown_of_a_long_turn_holds_the_words() -> None:
    text = "and so on " * 100 + "please refund me" + " and so on" * 100
    shown = around(text, start_of(text, "refund"))
    assert "refund" in str(shown["text"])
