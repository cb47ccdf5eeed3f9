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
from calltriage.leaves.instants import written
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.issues import UpdateIssue
from calltriage.pipelines.chat.answers import Judgement
from calltriage.pipelines.chat.kept import FOLDER, Cache, Known, NoAnswers, Recorder
from calltriage.pipelines.detecting import Usage
from calltriage.pipelines.findings import Measure
from calltriage.pipelines.ledger import incidents, results, reviews, tables
from calltriage.pipelines.ledger.results import Made, Result
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
    assert (row["state"], row["quote"], row["note"], row["key"], row["group"]) == ("filed", "", "", None, None)
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


@pytest.mark.parametrize("is_deleted", [True, False], ids=["a deleted call", "older than the file keeps them"])
async def test_measures_go_with_the_words(bench: Bench, is_deleted: bool) -> None:
    measured = (Measure("words", 47.0),)
    for call in ("old", "fresh"):
        made = [
            Made(call, "as it is", [Result(name, "v", "not_found", measures=measured) for name in ("hours", "pace")])
        ]
        await bench.ledger.write(partial(results.store, ledger=bench.ledger, made=made))
        bench.clock.advance(days=31)
    if is_deleted:
        await bench.ledger.write(partial(forget_call, ledger=bench.ledger, call_id="old"))
    else:
        await forget_older(bench.ledger, "hours", ["hours"], written(bench.clock() - timedelta(days=40)))
    kept = select(tables.measures.c.call_id, tables.measures.c.detector).order_by(
        *tables.measures.c["call_id", "detector"]
    )
    left = [tuple(row) for row in await bench.ledger.read(lambda it: it.execute(kept).all())]
    others = [] if is_deleted else [("old", "pace")]
    assert left == [("fresh", "hours"), ("fresh", "pace"), *others]


async def of_incident(bench: Bench) -> tuple[JsonObject, list[tuple[str, JsonObject | None, JsonObject | None]]]:
    """The incident of the calls, and request and result of each write on its issue."""
    [row] = [row for row in await bench.rows() if not row["call_id"].startswith("labelled-")][:1]
    incident = await bench.ledger.read(
        partial(incidents.by_fingerprint, ledger=bench.ledger, fingerprint=row["fingerprint"])
    )
    made = select(tables.effects.c.kind, tables.effects.c.request, tables.effects.c.result)
    made = made.where(tables.effects.c.fingerprint == row["fingerprint"]).order_by(tables.effects.c.begun_at)
    writes = await bench.ledger.read(lambda it: [tuple(one) for one in it.execute(made)])
    assert incident is not None
    return incident, writes


async def test_what_calls_share_goes_with_the_last_of_them_and_nothing_is_filed_again(bench: Bench) -> None:
    bench.spec = spec_of('file = "auto"\ngroup_by = ["line"]', more=f"[issues]\n{ALONE}")
    await bench.trust()
    for call_id in ("one", "two"):
        await bench.say(call_id, metadata={"branch": "north", "line": "+14155550132"})
        await bench.run(call_id)
    [issue] = await bench.issues()
    forget = partial(forget_call, ledger=bench.ledger)

    await bench.ledger.write(partial(forget, call_id="one"))
    shared, writes = await of_incident(bench)
    assert (shared["group"], shared["key"]) == ({"line": "+14155550132"}, "north")
    assert "+14155550132" in json.dumps(writes)
    await bench.ledger.write(partial(forget, call_id="two"))
    gone, writes = await of_incident(bench)
    rows = [row for row in await bench.rows() if not row["call_id"].startswith("labelled-")]

    assert (gone["group"], gone["key"]) == (None, None)
    assert (gone["issue_id"], gone["ticket"], gone["calls"]) == (issue.id, "T-1001", 2)
    assert [row["group"] for row in rows] == [None, None]
    assert [(kind, request) for kind, request, _ in writes] == [("create_issue", None)] + [("add_flag", None)] * 2
    assert all(result is not None and result.keys() == {"id"} for *_, result in writes)
    assert writes[0][2] == {"id": issue.id}
    assert not any(word in json.dumps([rows, gone, writes], default=str) for word in ("4155550132", "north", "nine"))
    await bench.run("one", "two")
    assert [one.id for one in await bench.issues()] == [issue.id]
    assert len(await bench.flags(issue)) == 2


async def test_what_calls_share_goes_by_age_with_the_last_of_them_too_although_a_process_ended_before_it_did(
    bench: Bench,
) -> None:
    for call_id in ("one", "two"):
        await bench.say(call_id, metadata={"branch": "north"})
        await bench.run(call_id)
        bench.clock.advance(days=1)
    forget = partial(forget_older, bench.ledger, "hours", ["wrong_hours"])

    await forget(written(bench.clock() - timedelta(days=1, hours=1)))
    shared, _ = await of_incident(bench)
    ids = [row["id"] for row in await bench.rows()]
    stripped = tables.findings.update().where(tables.findings.c.id.in_(ids))
    stripped = stripped.values(quote="", note="", key=None, group=None)  # as of a process that ended then
    await bench.ledger.write(lambda it: it.execute(stripped) and None)
    count = await forget(written(bench.clock()))
    gone, _ = await of_incident(bench)

    assert (shared["key"], shared["group"]) == ("north", {})
    assert (count, gone["key"], gone["group"]) == (0, None, None)


async def test_an_incident_has_its_values_again_when_a_call_shows_them_again(bench: Bench) -> None:
    await bench.say("one", metadata={"branch": "north"})
    await bench.run("one")
    await bench.ledger.write(partial(forget_call, ledger=bench.ledger, call_id="one"))
    before, _ = await of_incident(bench)
    await bench.say("two", metadata={"branch": "north"})
    await bench.run("two")

    after, _ = await of_incident(bench)
    assert (before["key"], before["group"]) == (None, None)
    assert (after["key"], after["group"]) == ("north", {})


async def test_an_issue_whose_writes_were_stripped_is_told_of_further_calls_and_reopened(bench: Bench) -> None:
    await bench.trust()
    await bench.say("one", metadata={"branch": "north"})
    await bench.run("one")
    await bench.ledger.write(partial(forget_call, ledger=bench.ledger, call_id="one"))
    [issue] = await bench.issues()
    await bench.client.send(UpdateIssue(issue_id=issue.id, status="done"))
    bench.clock.advance(days=1)
    await bench.say("two", metadata={"branch": "north"})
    await bench.run("two")
    await bench.ledger.write(partial(forget_call, ledger=bench.ledger, call_id="two"))
    await bench.run("two")

    [again] = await bench.issues()
    assert (again.id, again.status) == (issue.id, "todo")
    assert len(await bench.flags(again)) == 2
    _, writes = await of_incident(bench)
    assert {request is None for _, request, _ in writes} == {True}


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
    for kept in ("title", "cassette", "other machines", "reports", "journal", "backups"):
        assert kept in deleted.stderr, kept
        assert kept in looked.stderr, kept
    assert anyio.run(cache.get, "gone", "key") is None
    assert anyio.run(cache.get, "stays", "key") == known
