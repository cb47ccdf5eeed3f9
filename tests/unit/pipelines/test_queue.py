"""Runs that are spread over several processes: what one of them leaves, the others do, and nobody does it twice."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import httpx2
import psycopg
import pytest
from conftest import load_lines
from ledgers import opened_ledger
from pipeline_lines import silent_line
from pipeline_runs import on_record
from postgres import PostgresServer
from pydantic import SecretStr

from calltriage.client.client import Client
from calltriage.client.in_process import background
from calltriage.desk.app import Desk
from calltriage.errors import Forbidden, SettingsError, StoreBusyError
from calltriage.leaves.seals import Seals
from calltriage.operations.flags import ListFlags
from calltriage.operations.issues import ListIssues
from calltriage.pipelines.ledger import runs
from calltriage.pipelines.ledger.keys import has_key, note_key
from calltriage.pipelines.ledger.ledger import Ledger
from calltriage.pipelines.ledger.pace import open_ledger_of
from calltriage.pipelines.ledger.runs import Run
from calltriage.pipelines.pipeline import Pipeline, unheard, work_of
from calltriage.pipelines.runners import jobs, queue
from calltriage.pipelines.runners.jobs import opened_jobs
from calltriage.pipelines.runners.queue import Share
from calltriage.pipelines.spec import parse_spec
from calltriage.pipelines.working import Worker

PATIENCE_S = 60
SECRET = "the secret of a webhook, long enough"
SILENCE = """name = "quiet"
[calls]
settle = "0s"
[watch]
every = "200ms"
webhook_secret = "env:HOOK"
[[detect]]
use = "agent_silence"
at_least = "8s"
file = "auto"
min_precision = 0.0
[issues]
max_evidence = 200
review_share = 0.0
"""


class Counting(httpx2.AsyncBaseTransport):
    """A way to the desk that counts how often each call is read."""

    def __init__(self, desk: Desk) -> None:
        self.inner = httpx2.ASGITransport(desk, raise_app_exceptions=False)
        self.read = Counter[str]()
        self.moved = anyio.Event()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        call_id = request.url.path.removeprefix("/v1/calls/")
        if request.method == "GET" and call_id != request.url.path:
            self.read[call_id] += 1
            self.moved.set()
        return await self.inner.handle_async_request(request)

    async def reaches(self, calls: int) -> None:
        while len(self.read) < calls:
            self.moved = anyio.Event()
            await self.moved.wait()


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[SecretStr]:
    with postgres.database() as address:
        yield SecretStr(address)


@pytest.fixture
def way(the_desk: Desk) -> Counting:
    return Counting(the_desk)


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    monkeypatch.setenv("HOOK", SECRET)
    return Pipeline(parse_spec(SILENCE))


@pytest.fixture
async def client(way: Counting, tmp_path: Path, url: SecretStr) -> AsyncIterator[Client]:
    async with on_record(way, tmp_path, url) as found:
        yield found


@asynccontextmanager
async def workers(
    way: Counting, tmp_path: Path, url: SecretStr, pipeline: Pipeline, count: int
) -> AsyncGenerator[None]:
    """Workers with a data folder each, as on machines of their own."""
    async with AsyncExitStack() as stack, background() as tasks:
        for number in range(count):
            client = await stack.enter_async_context(on_record(way, tmp_path / f"machine-{number}", url))
            tasks.start_soon(Worker(client, [pipeline]).carry_out)
        yield


async def begun(ledger: Ledger, pipeline: Pipeline) -> Run:
    return await runs.begin(
        ledger, pipeline="quiet", spec_hash=pipeline.spec_hash, spec="", mode="run", window=pipeline.window().stored()
    )


async def reaches(ledger: Ledger, run_id: str, done: int) -> Run:
    """A run once so many of its calls are examined, and it has ended unless it is a watch. Other processes work on it, of
    which nothing here hears."""
    with anyio.fail_after(PATIENCE_S):
        while True:
            run = await runs.get(ledger, run_id)
            if run.counts.get("done", 0) >= done and (run.mode == "watch" or run.state != "running"):
                return run
            await anyio.sleep(0.05)


async def flagged(client: Client) -> list[str]:
    """Calls of the one issue's flags."""
    [issue] = (await client.send(ListIssues())).items
    return sorted(flag.call_id for flag in (await client.send(ListFlags(issue_id=issue.id, limit=100))).items)


