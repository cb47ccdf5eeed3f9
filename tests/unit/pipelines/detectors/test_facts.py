"""Conditions over a call's facts."""

from __future__ import annotations

import pytest
from pipeline_calls import call_of

from calltriage.errors import DetectorError
from calltriage.pipelines.catalogue import built_in
from calltriage.pipelines.expressions import checked, holds
from calltriage.pipelines.findings import Verification, verified

CALL = call_of(
    [("agent", "I will text you the link.", 0.0, 2.0), ("caller", "thank you very much", 3.0, 4.0)],
    metadata={"line": {"name": "refunds"}, "tags": ["a", "b"], "size": 7, "vip": True},
    answered_by="human",
    end_at="2026-05-06T10:00:05+00:00",
)


@pytest.mark.parametrize(
    "text",
    [
        'answered_by == "human"',
        'answered_by in ("human", "unknown") and not vip == false',
        "disposition == missing and size != missing",
        "size >= 7 and 1 < size < 8 and size > -1",
        'line.name == "refunds" and "a" in tags and "c" not in tags',
        "turns == 2 and agent_turns == 1 and caller_turns == 1 and caller_words == 4 and agent_words == 6",
        "duration_s == 5 and seconds_after_agent == 3",
        'said("agent", "TEXT you") and not said("caller", "text you", "a link") and said("any", "thank you")',
        "not (disposition > 3 or disposition < 3 or answered_by > 3)",
        "vip",
    ],
)
def test_a_condition_that_a_call_fulfils_holds(text: str) -> None:
    assert holds(checked(text), CALL)
    assert not holds(checked(f"not ({text})"), CALL)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "answered_by =",
        "answered_by is missing",
        "__import__('os')",
        "line.name.upper()",
        "[x for x in tags]",
        "(lambda: 1)()",
        "tags[0]",
        'said("robot", "hello")',
        'said("agent")',
        'said("agent", "…")',
        "2 ** 9999999",
        "f'{vip}'",
        "b'bytes' == vip",
        "vip == " + "(" * 600 + "1" + ")" * 600,
        "not " * 200 + "vip == missing or" + " " * 400,
    ],
)
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no condition|write ==|knows one function|without a word|longer"):
        checked(text)
    with pytest.raises(DetectorError, match="option 'when' is wrong"):
        built_in("metadata").configured({"when": text})


async def test_a_fact_is_found_on_the_last_words_or_on_the_record_alone() -> None:
    detector = built_in("metadata").configured({"when": "disposition == missing", "note": "No disposition."})
    silent = call_of([("caller", "[noise]")])

    for call, turn, quote in ((CALL, 1, "thank you very much"), (silent, None, "")):
        (finding,) = (await detector.examine(call)).findings
        found = verified(call, detector, finding)
        assert (found.turn, found.quote, found.verification) == (turn, quote, Verification.EXACT)
        assert found.note == "No disposition."
