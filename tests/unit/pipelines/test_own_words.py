"""What a flag of a finding with masks says: the words as they were said, and no others of the turn."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from functools import partial
from pathlib import Path

import httpx2
import pytest
from conftest import Clock, endpoints_to
from ledgers import opened_ledger
from pipeline_calls import Masking
from pipeline_filing import ALONE, Bench, spec_of

from calltriage.client.client import open_client
from calltriage.desk.app import Desk
from calltriage.pipelines import Finding, detector
from calltriage.pipelines.calls import Call
from calltriage.pipelines.ledger import findings
from calltriage.pipelines.own_words import own_words
from calltriage.pipelines.redaction import BuiltIn

PHRASES = list[str]()
"""What the rule of these tests finds; each test fills it."""


@detector(version=1, kind="wrong_hours")
def wrong_hours(call: Call) -> Iterator[Finding]:
    """Each phrase in each turn."""
    for turn in call.turns:
        for phrase in PHRASES:
            if phrase in turn.text:
                yield Finding(turn, phrase, key="hours")


@pytest.fixture
async def bench(the_desk: Desk, clock: Clock, tmp_path: Path) -> AsyncGenerator[Bench]:
    transport = httpx2.ASGITransport(the_desk, raise_app_exceptions=False)
    PHRASES.clear()
    async with opened_ledger(tmp_path / "data") as ledger, open_client(endpoints_to(transport)) as client:
        ledger.clock = clock
        spec = spec_of('file = "auto"\nseverity = "high"', more=f"[issues]\n{ALONE}")
        yield Bench(the_desk, client, ledger, clock, spec, rule=wrong_hours.configured(), redactor=BuiltIn())


async def filed(bench: Bench, text: str, *phrases: str) -> dict[str, str | None]:
    """The texts of the flags of these phrases, by the masked quotes of their findings."""
    PHRASES.extend(phrases)
    await bench.say("first", text)
    _, found = await bench.examine("first")
    ids = [one.finding_id for one in found]
    await bench.ledger.write(partial(findings.set_state, ledger=bench.ledger, ids=ids, state="accepted", why=None))
    await bench.filer.settle(found[0].fingerprint)
    [issue] = await bench.issues()
    texts = {flag.note.split()[-1].rstrip("]"): flag.message_text for flag in await bench.flags(issue)}
    return {f"{number} {one.quote}": texts[one.finding_id] for number, one in enumerate(found)}


NUMBER = "415-555-0132"
SPOKEN = "four one five five five five oh one three two"


@pytest.mark.parametrize(
    ("text", "phrases", "flags"),
    [
        (f"my pin is 12, send it to {NUMBER} please, i am ill", [f"send it to {NUMBER}"], [f"send it to {NUMBER}"]),
        (f"{NUMBER} is mine, i am ill", [NUMBER], [NUMBER]),
        (f"i am ill, it is {NUMBER}", [NUMBER], [NUMBER]),
        (f"i am ill, it is {SPOKEN} okay", [f"is {SPOKEN}"], [f"is {SPOKEN}"]),
        (f"i am ill, it is {SPOKEN} okay", [SPOKEN], [SPOKEN]),
        (f"{NUMBER} or 415-555-0199, i am ill", [NUMBER, "415-555-0199"], [NUMBER, "415-555-0199"]),
        (f"{SPOKEN}, well, {NUMBER} i am ill", [NUMBER], [NUMBER]),
        ("i am ill, 4111 1111 1111 1111 or more", ["1111 or"], ["1111 or"]),
        (f"i am ill, it is {SPOKEN} okay", ["is four one"], ["is four one"]),
    ],
)
async def test_a_flag_of_a_masked_quote_has_the_words_of_the_quote_and_no_others(
    bench: Bench, text: str, phrases: list[str], flags: list[str]
) -> None:
    texts = await filed(bench, text, *phrases)

    assert list(texts.values()) == flags
    assert all("[" in quote for quote in texts)


async def test_a_quote_behind_a_users_masks_is_found_by_the_findings_id(bench: Bench) -> None:
    bench.redactor = Masking(lambda text: text.replace("the north branch", "(somewhere)"))

    texts = await filed(bench, "well, the north branch opens at nine thirty, i am ill", "the north branch opens")

    assert texts == {"0 (somewhere) opens": "the north branch opens"}


async def test_a_renamed_detectors_masked_quote_is_found(bench: Bench) -> None:
    bench.spec = spec_of('file = "auto"\nname = "wrong_hours"\nwas = ["hours"]')

    texts = await filed(bench, f"{NUMBER} or 415-555-0199, i am ill", "415-555-0199")

    assert texts == {"0 [phone]": "415-555-0199"}


async def test_a_flag_whose_words_are_not_found_has_the_turn_and_no_words(bench: Bench) -> None:
    bench.redactor = Masking(lambda _: "nothing that was said")
    text = "so " + "i am ill and " * 400

    texts = await filed(bench, text, "ill and i")

    assert list(texts.values()) == [None]
    [issue] = await bench.issues()
    [flag] = await bench.flags(issue)
    assert flag.message_index == 2


def test_an_equal_mask_elsewhere_in_the_turn_is_not_taken_for_the_finding() -> None:
    text = f"{NUMBER} or 415-555-0199"

    assert own_words(text, "[phone]", (), lambda words: words.endswith("0199")) == "415-555-0199"
    assert own_words(text, "[phone]", (), lambda _: False) is None
    assert own_words(f"it is {NUMBER}", "[phone]", (), lambda _: False) == NUMBER
    assert own_words("it is mine", "mine", (), lambda _: False) == "mine"