async def test_workers_do_a_run_that_another_process_began_and_left(
    the_desk: Desk, way: Counting, client: Client, tmp_path: Path, url: SecretStr, pipeline: Pipeline
) -> None:
    await load_lines(the_desk, *(silent_line(f"silent-{n:02}", 9.5) for n in range(12)))
    async with open_ledger_of(client) as ledger, workers(way, tmp_path, url, pipeline, 2):
        run = await reaches(ledger, (await begun(ledger, pipeline)).id, 14)
    assert (run.state, dict(run.counts)) == ("done", {"done": 14})
    assert await flagged(client) == [f"silent-{n:02}" for n in range(12)]


@pytest.mark.slow
async def test_a_run_and_its_workers_read_each_call_once(
    the_desk: Desk, way: Counting, client: Client, tmp_path: Path, url: SecretStr, pipeline: Pipeline
) -> None:
    await load_lines(the_desk, *(silent_line(f"quick-{n:03}", 1) for n in range(800)))
    async with workers(way, tmp_path, url, pipeline, 2):
        report = await pipeline.run(client)
    assert report.run is not None
    assert report.run.counts == {"done": 802}
    assert [call for call, count in way.read.items() if count > 1] == []
    assert report.tally.calls < 802  # the others did some


async def test_a_worker_goes_on_with_a_run_that_was_left_but_not_with_one_that_a_person_stopped(
    the_desk: Desk, way: Counting, client: Client, tmp_path: Path, url: SecretStr, pipeline: Pipeline
) -> None:
    await load_lines(the_desk, silent_line("silent-1", 9.5))
    async with open_ledger_of(client) as ledger:
        stopped = await begun(ledger, pipeline)
        await runs.stop(ledger, stopped.id, "paused")
        left = await runs.begin(
            ledger, pipeline="quiet", spec_hash=pipeline.spec_hash, spec="", mode="run",
            window=pipeline.window(since="2026-01-01").stored(),
        )  # fmt: skip
        await runs.end(ledger, left.id, "paused", "CancelledError")
        async with workers(way, tmp_path, url, pipeline, 1):
            await reaches(ledger, left.id, 3)
        assert (await runs.get(ledger, stopped.id)).why == runs.ASKED_FOR


async def nobody(calls: list[str]) -> None:
    """Who opens the queue and works on none of its jobs."""
    raise AssertionError(calls)


async def test_the_jobs_of_a_lost_worker_are_done_by_another_one(
    the_desk: Desk, way: Counting, client: Client, tmp_path: Path, url: SecretStr, pipeline: Pipeline
) -> None:
    await load_lines(the_desk, *(silent_line(f"silent-{n:02}", 9.5) for n in range(8)))
    async with open_ledger_of(client) as ledger:
        run = await begun(ledger, pipeline)
        async with opened_jobs(ledger, run.id, 4, nobody) as lost:
            await lost.add([f"silent-{n:02}" for n in range(8)])
        async with await psycopg.AsyncConnection.connect(url.get_secret_value(), autocommit=True) as connection:
            worker = await connection.execute(
                "INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - interval '1 hour') RETURNING id"
            )
            await connection.execute(
                "UPDATE procrastinate_jobs SET status = 'doing', worker_id = %s", await worker.fetchone()
            )
        report = await pipeline.run(client)
    assert report.run is not None
    assert (report.run.id, report.run.state, report.run.counts["done"]) == (run.id, "done", 10)
    assert await flagged(client) == [f"silent-{n:02}" for n in range(8)]


