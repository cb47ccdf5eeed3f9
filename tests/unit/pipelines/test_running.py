"""The contract of the runners: each call once, each incident once, whatever cuts a run off. On each of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import count as count_up
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from conftest import load_lines
from ledgers import Url, opened_ledger
from pipeline_lines import just_ended, silent_line
from pipeline_runs import on_record
from pydantic import SecretStr
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from calltriage.client.client import Client
from calltriage.desk.app import Desk
from calltriage.errors import CallError, SettingsError, StoreBusyError, Unauthenticated, Unreachable
from calltriage.operations.activity import ListActivity
from calltriage.operations.flags import ListFlags
from calltriage.operations.issues import Issue, ListIssues
from calltriage.pipelines import patience, reviewing
from calltriage.pipelines.filing_step import Filer
from calltriage.pipelines.ledger import Ledger, runs
from calltriage.pipelines.ledger.findings import Wanted, listed
from calltriage.pipelines.ledger.pace import open_ledger_of
from calltriage.pipelines.ledger.tables import findings, items, results
from calltriage.pipelines.listing import pages
from calltriage.pipelines.parts import open_parts
from calltriage.pipelines.pipeline import Pipeline, Report, Source
from calltriage.pipelines.recording import Recorder
from calltriage.pipelines.runners.embedded import only_one
from calltriage.pipelines.runners.queue import is_spread
from calltriage.pipelines.running import why_paused
from calltriage.pipelines.spec import parse_spec

TESTS = Path(__file__).parents[2]
SILENCE = """name = "quiet"
[[detect]]
use = "agent_silence"
at_least = "8s"
file = "auto"
min_precision = 0.0
[issues]
review_share = 0.0
"""


LOST = 12
"""More requests than a client repeats by itself."""


class KilledError(BaseException):
    """The end of a process, at any line."""


class Cut(httpx2.AsyncBaseTransport):
    """A way to the desk that counts requests and fails once, as a killed process does, at the request it is told."""

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        self.inner = inner
        self.paths = list[str]()
        self.moved = anyio.Event()
        self.fail_at: int | None = None
        self.forbids: str | None = None
        self.unanswered: str | None = None
        """End of the method and path of requests of which the first `losses` are lost."""
        self.losses = LOST
        self.lost = 0
        self.loses_answer_of: str | None = None
        """End of the path of a write whose answer is lost once, and after which the desk is away for LOST requests."""

    @property
    def calls_read(self) -> int:
        return len([path for path in self.paths if path.startswith("GET /v1/calls/")])

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.paths.append(f"{request.method} {request.url.path}")
        self.moved.set()
        self.moved = anyio.Event()
        if self.fail_at is not None and len(self.paths) > self.fail_at:
            raise KilledError
        if self.forbids is not None and self.paths[-1].startswith(self.forbids):
            raise KilledError
        is_meant = self.unanswered is not None and self.paths[-1].endswith(self.unanswered)
        if (
            is_meant and len(self.paths) > 1 and self.lost < self.losses
        ):  # the first request counts the calls of the run
            self.lost += 1
            raise httpx2.ConnectError("away", request=request)
        if (
            self.loses_answer_of is not None
            and self.paths[-1].endswith(self.loses_answer_of)
            and request.method == "POST"
        ):
            await self.inner.handle_async_request(request)
            self.loses_answer_of, self.unanswered = None, ""
            raise httpx2.ReadError("lost", request=request)
        return await self.inner.handle_async_request(request)


@pytest.fixture(params=["embedded on a file", "embedded on postgres", "queue on postgres"])
def ledger_url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Url]:
    """Where the ledger is, with the runner that is used there."""
    runner, place = request.param.split(" on ")
    if place == "a file":
        yield None
        return
    if runner == "embedded":  # as where the extra is not installed
        monkeypatch.setattr("calltriage.pipelines.pipeline.is_spread", lambda _: False)
    with request.getfixturevalue("postgres").database() as url:
        yield SecretStr(url)


@pytest.fixture
def way(the_desk: Desk) -> Cut:
    return Cut(httpx2.ASGITransport(the_desk, raise_app_exceptions=False))


@pytest.fixture
async def filing(way: Cut, tmp_path: Path, ledger_url: Url) -> AsyncIterator[Client]:
    """A client with a data folder, whose writes are on record."""
    async with on_record(way, tmp_path, ledger_url) as client:
        yield client


async def run(client: Client, text: str = SILENCE, **asked: Any) -> Report:
    return await Pipeline(parse_spec(text, folder=TESTS)).run(client, **asked)


async def filed(client: Client) -> list[Issue]:
    return list((await client.send(ListIssues())).items)


async def count(ledger: Ledger, table: Any, **where: str) -> int:
    query = select(func.count()).select_from(table).where(*(table.c[name] == value for name, value in where.items()))
    return await ledger.read(lambda connection: connection.execute(query).scalar_one())


async def test_a_run_files_an_incident_once_with_each_of_its_calls(the_desk: Desk, filing: Client) -> None:
    await load_lines(the_desk, *(silent_line(f"silent-{n}", 9.5) for n in range(3)), silent_line("quick", 1))
    report = await run(filing)
    assert report.run is not None
    assert (report.run.state, dict(report.run.counts)) == ("done", {"done": 6})
    [issue] = await filed(filing)
    flags = await filing.send(ListFlags(issue_id=issue.id))
    assert sorted(flag.call_id for flag in flags.items) == ["silent-0", "silent-1", "silent-2"]


async def test_the_same_run_again_writes_nothing_more(the_desk: Desk, filing: Client, way: Cut) -> None:
    await load_lines(the_desk, silent_line("silent-1", 9.5), silent_line("silent-2", 12))
    await run(filing)
    before = len(way.paths)
    await run(filing)
    assert not [path for path in way.paths[before:] if not path.startswith("GET ")]
    assert len(await filed(filing)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("fail_at", range(1, 30, 4))
async def test_a_run_that_was_cut_off_goes_on_and_files_once(
    the_desk: Desk, tmp_path: Path, ledger_url: Url, fail_at: int
) -> None:
    await load_lines(the_desk, *(silent_line(f"silent-{n}", 9.5) for n in range(4)))
    way = Cut(httpx2.ASGITransport(the_desk, raise_app_exceptions=False))
    way.fail_at = fail_at
    with suppress(BaseException):  # the end itself, or a group around it
        async with on_record(way, tmp_path, ledger_url) as client:
            await run(client)
    way.fail_at = None
    async with on_record(way, tmp_path, ledger_url) as client:
        report = await run(client)
        assert report.run is not None
        assert (report.run.state, report.run.counts["done"]) == ("done", 6)
        [issue] = await filed(client)
        flags = await client.send(ListFlags(issue_id=issue.id))
        assert sorted(flag.call_id for flag in flags.items) == [f"silent-{n}" for n in range(4)]
        async with open_ledger_of(client) as ledger:
            assert await count(ledger, findings) == 4
            assert len({one.id for one in await runs.newest(ledger)}) <= 2


@pytest.mark.parametrize(("limit", "done"), [(None, 42), (35, 35)])
async def test_a_run_cut_off_among_many_calls_of_one_instant_goes_on_after_them(
    the_desk: Desk, tmp_path: Path, ledger_url: Url, monkeypatch: pytest.MonkeyPatch, limit: int | None, done: int
) -> None:
    monkeypatch.setattr("calltriage.pipelines.runners.lister.pages", partial(pages, size=4))
    monkeypatch.setattr("calltriage.pipelines.runners.embedded.AHEAD", 4)
    await load_lines(the_desk, *(silent_line(f"quick-{n:02}", 1) for n in range(40)))
    way = Cut(httpx2.ASGITransport(the_desk, raise_app_exceptions=False))
    way.fail_at = 34
    with suppress(BaseException):  # the end itself, or a group around it
        async with on_record(way, tmp_path, ledger_url) as client:
            await run(client, limit=limit)
    way.fail_at = None
    with anyio.fail_after(60):
        async with on_record(way, tmp_path, ledger_url) as client:
            report = await run(client, limit=limit)
            assert report.run is not None
            assert (report.run.state, dict(report.run.counts)) == ("done", {"done": done})
            async with open_ledger_of(client) as ledger:
                assert len(await runs.newest(ledger)) == 1


async def test_reading_costs_one_request_a_call_and_one_a_page(the_desk: Desk, filing: Client, way: Cut) -> None:
    await load_lines(the_desk, *(silent_line(f"quick-{n}", 1) for n in range(40)))
    await run(filing)
    assert len([path for path in way.paths if path.startswith("GET /v1/calls")]) <= 42 * 1.3
    assert way.calls_read == 42


async def test_twice_as_many_calls_are_in_hand_as_requests_in_flight_and_no_more(
    the_desk: Desk, tmp_path: Path, ledger_url: Url, monkeypatch: pytest.MonkeyPatch
) -> None:
    await load_lines(the_desk, *(silent_line(f"quick-{n}", 1) for n in range(40)))
    monkeypatch.setattr(Recorder, "record", _never)
    way = Cut(httpx2.ASGITransport(the_desk, raise_app_exceptions=False))
    async with on_record(way, tmp_path, ledger_url, in_flight=4) as client, anyio.create_task_group() as tasks:
        tasks.start_soon(run, client)
        with anyio.fail_after(60):
            while way.calls_read < 8:
                await way.moved.wait()
        with anyio.move_on_after(0.2):
            await way.moved.wait()
        assert way.calls_read == 8
        tasks.cancel_scope.cancel()


async def _never(*_: object) -> None:
    await anyio.sleep_forever()


async def test_calls_of_several_incidents_that_are_filed_together_are_read_once(
    the_desk: Desk, filing: Client, way: Cut
) -> None:
    calls = filing.triage.in_flight
    lines = [silent_line(f"silent-{n}", 9.5, metadata={"line": f"line {n}"}) for n in range(calls)]
    await load_lines(the_desk, *lines)
    await run(filing, SILENCE.replace("[issues]", 'group_by = ["line"]\n[issues]'))
    assert len(await filed(filing)) == calls
    reads = [path for path in way.paths if path.startswith("GET /v1/calls/silent")]
    assert len(reads) == len(set(reads)) == calls


@pytest.mark.parametrize("most", [0, 2])
async def test_beyond_the_limit_of_new_issues_incidents_cost_no_request_and_the_run_says_how_many_wait(
    the_desk: Desk, filing: Client, way: Cut, most: int
) -> None:
    apart = SILENCE.replace("[issues]", f'group_by = ["line"]\n[limits]\nnew_issues = {most}\n[issues]')
    await load_lines(the_desk, *(silent_line(f"silent-{n}", 9.5, metadata={"line": f"line {n}"}) for n in range(most)))
    await run(filing, apart)
    lines = [silent_line(f"silent-{n}", 9.5, metadata={"line": f"line {n}"}) for n in range(most, most + 7)]
    await load_lines(the_desk, *lines)
    before = len(way.paths)
    report = await run(filing, apart, since="2026-01-01")
    asked = [path for path in way.paths[before:] if "/v1/triage" in path]

    assert report.run is not None
    waiting = 7 - most
    assert (report.run.state, len(await filed(filing))) == ("done", 2 * most)
    assert f"{waiting} incidents without an issue: limits.new_issues ({most}) is reached" in (report.run.why or "")
    assert len([path for path in asked if path.startswith("POST")]) == 3 * most
    looks = way.paths[:before].count("GET /v1/triage/issues")
    # Incidents that look at the same time share a request. Those that wait would add one each at least.
    assert asked.count("GET /v1/triage/issues") <= looks + 2 * most < looks + waiting
    assert most or not asked


async def test_what_a_person_accepts_beyond_the_evidence_of_an_issue_is_told_there_once_a_day(
    the_desk: Desk, filing: Client
) -> None:
    await load_lines(the_desk, *(silent_line(f"silent-{n}", 9.5) for n in range(3)))
    await run(filing, SILENCE.replace('"auto"', '"review"').replace("[issues]", "[issues]\nmax_evidence = 1"))
    async with open_parts(filing) as parts:
        rows = await parts.ledger.read(lambda it: listed(it, parts.ledger, Wanted(state="new")))
        for row in rows:
            right = await reviewing.review(parts.ledger, row, reviewing.Reviewer("a person"), "right")
            await reviewing.file_accepted(parts, right)

    [issue] = await filed(filing)
    entries = (await filing.send(ListActivity(issue_id=issue.id, limit=100))).items
    [told] = [entry.detail or "" for entry in entries if entry.type == "comment"]
    assert told.startswith("Found in 1 more call since ")


@pytest.mark.slow
async def test_an_issue_is_looked_at_once_for_all_calls_that_show_its_fault(
    the_desk: Desk, filing: Client, way: Cut
) -> None:
    await load_lines(the_desk, *(silent_line(f"silent-{n:02}", 9.5) for n in range(20)))
    await run(filing)
    [issue] = await filed(filing)
    looks = [path for path in way.paths if path == f"GET /v1/triage/issues/{issue.id}"]
    async with open_ledger_of(filing) as ledger:
        filed_together = filing.triage.in_flight if is_spread(ledger) else 20
    assert len(looks) <= 20 // filed_together + 1
    assert len((await filing.send(ListFlags(issue_id=issue.id, limit=100))).items) == 20


async def test_what_was_examined_and_not_filed_is_filed_without_reading_calls_again(
    the_desk: Desk, tmp_path: Path, ledger_url: Url
) -> None:
    await load_lines(the_desk, *(silent_line(f"silent-{n}", 9.5) for n in range(3)), silent_line("quick", 1))
    inner = httpx2.ASGITransport(the_desk, raise_app_exceptions=False)
    way = Cut(inner)
    way.forbids = "POST "
    with suppress(BaseException):
        async with on_record(way, tmp_path, ledger_url) as client:
            await run(client)
    read_before = {path.rpartition("/")[2] for path in way.paths if path.startswith("GET /v1/calls/")}
    way.forbids, way.paths = None, []
    async with on_record(way, tmp_path, ledger_url) as client:
        report = await run(client)
        [issue] = await filed(client)
        flags = (await client.send(ListFlags(issue_id=issue.id))).items
    read_again = {path.rpartition("/")[2] for path in way.paths if path.startswith("GET /v1/calls/")}
    assert report.run is not None
    assert report.run.state == "done"
    assert read_before >= {"silent-0", "silent-1", "silent-2", "quick"}
    assert sorted(flag.call_id for flag in flags) == ["silent-0", "silent-1", "silent-2"]
    assert read_again <= {"silent-0", "silent-1", "silent-2"}  # for the words of their flags


async def test_what_was_examined_and_not_filed_is_filed_however_many_incidents_a_call_has(
    the_desk: Desk, tmp_path: Path, ledger_url: Url
) -> None:
    detectors = [
        f'[[detect]]\nuse = "agent_silence"\nname = "silence_{number}"\nfile = "auto"\nmin_precision = 0.0\n'
        for number in range(55)
    ]
    text = f'name = "many"\n{"".join(detectors)}[issues]\nreview_share = 0.0\n[limits]\nnew_issues = 100\n'
    await load_lines(the_desk, silent_line("silent", 9.5))
    way = Cut(httpx2.ASGITransport(the_desk, raise_app_exceptions=False))
    way.forbids = "POST "
    with suppress(BaseException):
        async with on_record(way, tmp_path, ledger_url) as client:
            await run(client, text, call="silent")
    way.forbids = None
    async with on_record(way, tmp_path, ledger_url) as client:
        report = await run(client, text, call="silent")
        async with open_ledger_of(client) as ledger:
            assert await count(ledger, findings, state="filed") == 55
    assert report.run is not None
    assert report.run.state == "done"


ORDERS = """from calltriage.pipelines import Finding, detector
from calltriage.pipelines.detecting import Options

