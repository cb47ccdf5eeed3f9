"""Silences of the agent."""

from __future__ import annotations

import pytest
from pipeline_calls import Said, call_of

from calltriage.pipelines.detecting import Verdict
from calltriage.pipelines.detectors.silences import agent_silence

QUESTION: Said = ("caller", "what are your hours", 1.0, 2.0)


async def quotes(*turns: Said, **options: object) -> list[str]:
    examined = await agent_silence.configured(options).examine(call_of(turns))
    return [one.quote for one in examined.findings]


async def test_a_late_answer_is_found_with_how_late_it_was() -> None:
    call = call_of([QUESTION, ("agent", "nine to five", 12.5, 14.0)])

    (found,) = (await agent_silence.configured().examine(call)).findings

    assert found.note == "The agent was silent for 10.5 s before this turn."
    assert (found.turn, found.quote) == (call.turns[1], "nine to five")


@pytest.mark.parametrize(
    "turns",
    [
        [QUESTION, ("agent", "nine to five", 9.9, 11.0)],
        [("agent", "what is your name", 1.0, 2.0), ("caller", "well it is jane", 14.0, 15.0)],
        [("agent", "what is your name", 1.0, 2.0), ("agent", "are you there", 14.0, 15.0)],
        [QUESTION, ("caller", "hello hello", 8.0, 9.0), ("agent", "nine to five", 14.0, 15.0)],
        [("agent", "here is a long text", 0.0, 12.0), ("caller", "yes", 1.0, 1.5), ("agent", "next", 13.0, 14.0)],
    ],
    ids=["short", "the caller's", "the caller does not answer", "broken by the caller", "under the agent's own words"],
)
async def test_no_silence_of_the_agent_is_found_in_others(turns: list[Said]) -> None:
    assert await quotes(*turns) == []


async def test_sounds_do_not_break_a_silence() -> None:
    assert await quotes(QUESTION, ("caller", "[noise]", 6.0, 7.0), ("agent", "nine to five", 11.0, 12.0)) == [
        "nine to five"
    ]


async def test_a_silence_after_the_agent_asked_to_wait_is_the_agents() -> None:
    wait: Said = ("agent", "Okay, let me pull that up.", 1.0, 2.0)

    assert await quotes(wait, ("agent", "here it is", 12.0, 13.0)) == ["here it is"]


async def test_how_long_is_an_option() -> None:
    assert await quotes(QUESTION, ("agent", "nine to five", 7.5, 9.0), at_least="5s") == ["nine to five"]


async def test_estimated_times_are_said_to_be_and_calls_without_times_are_not_offered() -> None:
    estimated = call_of([("caller", "what are your hours", 1.0), ("agent", "nine", 20.0)])
    examined = await agent_silence.configured().examine(estimated)

    assert "about 17.7 s" in examined.findings[0].note
    assert (await agent_silence.configured().examine(call_of([("caller", "hi")]))).verdict is Verdict.NOT_OFFERED


async def test_a_long_turn_is_quoted_by_its_first_words() -> None:
    words = " ".join(f"word{number}" for number in range(40))

    assert await quotes(QUESTION, ("agent", f"[noise] {words}", 12.0, 20.0)) == [" ".join(words.split()[:12])]
