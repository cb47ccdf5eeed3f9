"""Late answers, and two who speak at once."""

from __future__ import annotations

import pytest
from pipeline_calls import Said, call_of

from calltriage.pipelines.detecting import Detector, Verdict
from calltriage.pipelines.detectors.silences import answer_latency, talk_over
from calltriage.pipelines.findings import Measure


async def quotes(detector: Detector, turns: list[Said]) -> list[str]:
    return [one.quote for one in (await detector.examine(call_of(turns))).findings]


def answered(*delays: float) -> list[Said]:
    """A call with answers that come after so many seconds."""
    turns, at = list[Said](), 0.0
    for number, delay in enumerate(delays):
        turns += [("caller", "a question", at, at + 1), ("agent", f"answer {number}", at + 1 + delay, at + 2 + delay)]
        at += 3 + delay
    return turns


async def test_late_answers_are_found_once_on_the_latest_one() -> None:
    call = call_of(answered(1, 6, 7, 5))

    (found,) = (await answer_latency.configured().examine(call)).findings

    assert found.quote == "answer 2"
    assert "6.8 s at the 95th percentile and 5.5 s at the median (4 answers); this one took 7.0 s." in found.note


@pytest.mark.parametrize(
    ("delays", "median", "high"), [((1, 6, 7, 5), 5.5, 6.85), ((1, 2, 1, 2), 1.5, 2.0)], ids=["late", "quick"]
)
async def test_delays_are_measured_whether_or_not_they_are_long(
    delays: tuple[float, ...], median: float, high: float
) -> None:
    examined = await answer_latency.configured().examine(call_of(answered(*delays)))
    assert examined.measures == (Measure("median", median, "s"), Measure("percentile_95", high, "s"))


async def test_too_few_delays_are_not_measured() -> None:
    assert (await answer_latency.configured().examine(call_of(answered(9, 9, 9)))).measures == ()


@pytest.mark.parametrize("delays", [(1, 2, 1, 2, 3), (9, 9, 9)], ids=["quick", "too few"])
async def test_quick_answers_and_few_ones_are_not_found(delays: tuple[float, ...]) -> None:
    assert await quotes(answer_latency.configured(), answered(*delays)) == []


AGENT: Said = ("agent", "your balance is eighty dollars", 0.0, 4.0)


@pytest.mark.parametrize(
    ("turn", "found"),
    [
        (("caller", "but I wanted", 3.0, 5.0), ["but I wanted"]),
        (("caller", "yes", 3.0, 5.0), []),
        (("caller", "but I wanted", 3.6, 5.0), []),
        (("caller", "but I wanted", 4.5, 5.0), []),
        (("agent", "and no more", 3.0, 5.0), []),
        (("somebody", "over there now", 3.0, 5.0), []),
    ],
    ids=["cuts in", "one word", "for a moment", "afterwards", "the same side", "another voice"],
)
async def test_who_cuts_in_is_found(turn: Said, found: list[str]) -> None:
    assert await quotes(talk_over.configured(), [AGENT, turn]) == found


async def test_one_side_alone_can_be_asked_for() -> None:
    turns: list[Said] = [AGENT, ("caller", "but I wanted", 3.0, 5.0)]

    assert await quotes(talk_over.configured({"by": "agent"}), turns) == []
    assert await quotes(talk_over.configured({"by": "caller"}), turns) == ["but I wanted"]


async def test_who_cuts_in_is_not_told_from_estimated_times() -> None:
    examined = await talk_over.configured().examine(call_of([("agent", "one two", 0.0), ("caller", "three four", 0.1)]))

    assert examined.verdict is Verdict.NOT_OFFERED
