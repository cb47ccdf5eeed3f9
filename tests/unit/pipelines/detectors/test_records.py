"""Values that were said against values on record, and numbers that were heard wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pipeline_calls import Said, call_of

from calltriage.errors import DetectorError
from calltriage.pipelines.alignment import aligned
from calltriage.pipelines.catalogue import built_in
from calltriage.pipelines.detecting import Verdict
from calltriage.pipelines.detectors.values import money, phones, same, stated, times

AT: dict[str, Any] = {"kind": "time", "fact": "hours", "near": ["open", "hours"]}


async def turns_of(name: str, turns: list[Said], options: dict[str, Any], **fields: Any) -> list[int | None]:
    findings = (await built_in(name).configured(options).examine(call_of(turns, **fields))).findings
    return [None if one.turn is None or isinstance(one.turn, int) else one.turn.index for one in findings]


@pytest.mark.parametrize(
    ("kind", "text", "values"),
    [
        ("time", "we open at nine thirty am", {"9:30 am"}),
        ("time", "nine thirty to five p m", {"9:30", "5:00 pm"}),
        ("time", "eleven a.m. or 11:00 AM", {"11:00 am"}),
        ("time", "from 17:45, room 12, 5 people", {"17:45"}),
        ("money", "a hundred and thirty four dollars", {"134"}),
        ("money", "$134.50, that is 20 dollars and 5 cents more", {"134.5", "20.05"}),
        ("phone", "five five five, zero one two, three four five six", {"5550123456"}),
        ("number", "you have 60 days", {"60"}),
    ],
)
def test_values_are_read_however_they_are_said(kind: str, text: str, values: set[str]) -> None:
    assert stated(kind, text, "en") == values


def test_values_are_the_same_however_they_are_written() -> None:
    assert same("time", "9:30", "9:30 pm")
    assert not same("time", "9:30 am", "9:30 pm")
    assert same("time", "17:00", "5:00 pm")
    assert same("phone", "5550123456", "15550123456")
    assert (times(" 25 99 am "), money(" 12 "), phones(" 12 34 ")) == (set(), set(), set())


async def test_a_time_that_is_not_on_record_is_found_where_it_is_said() -> None:
    turns: list[Said] = [
        ("caller", "Are you open at seven pm?"),
        ("agent", "Our hours are nine thirty am"),
        ("agent", "to five pm."),
        ("caller", "Okay."),
        ("agent", "See you at six pm."),
    ]

    assert await turns_of("contradicts_record", turns, AT, metadata={"hours": "8:30 am to 5:00 pm"}) == [1]
    assert await turns_of("contradicts_record", turns, AT, metadata={"hours": "9:30 to 17:00"}) == []
    assert await turns_of("contradicts_record", turns, AT, metadata={}) == []
    assert await turns_of("contradicts_record", turns[:1], AT, metadata={"hours": "8:30 am"}) == []


async def test_an_amount_and_a_name_are_compared_as_such() -> None:
    turns: list[Said] = [
        ("agent", "My name is Jon, your balance is one hundred and twenty dollars and it is 5 o'clock")
    ]
    balance = {"kind": "money", "fact": "due", "near": ["balance"]}
    name = {"kind": "name", "fact": "agent", "near": ["my name is"]}

    assert await turns_of("contradicts_record", turns, balance, metadata={"due": 120}) == []
    assert await turns_of("contradicts_record", turns, balance, metadata={"due": "$122.00"}) == [0]
    assert await turns_of("contradicts_record", turns, name, metadata={"agent": "John Smith"}) == []
    assert await turns_of("contradicts_record", turns, name, metadata={"agent": "Mary"}) == [0]


async def test_the_right_value_may_stand_in_a_table_whose_contents_are_a_part_of_the_version(tmp_path: Path) -> None:
    table = tmp_path / "hours.csv"
    table.write_text("branch,opens\nnorth,8:30 am\nsouth,9:30 am\n")
    options = {"kind": "time", "near": ["open"], "table": "hours.csv", "match": "branch", "column": "opens"}
    call = call_of([("agent", "We open at 9:30 am")], metadata={"branch": "north"})

    first = built_in("contradicts_record").configured(options, folder=tmp_path)
    table.write_text("branch,opens\nnorth,9:30 am\n")
    second = built_in("contradicts_record").configured(options, folder=tmp_path)

    assert [(await one.examine(call)).verdict for one in (first, second)] == [Verdict.FOUND, Verdict.NOT_FOUND]
    assert first.version_hash != second.version_hash


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "set `fact`, or `table`"),
        ({"fact": "a", "table": "b.csv"}, "set `fact`, or `table`"),
        ({"table": "b.csv"}, "needs `match` and `column`"),
        ({"table": "none.csv", "match": "a", "column": "b"}, "cannot be read"),
        ({"table": "a.csv", "match": "a", "column": "c"}, "has no column 'c'"),
    ],
)
def test_a_record_that_cannot_be_looked_up_is_refused(options: dict[str, Any], says: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DetectorError, match=says):
        built_in("contradicts_record").configured({"kind": "time", "near": ["open"], **options}, folder=tmp_path)


HEARD: list[Said] = [
    ("agent", "what is the amount", 0.0, 1.0),
    ("caller", "the amount is one hundred twenty dollars", 2.0, 4.0),
    ("agent", "which one would you like", 5.0, 6.0),
    ("caller", "that same night", 7.0, 8.0),
]
SAID: list[Said] = [
    ("agent", "What is the amount?", 0.0, 1.0),
    ("caller", "The amount is $122.", 2.1, 4.1),
    ("agent", "Which would you like?", 5.1, 6.1),
    ("caller", "Seventy nine.", 7.1, 8.1),
]


async def test_numbers_that_were_heard_otherwise_than_said_are_found() -> None:
    call = call_of(HEARD, corrected=SAID)

    findings = (await built_in("digits_differ").configured().examine(call)).findings

    assert [one.note for one in findings] == [
        "Heard 120, where the recording has 122.",
        "Heard no number, where the recording has 79.",
    ]
    assert findings[0].quote == "the amount is one hundred twenty dollars"


async def test_one_line_of_the_recording_may_hold_several_turns() -> None:
    call = call_of(
        [("caller", "my number is five five five"), ("caller", "zero one two three")],
        corrected=[("caller", "My number is 555-0123.", 0.0, 5.0)],
    )

    assert (await built_in("digits_differ").configured().examine(call)).findings == ()


async def test_a_call_that_was_not_redone_or_is_too_long_is_not_compared() -> None:
    long = call_of([("caller", "word " * 9_000)], corrected=[("caller", "word 5 " * 4_500, 0.0, 1.0)])

    assert (await built_in("digits_differ").configured().examine(call_of(HEARD))).verdict is Verdict.NOT_OFFERED
    assert aligned(long.turns, long.corrected or (), "en") is None
    assert (await built_in("digits_differ").configured().examine(long)).findings == ()
