"""Rules about words: repeats, phrases, lists."""

from __future__ import annotations

from typing import Any

import pytest
from pipeline_calls import Said, call_of

from calltriage.errors import DetectorError
from calltriage.pipelines.catalogue import built_in
from calltriage.pipelines.detecting import Verdict
from calltriage.pipelines.findings import Verification, verified


async def found(
    name: str, turns: list[Said], options: dict[str, Any] | None = None, **fields: Any
) -> list[tuple[int, str]]:
    """Turns and quotes of what a rule finds, each of which stands in its turn."""
    call, detector = call_of(turns, **fields), built_in(name).configured(options)
    looked_up = [verified(call, detector, one) for one in (await detector.examine(call)).findings]
    assert {one.verification for one in looked_up} <= {Verification.EXACT}
    return [(one.turn or 0, one.quote) for one in looked_up]


async def test_an_agent_that_asks_the_same_again_is_found() -> None:
    turns: list[Said] = [
        ("agent", "What is your date of birth?"),
        ("caller", "May."),
        ("agent", "what is your date of birth"),
    ]

    assert await found("agent_loop", turns) == [(2, "what is your date of birth")]
    assert await found("agent_loop", turns, {"times": 3}) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What day would you like?", "What time would you like?"),
        ("You have paid 120 dollars today", "You have paid 122 dollars today"),
        ("One moment please", "One moment please"),
    ],
    ids=["another word", "another number", "a few words"],
)
async def test_what_only_looks_alike_is_not_said_again(one: str, other: str) -> None:
    assert await found("agent_loop", [("agent", one), ("agent", other)]) == []


async def test_a_caller_who_says_a_part_again_is_found() -> None:
    turns: list[Said] = [
        ("caller", "Hi, my name is Mary and I would like to pay a bill."),
        ("agent", "can you repeat that"),
        ("caller", "I would like to pay a bill"),
        ("caller", "the number is five five five zero one"),
        ("caller", "yes, the number is five five five zero one"),
        ("caller", "the number is five five five zero two"),
    ]

    assert [turn for turn, _ in await found("caller_repeats", turns)] == [2, 4]


async def test_a_phrase_that_has_to_be_said_is_missed_on_the_last_turn_where_it_was_due() -> None:
    turns: list[Said] = [("agent", "hello", 0.0), ("caller", "hi", 5.0), ("agent", "this line is not recorded", 9.0),
                         ("agent", "by the way, this call IS recorded!", 40.0), ("agent", "bye", 50.0)]  # fmt: skip
    phrase: dict[str, Any] = {"phrases": ["this call is recorded"]}

    assert await found("required", turns, phrase) == []
    assert await found("required", turns, phrase | {"within": "30s"}) == [(2, "this line is not recorded")]
    assert await found("required", turns, phrase | {"within_turns": 2}) == [(2, "this line is not recorded")]
    assert await found("required", turns[:3], phrase | {"within": "30s"}) == []
    assert await found("required", turns[:2], phrase) == []


async def test_an_agent_that_says_nothing_until_a_phrase_is_due_is_found_on_its_first_turn() -> None:
    turns: list[Said] = [("caller", "hello? is anybody there?", 2.0), ("agent", "sorry about that", 33.0),
                         ("agent", "this call is recorded", 40.0)]  # fmt: skip
    phrase: dict[str, Any] = {"phrases": ["this call is recorded"], "within": "30s"}

    assert await found("required", turns, phrase) == [(1, "sorry about that")]
    assert await found("required", turns, phrase | {"within_turns": 1}) == [(1, "sorry about that")]
    assert await found("required", turns, phrase | {"within": "41s"}) == []
    assert await found("required", turns[:2], phrase) == []  # fewer turns than `if_turns`
    assert await found("required", turns[:2], phrase | {"if_turns": 1}) == [(1, "sorry about that")]
    assert await found("required", turns[:1], phrase | {"if_turns": 1}) == []


