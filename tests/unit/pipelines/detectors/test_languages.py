"""The language that the agent speaks, against the caller's."""

from __future__ import annotations

import pytest
from pipeline_calls import Said, call_of

from calltriage.pipelines.detectors.languages import language

SPANISH: list[Said] = [
    ("caller", "hola quiero saber el saldo de mi cuenta por favor"),
    ("agent", "sure what is the number of your account please"),
    ("caller", "no entiendo lo que me dice es que no hablo de eso"),
    ("agent", "I need the number of your account to help you"),
    ("agent", "please tell me what the number of it is"),
]


async def found(turns: list[Said], **options: object) -> list[int]:
    findings = (await language.configured(options).examine(call_of(turns))).findings
    return [one.turn.index for one in findings if one.turn is not None and not isinstance(one.turn, int)]


async def test_an_agent_that_goes_on_in_another_language_is_found_once() -> None:
    assert await found(SPANISH) == [3]


@pytest.mark.parametrize(
    "turns",
    [
        [
            ("caller", "what is the balance of my account"),
            ("agent", "the balance of it is what you have"),
        ]
        * 3,
        SPANISH[:2],
        [("caller", "hola"), ("agent", "hello"), ("caller", "sí"), ("agent", "yes please")],
    ],
    ids=["one language", "one turn each", "a few words"],
)
async def test_one_language_and_few_words_are_not_found(turns: list[Said]) -> None:
    assert await found(turns) == []


async def test_an_expected_language_is_demanded_whatever_the_caller_speaks() -> None:
    assert await found(SPANISH, expected="en") == []
    assert await found(SPANISH, expected="de") == [3]
