"""Words of people's and agents' verdicts: masked as the pipeline's file says before they are stored."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path

import httpx2
import pytest
from conftest import Clock, endpoints_to
from ledgers import opened_ledger
from pipeline_filing import Bench, spec_of
from sqlalchemy import select

from calltriage.client.client import open_client
from calltriage.desk.app import Desk
from calltriage.errors import Rejected
from calltriage.pipelines import reviewing
from calltriage.pipelines.ledger import tables
from calltriage.pipelines.parts import Parts
from calltriage.pipelines.reviewing import Reviewer

AGENT, PERSON = Reviewer("agent", "agent"), Reviewer("a person")
REASON = "they gave 4111 1111 1111 1111"


@pytest.fixture
async def bench(the_desk: Desk, clock: Clock, tmp_path: Path) -> AsyncGenerator[Bench]:
    transport = httpx2.ASGITransport(the_desk, raise_app_exceptions=False)
    async with opened_ledger(tmp_path / "data") as ledger, open_client(endpoints_to(transport)) as client:
        ledger.clock = clock
        yield Bench(the_desk, client, ledger, clock, spec_of())


async def begun(bench: Bench, redact: str | None, file: Path | None = None) -> None:
    """A run of the pipeline with this `redact`, which finds something in a call with a number. `file`: where it ran."""
    line = "" if redact is None else f'redact = "{redact}"\n'
    text = f'name = "hours"\n{line}[[detect]]\nuse = "forbidden"\nname = "wrong_hours"\nphrases = ["nine thirty"]\n'
    values = {
        "account": bench.ledger.account, "id": "run-1", "pipeline": "hours", "spec_hash": "x", "spec": text,
        "mode": "run", "window": {} if file is None else {"file": str(file)}, "state": "done", "listed": True,
        "created_at": bench.ledger.now(), "updated_at": bench.ledger.now(),
    }  # fmt: skip
    result = {
        "account": bench.ledger.account, "call_id": "first", "content_hash": "x", "detector": "wrong_hours",
        "version_hash": "x", "verdict": "found", "at": bench.ledger.now(),
    }  # fmt: skip
    for table, row in ((tables.runs, values), (tables.results, result)):
        await bench.ledger.write(lambda it, table=table, row=row: it.execute(table.insert().values(**row)) and None)
    for call_id, words in (("first", "nine thirty, says"), ("second", "ten, says")):  # found, missed
        await bench.say(call_id, f"{words} Smith, on 415-555-0132", metadata={"name": "Smith"})
        await bench.examine(call_id)


async def stored(bench: Bench) -> list[tuple[str | None, str | None]]:
    """Quotes and reasons of all verdicts."""
    query = select(tables.reviews.c.quote, tables.reviews.c.reason).order_by(tables.reviews.c.at)
    return [(row.quote, row.reason) for row in await bench.ledger.read(lambda it: it.execute(query).all())]


@pytest.mark.parametrize("reviewer", [AGENT, PERSON])
async def test_words_of_a_verdict_are_masked_as_the_file_says(bench: Bench, reviewer: Reviewer) -> None:
    await begun(bench, "builtin")
    parts, [finding] = Parts(bench.client, bench.ledger), await bench.rows()
    bench.clock.advance(seconds=1)
    await reviewing.review(bench.ledger, finding, reviewer, "wrong", f"Smith: {REASON}", client=bench.client)
    bench.clock.advance(seconds=1)
    quote = "Smith, on 415-555"
    await reviewing.missed(parts, "second", "wrong_hours", quote, reviewer=reviewer, note=f"Smith: {REASON}")
    bench.clock.advance(seconds=1)
    await reviewing.nothing(parts, "second", "wrong_hours", reviewer, REASON)

    assert await stored(bench) == [
        (None, "[known]: they gave [card]"),
        ("[known], on [phone]", "[known]: they gave [card]"),
        (None, "they gave [card]"),
    ]


async def test_without_a_redactor_words_are_kept_as_typed(bench: Bench) -> None:
    await begun(bench, None)
    parts, [finding] = Parts(bench.client, bench.ledger), await bench.rows()
    await reviewing.review(bench.ledger, finding, PERSON, "wrong", REASON)
    bench.clock.advance(seconds=1)
    await reviewing.missed(parts, "second", "wrong_hours", "on 415-555-0132", reviewer=PERSON, note=REASON)

    assert await stored(bench) == [(None, REASON), ("on 415-555-0132", REASON)]


async def test_where_no_run_had_the_detector_words_are_kept_as_typed(bench: Bench) -> None:
    await begun(bench, "builtin")
    parts = Parts(bench.client, bench.ledger)
    await reviewing.missed(parts, "first", "agent_loop", "on 415-555-0132", reviewer=PERSON, note=REASON)

    assert await stored(bench) == [("on 415-555-0132", REASON)]


@pytest.mark.parametrize("is_known", [True, False], ids=["as its run has it", "in the present folder"])
async def test_a_users_redactor_masks_words_of_verdicts_in_its_files_folder(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_known: bool
) -> None:
    (tmp_path / "acme_words.py").write_text("def mask(text):\n    return text.replace('gave', '(did)')\n")
    if not is_known:
        monkeypatch.chdir(tmp_path)
    await begun(bench, "acme_words:mask", tmp_path / "p.toml" if is_known else None)
    await reviewing.review(bench.ledger, (await bench.rows())[0], PERSON, "wrong", "they gave it")
    bench.clock.advance(seconds=1)
    await reviewing.missed(
        Parts(bench.client, bench.ledger), "second", "wrong_hours", "says Smith", reviewer=AGENT, note="they gave it"
    )

    assert [reason for _, reason in await stored(bench)] == ["they (did) it", "they (did) it"]


async def test_a_users_redactor_that_is_not_here_records_no_word_and_says_so(bench: Bench) -> None:
    await begun(bench, "acme_not_here:mask")
    parts, [finding] = Parts(bench.client, bench.ledger), await bench.rows()
    review = partial(reviewing.review, bench.ledger, finding, PERSON, "wrong")
    with pytest.raises(Rejected, match="acme_not_here"):
        await review(REASON)
    with pytest.raises(Rejected, match="Nothing was recorded"):
        await reviewing.missed(parts, "second", "wrong_hours", "says Smith", reviewer=AGENT)
    assert await stored(bench) == []
    await review()
    assert await stored(bench) == [(None, None)]