async def test_only_a_phrase_with_a_time_needs_times() -> None:
    untimed = call_of([("agent", "hello"), ("agent", "bye")])
    rule = built_in("required")

    assert (await rule.configured({"phrases": ["recorded"]}).examine(untimed)).verdict is Verdict.FOUND
    timed = await rule.configured({"phrases": ["recorded"], "within": "9s"}).examine(untimed)
    assert timed.verdict is Verdict.NOT_OFFERED


async def test_a_forbidden_phrase_is_quoted_as_it_was_said_unless_something_makes_it_right() -> None:
    turns: list[Said] = [
        ("agent", "That is guaranteed."),
        ("agent", "This is not guaranteed."),
        ("caller", "guaranteed?"),
    ]

    assert await found("forbidden", turns, {"phrases": ["GUARANTEED"], "unless": ["not guaranteed"]}) == [
        (0, "guaranteed.")
    ]
    assert await found("forbidden", turns, {"phrases": ["guarantee"]}) == []


async def test_what_comes_before_what_has_to_come_first_is_found() -> None:
    options = {"first": ["date of birth", "account number"], "then": ["your balance is"]}
    balance: Said = ("agent", "So, your balance is ten dollars.")
    asked: Said = ("agent", "What is your date of birth?")

    assert await found("before", [balance, asked], options) == [(0, "your balance is")]
    assert await found("before", [asked, balance], options) == []
    assert await found("before", [("caller", "my date of birth is in May"), balance], options) == [
        (1, "your balance is")
    ]


async def test_a_transfer_without_what_has_to_come_first_is_found_on_the_last_turn_before_it() -> None:
    options = {"first": ["date of birth"], "then": ["event:transfer"]}
    turns: list[Said] = [("agent", "I will transfer you", 1.0), ("agent", "what is your date of birth", 20.0)]
    at = {"transferred_at": "2026-05-06T10:00:10+00:00"}

    assert await found("before", turns, options, **at) == [(0, "I will transfer you")]
    assert await found("before", turns, options) == []
    assert await found("before", [("agent", "goodbye then")], options, **at) == [(0, "goodbye then")]
    with pytest.raises(DetectorError, match="knows the events event:transfer"):
        built_in("before").configured(options | {"then": ["event:trasfer"]})


async def test_a_caller_who_asks_for_a_person_is_found_unless_the_call_was_transferred() -> None:
    turns: list[Said] = [("caller", "I want to talk to a real person!"), ("agent", "I am a real person")]

    assert await found("asks_for_human", turns) == [(0, "a real person!")]
    assert await found("asks_for_human", turns, transferred_to="+1555") == []


@pytest.mark.parametrize(
    ("name", "speaker", "text", "quote"),
    [
        ("anger", "caller", "this is Ridiculous.", "this is Ridiculous."),
        ("anger", "caller", "I love the shitake mushrooms", None),
        ("anger", "agent", "this is ridiculous", None),
        ("promise", "agent", "Okay, someone will call you.", "someone will"),
        ("promise", "caller", "someone will pay", None),
        ("open_question", "caller", "when does it open", "when does it open"),
        ("open_question", "caller", "and Sundays?", "and Sundays?"),
        ("open_question", "caller", "that is what I wanted", None),
        ("open_question", "agent", "what is your name?", None),
    ],
)
async def test_lists_of_words_find_whole_words_of_their_side(
    name: str, speaker: str, text: str, quote: str | None
) -> None:
    assert await found(name, [("agent", "hello"), (speaker, text)]) == ([] if quote is None else [(1, quote)])
    assert built_in(name).configured().review_only


async def test_a_list_grows_by_words_of_the_users_own() -> None:
    turns: list[Said] = [("caller", "That's a scam")]

    assert await found("anger", turns, {"also": ["scam"]}) == [(0, "scam")]


@pytest.mark.parametrize("phrase", ["", "…", "x" * 300])
def test_a_phrase_without_a_word_is_refused(phrase: str) -> None:
    with pytest.raises(DetectorError, match=r"option 'phrases\.0' is wrong"):
        built_in("forbidden").configured({"phrases": [phrase]})