async def test_a_job_has_as_many_calls_as_a_process_may_have_requests_under_way(
    the_desk: Desk, way: Counting, tmp_path: Path, url: SecretStr, pipeline: Pipeline
) -> None:
    await load_lines(the_desk, *(silent_line(f"quick-{n:02}", 1) for n in range(28)))
    async with on_record(way, tmp_path, url, in_flight=10) as client:
        report = await pipeline.run(client)
    async with await psycopg.AsyncConnection.connect(url.get_secret_value()) as connection:
        jobs_made = await (await connection.execute("SELECT last_value FROM procrastinate_jobs_id_seq")).fetchone()
    assert report.run is not None
    assert (report.run.counts, jobs_made) == ({"done": 30}, (3,))


async def test_no_transaction_is_around_a_statement_of_the_queue(
    client: Client, url: SecretStr, pipeline: Pipeline
) -> None:
    async with open_ledger_of(client) as ledger:
        run = await begun(ledger, pipeline)
        async with (
            opened_jobs(ledger, run.id, 4, nobody) as queued,
            await psycopg.AsyncConnection.connect(url.get_secret_value()) as connection,
        ):
            await queued.add(["one"])
            last = await connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%procrastinate_defer%' AND pid <> pg_backend_pid()"
            )
            assert await last.fetchone() == (1,), "it was followed by a COMMIT"


async def test_a_connection_that_breaks_as_the_end_of_a_job_is_written_holds_no_run_up(
    the_desk: Desk, client: Client, url: SecretStr, pipeline: Pipeline
) -> None:
    await load_lines(the_desk, *(silent_line(f"silent-{n:02}", 9.5) for n in range(8)))
    async with open_ledger_of(client) as ledger:
        run = await begun(ledger, pipeline)
        async with opened_jobs(ledger, run.id, 4, nobody):
            pass
    async with await psycopg.AsyncConnection.connect(url.get_secret_value(), autocommit=True) as connection:
        await connection.execute("CREATE SEQUENCE cuts")
        await connection.execute(
            "CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "IF nextval('cuts') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF; RETURN OLD; END $$"
        )
        await connection.execute(
            "CREATE TRIGGER cut BEFORE DELETE ON procrastinate_jobs FOR EACH ROW EXECUTE FUNCTION cut()"
        )
    with anyio.fail_after(PATIENCE_S):
        report = await pipeline.run(client)
    assert report.run is not None
    assert (report.run.id, report.run.state, report.run.counts["done"]) == (run.id, "done", 10)