class Words(Options):
    words: str

@detector(version=1, kind="order", options=Words)
def orders(call, options):
    for words in options.words.split("|"):
        for turn in call.turns:
            if words in turn.text:
                yield Finding(turn, words)
"""


Find = Callable[..., Awaitable[tuple[Report, list[str | None]]]]


@pytest.fixture
async def find(the_desk: Desk, filing: Client, tmp_path: Path) -> Find:
    """Runs a detector of these words on a desk with a call. Gives the report and the words of the issue's flags."""
    (tmp_path / "acme_orders.py").write_text(ORDERS)
    await load_lines(the_desk, silent_line("silent-1", 9.5))

    async def found(words: str, name: str = "quiet", **asked: Any) -> tuple[Report, list[str | None]]:
        rule = f'use = "acme_orders:orders"\nwords = "{words}"'
        text = SILENCE.replace('use = "agent_silence"\nat_least = "8s"', rule).replace('"quiet"', f'"{name}"')
        report = await Pipeline(parse_spec(text, folder=tmp_path)).run(filing, **asked)
        [issue] = await filed(filing)
        flags = (await filing.send(ListFlags(issue_id=issue.id))).items
        return report, [flag.message_text for flag in flags]

    return found


async def test_other_words_of_a_moment_that_an_earlier_version_filed_are_counted_until_they_are_to_be_filed(
    the_desk: Desk, find: Find
) -> None:
    """A new version may find other words of a moment that is flagged: results are made anew, effects are not."""

    async def found(words: str, **asked: Any) -> tuple[int, int, list[str | None]]:
        report, flags = await find(words, **asked)
        assert report.filed is not None
        return report.filed.findings, report.filed.filed_before, flags

    before = await found("found your order")
    anew = await found("have found your order")
    once_more = await found("have found your order")
    await load_lines(the_desk, silent_line("silent-2", 9.5))
    others = await found("have found your order")
    again = await found("have found your order", refile=True)
    further = await found("have found your order|thank you very much")

    assert before == (1, 0, ["found your order"])
    assert anew == (0, 1, ["found your order"])
    assert once_more == (0, 0, ["found your order"])
    assert (others[0], len(others[2])) == (1, 2), "a call in which nothing was filed"
    assert (again[0], sorted(text or "" for text in again[2])) == (
        1, ["found your order", "have found your order", "have found your order"],
    )  # fmt: skip
    assert further[:2] == (2, 0), "other moments of calls in which something is filed"


