"""Masks for what a text should not hold."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pipeline_calls import call_of

from calltriage.errors import SettingsError
from calltriage.pipelines import Finding, detector
from calltriage.pipelines.calls import Call
from calltriage.pipelines.findings import Verified, verified
from calltriage.pipelines.redaction import (
    BuiltIn,
    Hook,
    RedactionError,
    Redactor,
    known_values,
    redacted,
    redactor_of,
)

BUILTIN = BuiltIn()


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("call me at 415-555-0132 please", "call me at [phone] please"),
        ("my number is five five five, zero one three two", "my number is [number]"),
        ("it is two four five four nine six nine eight six three okay", "it is [phone] okay"),
        ("card 4111 1111 1111 1111 thanks", "card [card] thanks"),
        ("card 4111 1111 1111 1112 thanks", "card [account] thanks"),
        ("four one one one double one double one one one one one one one one one", "[card]"),
        ("account 12345678", "account [number]"),
        ("write to jane.doe@example.com now", "write to [e-mail] now"),
        ("write to jane dot doe at gmail dot com now", "write to [e-mail] now"),
        ("No no, seis uno dos tres cuatro cinco seis siete ocho", "No no, [number]"),
        ("no, el seis uno dos tres cuatro cinco seis siete ocho, a ver", "no, el [number], a ver"),
        ("oh five five five oh one two three four", "oh [number]"),
        ("ich und meine Nummer: null eins fünf eins zwei drei vier fünf", "ich und meine Nummer: [number]"),
    ],
)
def test_numbers_and_addresses_are_masked_written_or_spoken(text: str, masked: str) -> None:
    assert BUILTIN.mask(text).text == masked


@pytest.mark.parametrize(
    "text",
    [
        "your balance is one hundred and twenty two dollars",
        "we are open from 8:30 to 17:00 on 12 May 2026",
        "a new one for one of you, at the dot",
        "ticket 123456",
        "",
    ],
)
def test_other_numbers_stay(text: str) -> None:
    assert BUILTIN.mask(text).text == text


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

    text = BUILTIN.mask("Hi MARY ANN SMITH, Smith or Smithson, mary@home, Bob and Al at +15550100", known).text

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
    for redactor in (BUILTIN, Hook(lambda text: BUILTIN.mask(text).text)):
        masked = redactor.mask(text)
        begin = masked.text.index(part)
        first, last = masked.original(begin, begin + len(part))
        assert original in text[first:last]
        assert len(text[first:last]) <= len(original) + (0 if redactor is BUILTIN else 12)


def test_a_finding_is_masked_and_stays_the_same_finding() -> None:
    @detector(version=1, kind="number")
    def numbers(call: Call) -> list[Finding]:
        return [Finding(0, "number is 415-555-0132", "said 415-555-0132", key="415-555-0132")]

    call, made = (
        call_of([("caller", "my number is 415-555-0132, Smith")], metadata={"name": "Smith"}),
        numbers.configured(),
    )
    found = verified(call, made, Finding(0, "number is 415-555-0132, Smith", "said 415-555-0132", key="415-555-0132"))

    masked = redacted(found, BUILTIN, call)

    assert (masked.quote, masked.note) == ("number is [phone], [known]", "said [phone]")
    assert masked.key == f"[phone] {found.fingerprint[3:9]}"
    assert (masked.finding_id, masked.fingerprint) == (found.finding_id, found.fingerprint)
    assert redacted(found, None, call) is found


def test_a_users_redactor_that_fails_lets_no_text_pass() -> None:
    def raises(text: str) -> str:
        raise LookupError(text)

    def forgets(text: str) -> str:
        return None  # pyright: ignore[reportReturnType]  what is tested

    for function, says in ((raises, "raised LookupError"), (forgets, "gave no text")):
        with pytest.raises(RedactionError, match=says) as failed:
            Hook(function).mask("secret words")
        assert "secret" not in str(failed.value)


def test_a_file_names_the_built_in_one_a_function_or_none() -> None:
    assert redactor_of(None, lambda _: str.upper) is None
    assert isinstance(redactor_of("builtin", lambda _: str.upper), BuiltIn)
    made = redactor_of("acme:mask", lambda _: str.upper)
    assert made is not None
    assert made.mask("abc").text == "ABC"
    with pytest.raises(SettingsError, match="builtin"):
        redactor_of("built_in", lambda _: str.upper)


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

    assert BUILTIN.mask(text).part(at, at + len(quote)) == shown


def by_caller(number: str, redactor: Redactor | None = BUILTIN) -> Verified:
    """A finding of a detector that is grouped by the caller's number and line."""

    @detector(version=1, kind="late")
    def late(call: Call) -> list[Finding]:
        return [Finding(0, "so late", key="of the north")]

    call = call_of([("caller", "so late")], metadata={"from": number, "line": "line 4"})
    made = replace(late.configured(), group_by=("from", "line"))
    return redacted(verified(call, made, Finding(0, "so late", key="of the north")), redactor, call)


def test_a_masked_group_keeps_its_fingerprint_and_looks_the_same_for_one_number_and_not_for_two() -> None:
    plain, one = by_caller("+14155550132", None), by_caller("+14155550132")
    again, other = by_caller("+14155550132"), by_caller("+14155550199")

    assert one.fingerprint == plain.fingerprint == again.fingerprint != other.fingerprint
    assert one.group == again.group == {"from": f"[known] {plain.fingerprint[3:9]}", "line": "line 4"}
    assert one.group["from"] != other.group["from"]
    assert one.key == "of the north"
