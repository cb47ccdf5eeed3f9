"""Watching: calls are examined once after they ended, however they are heard of."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from conftest import load_lines
from pipeline_lines import just_ended, long_line, silent_line
from pipeline_runs import on_record
from vendors import says

from calltriage.client.client import Client
from calltriage.desk.app import Desk
from calltriage.errors import SettingsError, Unauthenticated
from calltriage.leaves.instants import written
from calltriage.operations.issues import ListIssues
from calltriage.pipelines.catalogue import Opening
from calltriage.pipelines.examining import prepared
from calltriage.pipelines.ledger import items, runs
from calltriage.pipelines.ledger.items import Item
from calltriage.pipelines.metrics import metrics
from calltriage.pipelines.pipeline import Pipeline, open_ledger_of, work_of
from calltriage.pipelines.spec import parse_spec
from calltriage.pipelines.watching import Watching
from calltriage.pipelines.windows import window

NOW = datetime(2026, 5, 6, 12, 0, tzinfo=UTC)
SECRET = "the secret of a webhook, long enough"
QUIET = """name = "quiet"
[watch]
every = "1h"
webhook_secret = "env:HOOK"
[calls]
settle = "2m"
[[detect]]
use = "agent_silence"
file = "auto"
min_precision = 0.0
"""


class Hands:
    """The time of a ledger, moved by hand."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