@pytest.mark.parametrize(("verdict", "flags"), [("wrong", 2), ("minor", 1)])
async def test_other_words_count_as_filed_unless_a_person_calls_the_earlier_ones_wrong(
    filing: Client, find: Find, verdict: Any, flags: int
) -> None:
    await find("found your order")
    await find("have found your order")
    async with open_parts(filing) as parts:
        [first] = await parts.ledger.read(lambda it: listed(it, parts.ledger, Wanted(state="filed")))
        await reviewing.review(parts.ledger, first, reviewing.Reviewer("a person"), verdict, None)
    _, flagged_words = await find("have found your order")
    assert len(flagged_words) == flags


async def test_another_pipeline_does_not_release_what_one_holds_back(find: Find) -> None:
    await find("found your order")
    await find("have found your order")
    await find("have found your order", name="second")
    _, flagged_words = await find("have found your order")
    assert len(flagged_words) == 1


SETTLING = SILENCE + '[calls]\nsettle = "1h"\n'


async def test_a_call_that_has_not_settled_is_left_out_and_told_and_examined_by_a_later_run(
    the_desk: Desk, filing: Client
) -> None:
    await load_lines(the_desk, just_ended("fresh", began_h=3), just_ended("settled", began_h=2, ended_h=1.5))
    report = await run(filing, SETTLING)
    before = await flagged(filing)
    await load_lines(the_desk, just_ended("fresh", began_h=3, ended_h=1.5))  # as if time had passed
    later = await run(filing, SETTLING)

    assert report.run is not None
    assert (report.run.state, report.unsettled, before) == ("done", 1, ["settled"])
    assert (later.unsettled, await flagged(filing)) == (0, ["fresh", "settled"])