async def test_connections_that_break_in_the_middle_lose_nothing(
    the_desk: Desk, way: Counting, client: Client, postgres: PostgresServer, url: SecretStr, pipeline: Pipeline
) -> None:
    await load_lines(the_desk, *(silent_line(f"silent-{n:02}", 9.5) for n in range(30)))
    reports = list[str]()

    async def run() -> None:
        report = await pipeline.run(client)
        reports.append(report.run.state if report.run else "")

    with anyio.fail_after(3 * PATIENCE_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            for calls in (1, 10, 20):
                await way.reaches(calls)
                postgres.disconnect_all(url.get_secret_value())
    assert reports == ["done"]
    assert await flagged(client) == [f"silent-{n:02}" for n in range(30)]


async def test_a_call_that_is_heard_of_in_three_ways_at_once_is_filed_once(
    the_desk: Desk, way: Counting, client: Client, tmp_path: Path, url: SecretStr, pipeline: Pipeline
) -> None:
    await load_lines(the_desk, *(silent_line(f"silent-{n}", 9.5) for n in range(3)))
    async with AsyncExitStack() as stack:
        second = await stack.enter_async_context(on_record(way, tmp_path / "watch", url))
        watching = await stack.enter_async_context(pipeline.watching(second))
        watching.run.window["since"] = "2026-01-01T00:00:00.000Z"
        tasks = await stack.enter_async_context(background())
        tasks.start_soon(watching.carry_out)
        for n in range(3):
            tasks.start_soon(partial(watching.hint, f"silent-{n}"))
        report = await pipeline.run(client)
        await reaches(watching.work.ledger, watching.run.id, 3)
    assert report.run is not None
    assert report.run.state == "done"
    assert await flagged(client) == ["silent-0", "silent-1", "silent-2"]


async def test_a_signed_webhook_reaches_the_workers(
    the_desk: Desk, way: Counting, client: Client, tmp_path: Path, url: SecretStr, pipeline: Pipeline
) -> None:
    await load_lines(the_desk, silent_line("hinted", 9.5))
    body = json.dumps({"call_id": "hinted"}).encode()
    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    async with pipeline.watching(client) as watching, workers(way, tmp_path, url, pipeline, 1):
        async with httpx2.AsyncClient(
            transport=httpx2.ASGITransport(watching.app()), base_url="http://watch.test"
        ) as vendor:
            headers = {"x-webhook-signature": signature}
            answer = await vendor.post("/webhook", content=body, headers=headers)
        assert answer.status_code == 202
        await reaches(watching.work.ledger, watching.run.id, 1)  # nothing of this process works: a worker does
    assert await flagged(client) == ["hinted"]


async def test_an_error_that_all_calls_would_meet_pauses_the_run_and_is_raised(
    the_desk: Desk, client: Client, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    await load_lines(the_desk, silent_line("silent-1", 9.5))

    async def refused(*_: object, **__: object) -> None:
        raise SettingsError("this key is not one of the API's")

    monkeypatch.setattr("calltriage.pipelines.running.read_call", refused)
    with pytest.raises(SettingsError, match="not one of the API's"):
        await pipeline.run(client)
    async with open_ledger_of(client) as ledger:
        [run] = await runs.newest(ledger)
    assert (run.state, run.why) == ("paused", "this key is not one of the API's")


def share_of(client: Client, ledger: Ledger, pipeline: Pipeline, run: Run) -> Share:
    """A share of a run that has no calls, or that ended."""
    return Share(work_of(client, ledger, pipeline.spec, run, ()), run, unheard, leaves_paused=False)


async def test_a_run_that_another_process_ended_stays_done_when_comments_of_this_one_fail(
    client: Client, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def refused() -> None:
        raise Forbidden("no comments")

    async with open_ledger_of(client) as ledger:
        share = share_of(client, ledger, pipeline, await begun(ledger, pipeline))
        await runs.end(ledger, share.run.id, "done", "7 incidents wait.")
        monkeypatch.setattr(share.work.filer, "tell_counts", refused)
        ended = await share.carry_out()
        await runs.end(ledger, share.run.id, "paused", "too late")
        assert await runs.get(ledger, share.run.id) == ended
    assert (ended.state, ended.why) == ("done", "7 incidents wait.")
    assert ended.ended_at is not None
    assert f"comments at the end of {ended.id} were not made: forbidden" in caplog.text


@pytest.mark.parametrize("state", ["paused", "cancelled"])
async def test_a_run_that_a_person_stopped_gets_no_comments_and_stays_stopped(
    client: Client, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    told = list[str]()

    async def finish() -> None:
        told.append("comment")

    async with open_ledger_of(client) as ledger:
        share = share_of(client, ledger, pipeline, await begun(ledger, pipeline))
        await runs.stop(ledger, share.run.id, state)
        monkeypatch.setattr(share.work.filer, "tell_counts", finish)
        await share.carry_out()
        await runs.end(ledger, share.run.id, "paused", "unreachable")
        await runs.end(ledger, share.run.id, "done")
        stopped = await runs.get(ledger, share.run.id)
    assert (stopped.state, stopped.why, told) == (state, runs.ASKED_FOR, [])


async def test_a_queue_that_stays_away_pauses_the_run(
    the_desk: Desk, client: Client, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    async def away(_: object) -> None:
        raise StoreBusyError("others work on the queue")

    await load_lines(the_desk, silent_line("silent-1", 9.5))
    monkeypatch.setattr(jobs.Jobs, "rescue", away)
    monkeypatch.setattr(queue, "PATIENCE_S", 1.0)
    with anyio.fail_after(PATIENCE_S), pytest.raises(StoreBusyError):
        await pipeline.run(client)
    async with open_ledger_of(client) as ledger:
        [run] = await runs.newest(ledger)
    assert (run.state, run.why) == ("paused", "others work on the queue")
    assert f"to lead {run.id}: StoreBusyError" in caplog.text


async def test_a_worker_with_another_sealing_key_takes_no_part_and_says_what_to_set(
    the_desk: Desk, way: Counting, client: Client, tmp_path: Path, url: SecretStr, pipeline: Pipeline,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    await load_lines(the_desk, silent_line("silent-1", 9.5))
    async with open_ledger_of(client) as ledger:
        await note_key(ledger, Seals(lambda: b"the key of another machine"))
        run = await begun(ledger, pipeline)
        async with workers(way, tmp_path, url, pipeline, 1):
            with anyio.fail_after(PATIENCE_S):
                while "CALLTRIAGE_SEALING_KEY" not in caplog.text:  # noqa: ASYNC110  a log sets no event
                    await anyio.sleep(0.05)
        assert (await runs.get(ledger, run.id)).counts == {}
        await pipeline.run(client)  # what begins runs says which key it is
        assert await has_key(ledger, Seals(client.home.secret))


async def test_a_worker_without_a_database_for_several_says_what_it_needs(
    way: Counting, tmp_path: Path, pipeline: Pipeline
) -> None:
    async with on_record(way, tmp_path) as client:
        with pytest.raises(SettingsError, match=r"set CALLTRIAGE_DATABASE_URL, and .*scale"):
            await Worker(client, [pipeline]).carry_out()


async def test_a_job_whose_end_the_database_lost_is_done_again_while_its_worker_lives(
    tmp_path: Path, url: SecretStr, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "LOOK_EVERY_S", 0.1)
    examined, ended = list[list[str]](), anyio.Event()

    async def examine(calls: list[str]) -> None:
        examined.append(calls)
        if len(examined) == 3:
            ended.set()

    async with AsyncExitStack() as stack:
        ledger = await stack.enter_async_context(opened_ledger(tmp_path, url))
        of_run = await stack.enter_async_context(opened_jobs(ledger, "run-1", 1, examine))
        tasks = await stack.enter_async_context(background())
        tasks.start_soon(of_run.work, 1, lambda: None)
        await of_run.add(["first"])
        with anyio.fail_after(PATIENCE_S):
            while await of_run.queued():  # noqa: ASYNC110  its end sets no event
                await anyio.sleep(0.05)
            for call in ("second", "third"):
                await anyio.to_thread.run_sync(brought_back, url.get_secret_value(), of_run.queue, call)
            await ended.wait()
            while await of_run.queued():  # noqa: ASYNC110
                await anyio.sleep(0.05)
    assert sorted(examined) == [["first"], ["second"], ["third"]]


def brought_back(url: str, queue: str, call: str) -> None:
    """A job that a worker which lives has done, as a database has it that crashed before the end was on its disk."""
    row = (
        "INSERT INTO procrastinate_jobs (queue_name, task_name, args, status, worker_id) SELECT %s, %s, %s, 'doing', id"
    )
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"{row} FROM procrastinate_workers", (queue, jobs.TASK, json.dumps({"calls": [call]})))


def test_the_queue_holds_less_than_what_is_listed_ahead() -> None:
    """Otherwise a page would wait for room that nobody makes."""
    assert queue.QUEUED < queue.AHEAD
    assert jobs.HEARTBEAT_S * 3 < jobs.STALLED_S