async def filing(the_desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    monkeypatch.setenv("HOOK", SECRET)
    async with on_record(httpx2.ASGITransport(the_desk, raise_app_exceptions=False), tmp_path) as client:
        yield client


@pytest.fixture
def time() -> Hands:
    return Hands()


@pytest.fixture
async def watching(filing: Client, time: Hands) -> AsyncIterator[Watching]:
    async with Pipeline(parse_spec(QUIET)).watching(filing) as found:
        found.work.ledger.clock = time
        found.run.window["since"] = "2026-05-06T11:00:00.000Z"
        yield found


def silent(call_id: str, minute: int, **more: Any) -> str:
    return silent_line(call_id, 9.5, created_at=f"2026-05-06T11:{minute:02}:00.000Z", **more)


async def due(watching: Watching) -> list[str]:
    return sorted(one.call_id for one in await items.to_do(watching.work.ledger, watching.run.id, 100))


async def test_a_look_finds_each_new_call_once_and_notes_how_far_it_was(the_desk: Desk, watching: Watching) -> None:
    watching.work.ledger.clock = lambda: NOW
    await load_lines(the_desk, silent("a", 10), silent("b", 20))
    await watching.look()
    await load_lines(the_desk, silent("c", 30))
    await watching.look()
    assert [one for one in await due(watching) if one in "abc"] == ["a", "b", "c"]
    run = await runs.get(watching.work.ledger, watching.run.id)
    assert run.watermark == "2026-05-06T11:30:00.000Z"


async def test_a_call_that_the_list_shows_late_is_found(the_desk: Desk, watching: Watching) -> None:
    await load_lines(the_desk, silent("young", 30))
    await watching.look()
    await load_lines(the_desk, silent("late", 20))
    await watching.look()
    assert "late" in await due(watching)


async def test_a_call_that_ends_long_after_younger_ones_is_found(the_desk: Desk, watching: Watching) -> None:
    await load_lines(the_desk, silent("long", 1, completed=False), silent("young", 50))
    await watching.look()
    assert "long" not in await due(watching)
    await load_lines(the_desk, silent("long", 1, completed=True))
    await watching.look()
    assert "long" in await due(watching)


async def test_a_call_that_a_run_left_out_is_examined_by_a_watch_that_began_after_the_call(
    the_desk: Desk, filing: Client, watching: Watching, time: Hands
) -> None:
    watching.run.window["since"] = datetime.now(UTC).isoformat()
    time.now = datetime.now(UTC)
    await load_lines(the_desk, just_ended("long", began_h=3))
    report = await Pipeline(parse_spec(QUIET)).run(filing)
    await watching.look()
    before = await due(watching)
    time.now += timedelta(minutes=3)
    after = await due(watching)
    await watching.work.batch(await items.to_do(watching.work.ledger, watching.run.id, 100))
    await watching.look()

    assert (report.unsettled, before, after) == (1, [], ["long"])
    assert dict((await runs.get(watching.work.ledger, watching.run.id)).counts) == {"done": 1}
    assert len((await filing.send(ListIssues())).items) == 1


async def test_a_call_dated_in_the_future_is_due_once_it_has_settled_and_hides_no_call_of_today(
    the_desk: Desk, watching: Watching, time: Hands
) -> None:
    await load_lines(the_desk, silent_line("ahead", 9.5, created_at="2026-05-07T12:00:00.000Z"), silent("before", 10))
    await watching.look()
    time.now += timedelta(minutes=10)
    assert "ahead" in await due(watching)
    await load_lines(the_desk, silent("late", 20), silent_line("after", 9.5, created_at="2026-05-06T12:05:00.000Z"))
    await watching.look()
    assert {"ahead", "before", "late", "after"} <= set(await due(watching))
    run = await runs.get(watching.work.ledger, watching.run.id)
    assert (run.watermark, run.counts) == ("2026-05-06T12:05:00.000Z", {"new": sum(run.counts.values())})


async def test_a_poll_reads_no_page_behind_the_one_that_reaches_the_future(
    the_desk: Desk, watching: Watching, filing: Client
) -> None:
    ahead = [silent_line(f"ahead-{n}", 9.5, created_at=f"2026-05-07T12:{n % 60:02}:00.000Z") for n in range(1100)]
    await load_lines(the_desk, *ahead)
    before = filing.requests
    await watching.look()
    assert filing.requests - before == 1


@pytest.mark.parametrize("stored", ["window", "watermark"])
async def test_a_watch_that_began_by_a_clock_of_tomorrow_finds_the_calls_of_today(
    the_desk: Desk, watching: Watching, time: Hands, stored: str
) -> None:
    watching.run.window["since"] = "2026-05-07T12:00:00.000Z"
    if stored == "watermark":
        time.now += timedelta(days=1)
        await watching.look()
        note = runs.progressed(watching.work.ledger, watching.run.id, "2026-05-07T12:00:00.000Z", listed=False, found=0)
        await watching.work.ledger.write(note)
        time.now -= timedelta(days=1)
    await load_lines(the_desk, silent("today", 20), silent_line("old", 9.5, created_at="2026-05-04T12:00:00.000Z"))
    await watching.look()
    found = await due(watching)
    assert "today" in found
    assert "old" not in found


async def test_a_call_is_examined_when_it_has_settled(the_desk: Desk, watching: Watching, time: Hands) -> None:
    await load_lines(the_desk, silent_line("fresh", 9.5, created_at="2026-05-06T11:59:30.000Z"))
    await watching.look()
    assert "fresh" not in await due(watching)
    time.now += timedelta(minutes=3)
    assert "fresh" in await due(watching)


REDONE = {
    "corrected": [
        {"speaker_label": "agent", "text": "that is one hundred and twenty dollars", "start": 0, "end": 2},
        {"speaker_label": "caller", "text": "thank you", "start": 3, "end": 4},
    ]
}


async def test_a_watched_call_is_looked_at_again_once_its_recording_was_transcribed(
    the_desk: Desk, filing: Client, time: Hands
) -> None:
    lines = [("agent", "that is one hundred and twenty two dollars"), ("caller", "thank you")]
    turns = [{"speaker": who, "text": text} for who, text in lines]
    call = {"call_id": "misheard", "created_at": "2026-05-06T11:50:00.000Z", "call_length": 1.0, "turns": turns}
    rule = QUIET.replace("agent_silence", "digits_differ")
    async with Pipeline(parse_spec(rule)).watching(filing) as watching:
        watching.work.ledger.clock = time
        watching.run.window["since"] = "2026-05-06T11:00:00.000Z"
        await load_lines(the_desk, json.dumps(call))
        await watching.look()
        [first] = [
            one for one in await items.to_do(watching.work.ledger, watching.run.id, 9) if one.call_id == "misheard"
        ]
        await watching.work.batch([first])
        again = await items.next_due(watching.work.ledger, watching.run.id)
        await load_lines(the_desk, json.dumps({**call, **REDONE, "recording_url": "https://recordings.example/a.wav"}))
        time.now += timedelta(hours=1)
        [second] = [
            one for one in await items.to_do(watching.work.ledger, watching.run.id, 9) if one.call_id == "misheard"
        ]
        await watching.work.batch([second])
        found = watching.work.tally.detectors["digits_differ"]
        run = await runs.get(watching.work.ledger, watching.run.id)
    assert again == "2026-05-06T12:51:00.000Z"
    assert (found.findings, run.counts["done"]) == (1, 1)


async def signed(watching: Watching, body: bytes, signature: str | None = None) -> httpx2.Response:
    right = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    headers = {"x-webhook-signature": right if signature is None else signature}
    transport = httpx2.ASGITransport(watching.app())
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        return await http.post("/webhook", content=body, headers=headers)


async def test_a_webhook_lets_its_call_be_read_once_it_has_settled(watching: Watching, time: Hands) -> None:
    assert (await signed(watching, b'{"call_id": "call-card"}')).status_code == 202
    assert await due(watching) == []
    time.now += timedelta(minutes=2)
    assert await due(watching) == ["call-card"]


async def test_a_webhook_may_be_signed_in_upper_case(watching: Watching) -> None:
    body = b'{"call_id": "call-card"}'
    shouted = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest().upper()
    assert (await signed(watching, body, shouted)).status_code == 202


@pytest.mark.parametrize(
    ("body", "signature", "status"),
    [
        (b'{"call_id": "call-card"}', "0" * 64, 401),
        (b'{"call_id": "call-card"}', "", 401),
        (b"{", None, 400),
        (b"[]", None, 400),
        (b'{"call_id": "../../etc"}', None, 400),
        (b'{"call_id": 7}', None, 400),
        (b"[" * 100_000, None, 400),
        (b" " * (8 * 2**20 + 1), None, 413),
    ],
)
async def test_a_webhook_that_is_not_ours_or_makes_no_sense_changes_nothing(
    watching: Watching, time: Hands, body: bytes, signature: str | None, status: int
) -> None:
    assert (await signed(watching, body, signature)).status_code == status
    time.now += timedelta(days=1)
    assert await due(watching) == []


async def test_one_call_from_webhook_look_and_backfill_at_once_is_filed_once(
    the_desk: Desk, filing: Client, watching: Watching, time: Hands
) -> None:
    await load_lines(the_desk, silent("one", 10), silent("two", 10))
    time.now = datetime.now(UTC) + timedelta(days=400)
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watching.carry_out)
            for call_id in ("one", "two", "one"):
                tasks.start_soon(signed, watching, json.dumps({"call_id": call_id}).encode())
            await Pipeline(parse_spec(QUIET)).run(filing)
            while await due(watching):  # noqa: ASYNC110  the ledger sets no event
                await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
    found = (await filing.send(ListIssues())).items
    assert [issue.title for issue in found if "silence" in issue.title.lower()] == [issue.title for issue in found]
    assert len(found) == 1


