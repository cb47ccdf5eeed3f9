"""Masks for what a text should not hold."""

from __future__ import annotations

import json
from dataclasses import replace

import labelled_calls
import pytest
from pipeline_calls import call_of

from calltriage.pipelines import Finding, detector
from calltriage.pipelines.calls import Call
from calltriage.pipelines.findings import Verified, verified
from calltriage.pipelines.redaction import (
    MOST_COMPARED,
    BuiltIn,
    Masked,
    Redactor,
    known_values,
    masked,
    redacted,
    told_as,
    with_known,
)

BUILTIN = BuiltIn()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("call me at 415-555-0132 please", "call me at [phone] please"),
        ("my number is five five five, zero one three two", "my number is [number]"),
        ("it is two four five four nine six nine eight six three okay", "it is [phone] okay"),
        ("card 4111 1111 1111 1111 thanks", "card [card] thanks"),
        ("card 4111 1111 1111 1112 thanks", "card [account] thanks"),
        ("four one one one double one double one one one one one one one one one", "[card]"),
        ("account 12345678", "account [number]"),
        ("call 415\u2013555\u20130132 now", "call [phone] now"),
        ("call 415\u2011555\u20120132 now", "call [phone] now"),
        ("card 4111:1111:1111:1111 now", "card [card] now"),
        ("card 4111; 1111; 1111; 1111; now", "card [card]; now"),
        ("card 4111_1111_1111_1111_ now", "card [card]_ now"),
        ("card 4111 \u2022 1111 \u2022 1111 \u2022 1111 now", "card [card] now"),
        ("it is 4 1 5 dash 5 5 5 dash 0 1 3 2 dash", "it is [phone] dash"),
        ("it is 415 555 uh 0132 um", "it is [phone] um"),
        ("it is five, um, five five [noise] oh one three two", "it is [number]"),
        ("it is four one five <long pause> five five five (laughter) oh one three two", "it is [phone]"),
        ("it is (four one five) five five five oh one three two", "it is ([phone]"),
        ("write to jane.doe@example.com now", "write to [e-mail] now"),
        ("write to jane dot doe at gmail dot com now", "write to [e-mail] now"),
        ("No no, seis uno dos tres cuatro cinco seis siete ocho", "No no, [number]"),
        ("no, el seis uno dos tres cuatro cinco seis siete ocho, a ver", "no, el [number], a ver"),
        ("oh five five five oh one two three four", "oh [number]"),
        ("ich und meine Nummer: null eins fünf eins zwei drei vier fünf", "ich und meine Nummer: [number]"),
    ],
)
def test_numbers_and_addresses_are_masked_written_or_spoken(text: str, shown: str) -> None:
    assert masked(text).text == shown


@pytest.mark.parametrize(
    "text",
    [
        "your balance is one hundred and twenty two dollars",
        "we are open from 8:30 to 17:00 on 12 May 2026",
        "a new one for one of you, at the dot",
        "ticket 123456",
        "at 10:30, 11:30, 12:30 or 13:30",
        "it is five um and then twelve uh twenty twenty",
        "um uh [noise] five uh um",
        "",
    ],
)
def test_other_numbers_stay(text: str) -> None:
    assert masked(text).text == text


def test_values_of_the_record_are_masked_whole_and_longer_ones_first() -> None:
    call = call_of(
        [],
        metadata={
            "caller_name": "Mary Ann Smith",
            "customer": {"email": "mary@home"},
            "agent_name": "Bob",
            "note": "Al",
            "from": "+15550100",
        },
    )
    known = known_values(call)

    text = masked("Hi MARY ANN SMITH, Smith or Smithson, mary@home, Bob and Al at +15550100", known).text

    assert text == "Hi [known], [known] or Smithson, [known], Bob and Al at [known]"


@pytest.mark.parametrize(
    ("text", "part", "original"),
    [
        ("so 415-555-0132 and 4111 1111 1111 1111 thanks a lot", "thanks a", "thanks a"),
        ("so 415-555-0132 and 4111 1111 1111 1111 thanks", "and", "and"),
        ("so 415-555-0132 and more", "so [phone] and", "so 415-555-0132 and"),
        ("so 415-555-0132 and more", "[phone]", "415-555-0132"),
        ("so 415-555-0132 and more", "phone] and", "415-555-0132 and"),
    ],
)
def test_words_of_a_masked_text_are_found_in_the_text_as_it_was(text: str, part: str, original: str) -> None:
    for hidden in (masked(text), told_as(Masked(text), masked(text).text)):
        begin = hidden.text.index(part)
        first, last = hidden.original(begin, begin + len(part))
        assert original in text[first:last]
        assert len(text[first:last]) == len(original)