@pytest.mark.parametrize("asked", [{"call": "fresh"}, {"calls": True}])
async def test_calls_that_are_named_or_of_a_file_need_not_have_settled(
    the_desk: Desk, filing: Client, asked: dict[str, Any]
) -> None:
    await load_lines(the_desk, just_ended("fresh"))
    if "calls" in asked:
        asked = {"calls": Source(filing, "a file")}
    report = await run(filing, SETTLING, **asked)

    assert (report.unsettled, await flagged(filing)) == (0, ["fresh"])


@pytest.mark.parametrize("has_settled", [False, True])
async def test_a_run_that_goes_on_takes_what_has_settled_meanwhile_and_tells_the_rest(
    the_desk: Desk, tmp_path: Path, ledger_url: Url, has_settled: bool
) -> None:
    await load_lines(the_desk, just_ended("fresh", began_h=3), just_ended("settled", began_h=2, ended_h=1.5))
    way = Cut(httpx2.ASGITransport(the_desk, raise_app_exceptions=False))
    way.forbids = "POST "
    with suppress(BaseException):
        async with on_record(way, tmp_path, ledger_url) as client:
            await run(client, SETTLING)
    way.forbids = None
    async with on_record(way, tmp_path, ledger_url) as client:
        if has_settled:
            async with open_ledger_of(client) as ledger:
                ago = items.update().where(items.c.call_id == "fresh").values(due_at="2026-05-01T10:00:00.000Z")
                await ledger.write(lambda connection: connection.execute(ago) and None)
        report = await run(client, SETTLING)
        found = await flagged(client)
        async with open_ledger_of(client) as ledger:
            assert len(await runs.newest(ledger)) == 1

    assert report.run is not None
    assert report.run.state == "done"
    assert (report.unsettled, found) == ((0, ["fresh", "settled"]) if has_settled else (1, ["settled"]))