async def test_a_watch_that_an_error_ended_says_which(watching: Watching) -> None:
    class Refused:
        async def keep_working(self) -> None:
            raise Unauthenticated("The API refused the key.")

        def hint(self) -> None:
            """Nothing works here."""

    watching.hands = Refused()
    with pytest.RaisesGroup(Unauthenticated):
        await watching.carry_out()
    run = await runs.get(watching.work.ledger, watching.run.id)
    assert (run.state, run.why) == ("paused", "unauthenticated")


async def test_a_watch_that_was_interrupted_says_so(watching: Watching) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watching.carry_out)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    run = await runs.get(watching.work.ledger, watching.run.id)
    assert (run.state, run.why) == ("paused", "It was interrupted. The same command goes on.")


async def test_figures_name_states_and_no_words_of_a_call(the_desk: Desk, watching: Watching) -> None:
    await load_lines(the_desk, silent("a", 10))
    await watching.look()
    [item] = [one for one in await items.to_do(watching.work.ledger, watching.run.id, 9) if one.call_id == "a"]
    await watching.work.batch([item])
    transport = httpx2.ASGITransport(watching.app())
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        told = (await http.get("/metrics")).text
    assert 'calltriage_pipeline_items{pipeline="quiet",state="done"} 1\n' in told
    assert 'calltriage_pipeline_findings{pipeline="quiet",detector="agent_silence",state="filed"} 1\n' in told
    assert 'calltriage_pipeline_unverified_ratio{pipeline="quiet",detector="agent_silence"} 0\n' in told
    requests = next(line for line in told.splitlines() if line.startswith("calltriage_pipeline_requests_total{"))
    assert int(requests.rpartition(" ")[2]) >= 5  # the list, the call, and what its issue takes
    assert "order" not in told


async def test_large_figures_keep_every_digit(filing: Client) -> None:
    async with Pipeline(parse_spec(QUIET)).watching(filing) as watching:
        ledger, run_id = watching.work.ledger, watching.run.id
        await ledger.write(partial(runs.requested, ledger=ledger, run_id=run_id, requests=1_234_567_890))
        watching.work.tally.detectors["agent_silence"].calls = 9_007_199_254_740
        told = await metrics(ledger, watching.run, watching.work.tally)
    assert 'calltriage_pipeline_requests_total{pipeline="quiet"} 1234567890\n' in told
    assert 'calltriage_pipeline_examined_total{pipeline="quiet",detector="agent_silence"} 9007199254740\n' in told