async def test_a_finding_is_masked_and_stays_the_same_finding() -> None:
    @detector(version=1, kind="number")
    def numbers(call: Call) -> list[Finding]:
        return [Finding(0, "number is 415-555-0132", "said 415-555-0132", key="415-555-0132")]

    call, made = (
        call_of([("caller", "my number is 415-555-0132, Smith")], metadata={"name": "Smith"}),
        numbers.configured(),
    )
    found = verified(call, made, Finding(0, "number is 415-555-0132, Smith", "said 415-555-0132", key="415-555-0132"))

    hidden = await redacted(found, BUILTIN, call)

    assert (hidden.quote, hidden.note) == ("number is [phone], [known]", "said [phone]")
    assert hidden.key == f"[phone] {found.fingerprint[3:9]}"
    assert (hidden.finding_id, hidden.fingerprint) == (found.finding_id, found.fingerprint)
    assert await redacted(found, None, call) is found


@pytest.mark.parametrize(
    ("quote", "shown"),
    [
        ("so 415-555", "so [phone]"),
        ("555-0132 and", "[phone] and"),
        ("555", "[phone]"),
        ("and 4111 1111 1111 1111 thanks", "and [card] thanks"),
        ("thanks", "thanks"),
        ("so", "so"),
    ],
)
def test_a_part_of_a_number_is_shown_as_the_whole_mask(quote: str, shown: str) -> None:
    text = "so 415-555-0132 and 4111 1111 1111 1111 thanks"
    at = text.index(quote)

    assert masked(text).part(at, at + len(quote)) == shown


async def by_caller(number: str, redactor: Redactor | None = BUILTIN) -> Verified:
    """A finding of a detector that is grouped by the caller's number and line."""

    @detector(version=1, kind="late")
    def late(call: Call) -> list[Finding]:
        return [Finding(0, "so late", key="of the north")]

    call = call_of([("caller", "so late")], metadata={"from": number, "line": "line 4"})
    made = replace(late.configured(), group_by=("from", "line"))
    return await redacted(verified(call, made, Finding(0, "so late", key="of the north")), redactor, call)


async def test_a_masked_group_keeps_its_fingerprint_and_looks_the_same_for_one_number_and_not_for_two() -> None:
    plain, one = await by_caller("+14155550132", None), await by_caller("+14155550132")
    again, other = await by_caller("+14155550132"), await by_caller("+14155550199")

    assert one.fingerprint == plain.fingerprint == again.fingerprint != other.fingerprint
    assert one.group == again.group == {"from": f"[known] {plain.fingerprint[3:9]}", "line": "line 4"}
    assert one.group["from"] != other.group["from"]
    assert one.key == "of the north"


@pytest.mark.parametrize(
    ("told", "part", "original"),
    [
        ("so [a] and [b] thanks", "[b]", "north"),
        ("so [a] and [b] thanks", "[a] and", "the south and"),
        ("so and thanks", "so and", "so the south and"),
        ("so the south and", "south", "south"),
        ("so the south and north thanks a lot", "a lot", ""),
        ("*", "*", "so the south and north thanks"),
        ("so the south and north thanks", "north", "north"),
    ],
)
def test_what_a_user_made_of_a_text_is_matched_with_it_word_by_word(told: str, part: str, original: str) -> None:
    text = "so the south and north thanks"
    hidden = told_as(Masked(text), told)
    begin = told.index(part)

    first, last = hidden.original(begin, begin + len(part))

    assert text[first:last].strip() == original
    assert hidden.text == told


def test_known_values_and_a_users_masks_lead_back_to_one_text() -> None:
    first = with_known("Smith of the north branch, Smith", ["Smith"])
    hidden = told_as(first, "[known] of (somewhere), [known]")

    assert hidden.original(0, len(hidden.text)) == (0, len("Smith of the north branch, Smith"))
    assert hidden.part(len("Smith of "), len("Smith of the north")) == "(somewhere)"


def test_a_text_too_long_to_be_compared_counts_as_one_mask_between_equal_ends() -> None:
    text = "begin " + "a b " * MOST_COMPARED + "end"
    told = "begin " + "c d " * MOST_COMPARED + "end"

    [(start, stop, began, ended)] = told_as(Masked(text), told).places

    assert (told[:start], told[stop:]) == ("begin ", " end")
    assert (text[:began], text[ended:]) == ("begin ", " end")


def test_no_other_turn_of_the_shared_calls_is_masked() -> None:
    if not labelled_calls.CALLS.is_file():
        pytest.skip("the shared calls are not on this machine")
    calls = [json.loads(line) for line in labelled_calls.CALLS.read_text().splitlines()]
    turns = [turn["text"] for call in calls for turn in call["turns"]]

    hit = [text for text in turns if masked(text).places]

    assert len(turns) == 509
    assert [text.partition("my phone number is ")[2][:11] for text in hit] == ["eight eight", "eight eight"]


@pytest.mark.parametrize(
    "text", ["(a" * 5_000, "[a a " * 2_000, "1:" * 5_000, "1" + "." * 9_999, "1 . uh [noise] " * 700, "one uh " * 1_400]
)
def test_the_time_of_masking_grows_with_the_length_alone(text: str) -> None:
    """Each of these has as many steps as characters: one that backtracked would not end."""
    assert masked(text).text
