"""What is left of a call that was deleted: that something was found and filed, and no word of it."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from datetime import timedelta
from functools import partial
from pathlib import Path

import anyio
import httpx2
import pytest
from click.testing import CliRunner
from conftest import Clock, endpoints_to
from ledgers import opened_ledger
from pipeline_filing import ALONE, Bench, spec_of
from pydantic import SecretStr
from sqlalchemy import select

from calltriage.cli.main import cli
from calltriage.client.client import open_client
from calltriage.desk.app import Desk
from calltriage.errors import DetectorError
from calltriage.pipelines.chat.answers import Judgement
from calltriage.pipelines.chat.kept import FOLDER, Cache, Known, NoAnswers, Recorder
from calltriage.pipelines.detecting import Usage
from calltriage.pipelines.ledger import reviews, tables
from calltriage.pipelines.ledger.ledger import written
from calltriage.pipelines.ledger.retention import forget_call, forget_older
from calltriage.pipelines.ledger.reviews import Review
from calltriage.pipelines.reviewing import undoing
from calltriage.pipelines.running import Work
from calltriage.pipelines.spec import parse_spec
from calltriage.pipelines.tallies import Tally


@pytest.fixture
async def bench(the_desk: Desk, clock: Clock, tmp_path: Path, ledger_url: SecretStr | None) -> AsyncGenerator[Bench]:
    transport = httpx2.ASGITransport(the_desk, raise_app_exceptions=False)
    async with opened_ledger(tmp_path / "data", ledger_url) as ledger, open_client(endpoints_to(transport)) as client:
        ledger.clock = clock
        yield Bench(the_desk, client, ledger, clock, spec_of(more=f"[issues]\n{ALONE}"))


async def test_words_leave_the_ledger_and_what_was_filed_is_not_filed_again(bench: Bench) -> None:
    await bench.trust()
    await bench.say("deleted", metadata={"branch": "north"})
    await bench.run("deleted")
    before = await bench.rows()

    count = await bench.ledger.write(partial(forget_call, ledger=bench.ledger, call_id="deleted"))

    [row] = [row for row in await bench.rows() if row["call_id"] == "deleted"]
    assert count == 1
    assert (row["state"], row["quote"], row["note"], row["key"]) == ("filed", "", "", None)
    assert row["id"] in {one["id"] for one in before}
    [issue] = await bench.issues()
    flags = await bench.flags(issue)
    written = select(tables.effects.c.request, tables.effects.c.result).where(tables.effects.c.finding_id == row["id"])
    assert await bench.ledger.read(lambda it: it.execute(written).all()) == [(None, {"id": flags[0].id})]
    await bench.run("deleted")
    assert [one.id for one in await bench.issues()] == [issue.id]
    assert await bench.flags(issue) == flags
    assert await undoing(bench.ledger, row) == [f"Its flag {flags[0].id} stays on T-1001 until a person removes it."]


async def test_words_leave_the_ledger_when_they_are_older_than_the_file_keeps_them(bench: Bench) -> None:
    await bench.trust()
    await bench.say("old", metadata={"branch": "north"})
    await bench.run("old")
    verdict = Review("old", "wrong_hours", "missed", "a person", "human", "words of a person", turn=1, quote="words")
    await bench.ledger.write(partial(reviews.add, ledger=bench.ledger, review=verdict))
    bench.clock.advance(days=31)
    await bench.say("fresh", metadata={"branch": "north"})
    await bench.run("fresh")

    before = written(bench.clock() - timedelta(days=30))
    count = await forget_older(bench.ledger, "hours", ["wrong_hours"], before)

    rows = {row["call_id"]: row for row in await bench.rows()}
    assert count == 19
    assert (rows["old"]["quote"], rows["old"]["note"], rows["old"]["key"]) == ("", "", None)
    assert (rows["old"]["state"], rows["fresh"]["state"]) == ("filed", "filed")
    assert rows["fresh"]["quote"] == "nine thirty"
    kept = select(tables.reviews.c.quote, tables.reviews.c.reason).where(tables.reviews.c.call_id == "old")
    assert (await bench.ledger.read(lambda it: it.execute(kept).all())) == [(None, None)]
    flags = await bench.flags((await bench.issues())[0])
    await bench.run("old")
    assert await bench.flags((await bench.issues())[0]) == flags
    assert await forget_older(bench.ledger, "hours", ["wrong_hours"], before) == 0


async def test_a_run_removes_old_words_at_its_end(bench: Bench) -> None:
    await bench.say("old")
    await bench.run("old")
    bench.clock.advance(days=31)
    spec = parse_spec('name = "hours"\nretention = "30d"\n[[detect]]\nuse = "wrong_hours"\n')
    work = Work(bench.client, bench.ledger, spec, "run-1", (), bench.filer, Tally({}), bench.client)
    await work.forget_old()
    assert [row["quote"] for row in await bench.rows()] == [""]


def test_what_a_cassette_recorded_too_long_ago_is_taken_out(tmp_path: Path, clock: Clock) -> None:
    tape = tmp_path / "tape.jsonl"
    known = Known({"a": Judgement(verdict="not_found", findings=[])}, Usage())
    recorder = Recorder(NoAnswers(), tape, timedelta(days=30), clock)
    anyio.run(recorder.keep, "call", "old", known)
    clock.advance(days=31)
    anyio.run(recorder.keep, "call", "fresh", known)
    Recorder(NoAnswers(), tape, timedelta(days=30), clock)
    assert [json.loads(line)["key"] for line in tape.read_text().splitlines()] == ["fresh"]
    tape.write_text("no line of a cassette\n")
    with pytest.raises(DetectorError, match="cassette"):
        Recorder(NoAnswers(), tape, timedelta(days=30), clock)


def test_deleting_a_call_on_the_desk_forgets_what_models_answered_about_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    monkeypatch.setenv("CALLTRIAGE_DATA_DIR", str(data))
    line = {"call_id": "gone", "created_at": "2026-05-06T10:00:00Z", "turns": [{"speaker": "agent", "text": "hello"}]}
    (tmp_path / "calls.jsonl").write_text(json.dumps(line))
    run = CliRunner().invoke
    assert run(cli, ["desk", "import", str(tmp_path / "calls.jsonl")]).exit_code == 0
    cache = Cache(data / FOLDER, "endpoint")
    known = Known({"a": Judgement(verdict="not_found", findings=[])}, Usage())
    anyio.run(cache.keep, "gone", "key", known)
    anyio.run(cache.keep, "stays", "key", known)

    looked = run(cli, ["desk", "delete", "call", "gone"])
    assert anyio.run(cache.get, "gone", "key") == known
    deleted = run(cli, ["desk", "delete", "call", "gone", "--yes"])

    assert (looked.exit_code, deleted.exit_code) == (1, 0)
    assert "no words" in deleted.stderr
    assert anyio.run(cache.get, "gone", "key") is None
    assert anyio.run(cache.get, "stays", "key") == known