async def test_figures_tell_the_number_and_the_sum_of_what_was_measured(the_desk: Desk, filing: Client) -> None:
    text = 'name = "late"\n[calls]\nsettle = "0s"\n[[detect]]\nuse = "answer_latency"\n'
    async with Pipeline(parse_spec(text)).watching(filing) as watching:
        await load_lines(the_desk, long_line("a", 9.5, 1))
        await watching.hint("a")
        await watching.work.batch([Item("a")])
        told = await metrics(watching.work.ledger, watching.run, watching.work.tally)
    of = 'pipeline="late",detector="answer_latency",measure="median",unit="s"'
    assert "# TYPE calltriage_pipeline_measure summary\n" in told
    assert f"calltriage_pipeline_measure_count{{{of}}} 1\n" in told
    median = next(line for line in told.splitlines() if line.startswith(f"calltriage_pipeline_measure_sum{{{of}}} "))
    assert 0 < float(median.rpartition(" ")[2]) <= 10


async def test_figures_tell_the_calls_on_which_a_detector_failed(the_desk: Desk, filing: Client) -> None:
    text = f'{QUIET}[[detect]]\nuse = "raising_detector:raises"\n'
    async with Pipeline(parse_spec(text, folder=Path(__file__).parents[2])).watching(filing) as watching:
        await load_lines(the_desk, silent("a", 10))
        await watching.hint("a")
        await watching.work.batch([Item("a")])
        told = await metrics(watching.work.ledger, watching.run, watching.work.tally)
    assert 'calltriage_pipeline_items{pipeline="quiet",state="failed"} 1\n' in told
    assert 'calltriage_pipeline_detector_failures_total{pipeline="quiet",detector="raises"} 1\n' in told
    assert 'calltriage_pipeline_examined_total{pipeline="quiet",detector="raises"} 0\n' in told
    assert 'calltriage_pipeline_examined_total{pipeline="quiet",detector="agent_silence"} 1\n' in told


async def test_a_call_whose_model_never_answers_is_tried_three_times_and_has_failed(
    the_desk: Desk, filing: Client, tmp_path: Path
) -> None:
    (tmp_path / "promise.md").write_text("Does the agent promise something?")
    asks = '[[detect]]\nuse = "chat"\nname = "promise"\nendpoint = "away"\nprompt = "promise.md"\n'
    away = '[endpoint.away]\nbase_url = "http://127.0.0.1:9/v1"\nmodel = "small"\n'
    async with Pipeline(parse_spec(QUIET + asks + away, folder=tmp_path)).watching(filing) as watching:
        await load_lines(the_desk, silent("a", 10))
        await watching.hint("a")
        states = list[str]()
        for attempt in range(3):
            await watching.work.batch([Item("a", attempt=attempt)])
            [state] = (await runs.get(watching.work.ledger, watching.run.id)).counts
            states.append(state)
    assert states == ["new", "new", "failed"]
    tally = watching.work.tally
    assert (tally.calls, tally.left, tally.failures) == (1, 0, {"promise": 1})


async def test_a_call_is_due_again_when_its_endpoint_said(the_desk: Desk, filing: Client, tmp_path: Path) -> None:
    (tmp_path / "promise.md").write_text("Does the agent promise something?")
    asks = '[[detect]]\nuse = "chat"\nname = "promise"\nendpoint = "busy"\nprompt = "promise.md"\n'
    busy = '[endpoint.busy]\nbase_url = "http://127.0.0.1:9/v1"\nmodel = "small"\n'
    spec = parse_spec(QUIET + asks + busy, folder=tmp_path)
    answers = httpx2.MockTransport(says(429, {}, retry_after="600"))
    now = datetime(2026, 5, 6, 12, tzinfo=UTC)
    await load_lines(the_desk, silent("a", 10))
    async with prepared(spec, Opening(transport=answers)) as detectors, open_ledger_of(filing) as ledger:
        ledger.clock = lambda: now
        asked = window(now, call="a").stored()
        begun = await runs.begin(ledger, pipeline="quiet", spec_hash="h", spec="", mode="run", window=asked)
        await ledger.write(items.added(ledger, begun.id, [items.Listed("a")]))
        await work_of(filing, ledger, spec, begun, detectors).batch([Item("a")])
        due = await items.next_due(ledger, begun.id)
    assert due is not None
    assert written(now) < due <= written(now + timedelta(minutes=10))


async def test_a_secret_that_is_not_set_ends_the_start(filing: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOOK")
    with pytest.raises(SettingsError, match="environment variable HOOK"):
        async with Pipeline(parse_spec(QUIET)).watching(filing):
            pass


async def test_one_pipeline_is_watched_once(filing: Client, watching: Watching) -> None:
    with pytest.raises(SettingsError, match="Another process works on watch-quiet"):
        async with Pipeline(parse_spec(QUIET)).watching(filing):
            pass
