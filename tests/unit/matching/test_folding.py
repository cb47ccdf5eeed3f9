"""One folding for all comparing of words: what is written otherwise is the same, what means something else is not."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calltriage.matching.folding import exact_line, folded, joined_line, loose_line

SAME = {
    "dashes": ("Hold on—that", "Hold on -- that", "Hold on ‐ that"),
    "quotation marks": ("«\u00a0jamais\u00a0»", '"jamais"', "‹jamais›", "„jamais“", "『jamais』"),
    "blanks": ("a\u2009b", "a\tb", "a\u3000b", "a\u2028b", "a\u202fb"),
    "invisible": (
        "can\u200bcel",
        "can\u00adcel",
        "\u200fcancel\u200e",
        "can\ufe0fcel",
        "can\u2060cel",
        "can\\u200bcel",
    ),
    "Turkish": ("İSTANBUL", "istanbul", "ıstanbul", "I\u0307STANBUL"),
    "digits": ("٤٤١٧", "4417", "４４１７", "४४१७", "၄၄၁၇"),
    "blanks between ideographs": ("請求 が 二 回", "請求が二回"),
    "blanks in Thai and Khmer": ("ขอ ยกเลิก", "ขอยกเลิก"),
    "forms": ("ﬁrst Straße", "FIRST STRASSE"),
    "composed or not": ("e\u0301", "é"),
    "Arabic filler": ("محمـــد", "محمد"),
}
LOOSELY = {
    "accents": ("cancelación en Málaga", "cancelacion en malaga"),
    "harakat": ("مُحَمَّد", "محمد"),
    "niqqud": ("מִסְפָּר", "מספר"),
    "strokes": ("Łódź, Ærø", "lodz aero"),
    "punctuation": ("No, I never signed, that.", "no i never signed that"),
    "Persian letters": ("کی", "كي"),
}
OTHER = [
    ("$5", "$50"), ("I can", "I can't"), ("1.5", "11.5"), ("12", "12:30"), ("50 mg", "150 mg"), ("5", "5.50"),
    ("confirmed", "unconfirmed"), ("would", "I wouldn’t"), ("fee", "coffee"), ("5", "$5k"), ("24", "24/7"), ("3", "3,000"),
]  # fmt: skip


@pytest.mark.parametrize("forms", SAME.values(), ids=SAME)
def test_what_is_only_written_otherwise_is_the_same(forms: tuple[str, ...]) -> None:
    assert len({exact_line(form) for form in forms}) == 1


@pytest.mark.parametrize("forms", LOOSELY.values(), ids=LOOSELY)
def test_signs_and_accents_are_left_out_of_a_loose_line(forms: tuple[str, ...]) -> None:
    assert exact_line(forms[0]) != exact_line(forms[1])
    assert loose_line(forms[0]) == loose_line(forms[1])


@pytest.mark.parametrize(("wanted", "said"), OTHER)
def test_words_and_numbers_are_compared_at_their_edges(wanted: str, said: str) -> None:
    for line in (exact_line, loose_line, joined_line):
        assert line(wanted) not in line(said)


@pytest.mark.parametrize("wanted", ["請求", "求", "回来"])
def test_any_part_of_a_text_without_blanks_is_found(wanted: str) -> None:
    assert exact_line(wanted) in exact_line("ご請求が二回来ています")


@pytest.mark.parametrize("text", ["हिन्दी में", "น้ำ", "வணக்கம்"])
def test_vowel_signs_are_letters(text: str) -> None:
    assert loose_line(text).replace(" ", "") == folded(text).replace(" ", "")


@pytest.mark.slow
def test_folding_any_character_twice_changes_nothing_more() -> None:
    for point in range(sys.maxunicode + 1):
        once = folded(f"a{chr(point)}b {chr(point)}")
        assert folded(once) == once, hex(point)


@given(st.text())
@settings(derandomize=True, deadline=None, max_examples=300)
def test_folding_is_idempotent(text: str) -> None:
    assert folded(folded(text)) == folded(text)
    assert exact_line(exact_line(text)) == exact_line(text)
    assert loose_line(loose_line(text)) == loose_line(text)