async def test_calls_that_have_not_settled_take_no_place_below_the_limit(the_desk: Desk, filing: Client) -> None:
    await load_lines(the_desk, just_ended("fresh", began_h=3), just_ended("settled", began_h=2, ended_h=1.5))
    report = await run(filing, SETTLING, since="4h", limit=1)

    assert (report.unsettled, await flagged(filing)) == (1, ["settled"])


async def flagged(client: Client) -> list[str]:
    """The calls with a flag on the only issue."""
    [issue] = await filed(client)
    return sorted(flag.call_id for flag in (await client.send(ListFlags(issue_id=issue.id, limit=100))).items)


async def test_calls_that_end_together_are_recorded_in_few_commits(
    the_desk: Desk, filing: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    await load_lines(the_desk, *(silent_line(f"quick-{n:02}", 1) for n in range(60)))
    whole, commits = Ledger.write, list[str]()

    async def write(ledger: Ledger, change: Any, lane: str = "pipelines") -> Any:
        commits.append(lane)
        return await whole(ledger, change, lane)

    monkeypatch.setattr(Ledger, "write", write)
    report = await run(filing)
    assert report.tally.calls == 62
    assert len(commits) < 40


async def test_a_run_that_is_cancelled_stops_and_does_not_go_on(the_desk: Desk, filing: Client) -> None:
    await load_lines(the_desk, *(silent_line(f"silent-{n}", 9.5) for n in range(5)))
    asked = Pipeline(parse_spec(SILENCE))
    async with open_ledger_of(filing) as ledger:
        begun = await runs.begin(
            ledger, pipeline="quiet", spec_hash=asked.spec_hash, spec="", mode="run", window=asked.window().stored()
        )
        await runs.stop(ledger, begun.id, "cancelled")
        report = await run(filing)
        assert report.run is not None
        assert report.run.id != begun.id
        assert (await runs.get(ledger, begun.id)).state == "cancelled"
        with pytest.raises(SettingsError, match="is cancelled already"):
            await runs.stop(ledger, begun.id, "paused")


async def test_the_reason_of_a_pause_is_ours_and_no_librarys_number() -> None:
    assert why_paused(OperationalError("SELECT 1", {}, Exception("away"))) == "OperationalError"
    assert why_paused(Unauthenticated("refused")) == "unauthenticated"
    assert why_paused(SettingsError("No key is set.")) == "No key is set."


async def test_two_processes_do_not_work_on_one_run_at_a_time(tmp_path: Path, ledger_url: Url) -> None:
    async with opened_ledger(tmp_path, ledger_url) as one, opened_ledger(tmp_path / "other", ledger_url) as other:
        if ledger_url is None:  # two processes of one machine; on PostgreSQL they may be on two
            other.folder = one.folder
        async with only_one(one, "run_a"):
            with pytest.raises(SettingsError, match="Another process works on run_a"):
                async with only_one(other, "run_a"):
                    pass
        async with only_one(other, "run_a"):
            pass


async def test_a_call_that_changed_is_examined_again_and_its_old_finding_becomes_stale(
    the_desk: Desk, filing: Client
) -> None:
    await load_lines(the_desk, silent_line("changing", 9.5))
    text = SILENCE.replace("auto", "review")
    await run(filing, text)
    await load_lines(the_desk, silent_line("changing", 1))
    await run(filing, text)
    async with open_ledger_of(filing) as ledger:
        assert await count(ledger, results, call_id="changing") == 2
        assert await count(ledger, findings, call_id="changing", state="stale") == 1


@pytest.mark.parametrize("ending", ["GET /v1/calls", "/v1/calls/silent-1", "/resources", "/flags", "/comments"])
async def test_an_api_that_is_away_is_waited_for_at_each_step(
    the_desk: Desk, filing: Client, way: Cut, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    monkeypatch.setattr(patience, "FIRST_PAUSE_S", 0.0)
    await load_lines(the_desk, *(silent_line(f"silent-{number}", 9.5) for number in range(3)))
    way.unanswered = ending
    report = await run(filing, f"{SILENCE}max_evidence = 1\n")

    [issue] = await filed(filing)
    written = [path.rpartition("/")[2] for path in way.paths if path.startswith("POST")]
    assert report.run is not None
    assert (report.run.state, report.run.counts["done"], way.lost) == ("done", 5, LOST)
    assert len((await filing.send(ListFlags(issue_id=issue.id))).items) == 1
    assert {"resources", "flags", "comments"} <= set(written)


@pytest.mark.parametrize("ending", ["GET /v1/calls", "/comments"])
async def test_an_api_that_stays_away_while_calls_are_listed_or_commented_on_pauses_the_run(
    the_desk: Desk, filing: Client, way: Cut, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    monkeypatch.setattr(patience, "FIRST_PAUSE_S", 2 * patience.PATIENCE_S)  # the patience is over at once
    await load_lines(the_desk, *(silent_line(f"silent-{number}", 9.5) for number in range(3)))
    way.unanswered, way.losses = ending, 1_000_000
    with anyio.fail_after(60), pytest.raises(CallError) as away:
        await run(filing, f"{SILENCE}max_evidence = 1\n")

    async with open_ledger_of(filing) as ledger:
        [paused] = await runs.newest(ledger)
    assert (paused.state, paused.why) == ("paused", away.value.code)
    way.losses = 0
    report = await run(filing, f"{SILENCE}max_evidence = 1\n")
    assert report.run is not None
    assert (report.run.id, report.run.state, report.run.counts["done"]) == (paused.id, "done", 5)


async def test_an_api_that_goes_away_once_all_calls_are_examined_pauses_the_run(
    the_desk: Desk, filing: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_: Filer) -> None:
        raise Unreachable("away")

    monkeypatch.setattr(patience, "FIRST_PAUSE_S", 2 * patience.PATIENCE_S)  # the patience is over at once
    await load_lines(the_desk, silent_line("silent-1", 9.5))
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(Filer, "tell_counts", away)
        with anyio.fail_after(20), pytest.raises(Unreachable) as raised:
            await run(filing)

    async with open_ledger_of(filing) as ledger:
        [paused] = await runs.newest(ledger)
    assert (paused.state, paused.why, paused.counts) == ("paused", raised.value.code, {"done": 3})
    report = await run(filing)
    assert report.run is not None
    assert (report.run.id, report.run.state) == (paused.id, "done")


@pytest.mark.parametrize("ending", ["/issues", "/resources", "/flags"])
async def test_a_write_of_which_nobody_knows_is_looked_for_and_its_calls_end_done(
    the_desk: Desk, filing: Client, way: Cut, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    monkeypatch.setattr(patience, "FIRST_PAUSE_S", 0.0)
    await load_lines(the_desk, *(silent_line(f"silent-{number}", 9.5) for number in range(3)))
    way.loses_answer_of = ending
    report = await run(filing, f"{SILENCE}max_evidence = 1\n")

    [issue] = await filed(filing)
    assert report.run is not None
    assert (report.run.state, report.run.counts, way.lost) == ("done", {"done": 5}, LOST)
    assert len((await filing.send(ListFlags(issue_id=issue.id))).items) == 1


async def test_a_database_that_is_away_is_waited_for(
    the_desk: Desk, filing: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    await load_lines(the_desk, silent_line("silent-1", 9.5))
    whole, writes = Ledger.write, count_up(1)

    async def write(ledger: Ledger, change: Any, lane: str = "pipelines") -> Any:
        if 2 <= next(writes) <= 6:
            raise StoreBusyError("away")
        return await whole(ledger, change, lane)

    monkeypatch.setattr(Ledger, "write", write)
    monkeypatch.setattr(patience, "FIRST_PAUSE_S", 0.0)
    report = await run(filing)
    assert report.run is not None
    assert (report.run.state, report.run.counts["done"]) == ("done", 3)
    assert len(await filed(filing)) == 1


async def test_a_rule_that_fails_on_a_call_is_counted_and_holds_nothing_up(
    the_desk: Desk, filing: Client, tmp_path: Path
) -> None:
    await load_lines(the_desk, silent_line("silent-1", 9.5))
    report = await run(filing, SILENCE + '[[detect]]\nuse = "raising_detector:raises"\n')
    assert report.run is not None
    assert report.run.state == "done"
    assert report.tally.failures == {"raises": 3}
    assert dict(report.run.counts) == {"failed": 3}
    async with open_ledger_of(filing) as ledger:
        assert await runs.errors_of(ledger, report.run.id) == {"raises failed": 3}
    assert len(await filed(filing)) == 1


async def test_a_call_on_which_a_detector_failed_stays_failed_where_another_process_files_it(
    the_desk: Desk, tmp_path: Path, ledger_url: Url
) -> None:
    await load_lines(the_desk, silent_line("silent-1", 9.5))
    way = Cut(httpx2.ASGITransport(the_desk, raise_app_exceptions=False))
    way.forbids = "POST "
    text = SILENCE + '[[detect]]\nuse = "raising_detector:raises"\n'
    with suppress(BaseException):
        async with on_record(way, tmp_path, ledger_url) as client:
            await run(client, text)
    way.forbids = None
    async with on_record(way, tmp_path, ledger_url) as client:
        report = await run(client, text)
        assert report.run is not None
        assert (report.run.state, dict(report.run.counts)) == ("done", {"failed": 3})
        assert len(await filed(client)) == 1


async def test_items_are_those_of_their_account(
    the_desk: Desk, filing: Client, tmp_path: Path, ledger_url: Url
) -> None:
    await load_lines(the_desk, silent_line("silent-1", 9.5))
    await run(filing)
    other = Ledger(tmp_path / "data", "another account", ledger_url)
    assert await runs.newest(other) == []
    assert await count(other, items) == 3
    await other.close()
