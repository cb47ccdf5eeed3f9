"""Alerts reach a real receiver: signed, once for an event and a quiet time, with what was kept back, without words."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from conftest import Clock, load_lines
from ledgers import Url, opened_ledger
from pipeline_lines import just_ended, silent_line
from pipeline_runs import on_record
from sqlalchemy import Connection

from calltriage.client.client import Client
from calltriage.desk.app import Desk
from calltriage.errors import SettingsError
from calltriage.leaves.instants import written
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.issues import UpdateIssue
from calltriage.pipelines import child, reviewing
from calltriage.pipelines.alerts import SIGNATURE, Alerts, alerts_of
from calltriage.pipelines.ledger import Ledger, findings, incidents, tables
from calltriage.pipelines.ledger.results import Made, Result, store
from calltriage.pipelines.parts import open_parts
from calltriage.pipelines.pipeline import Pipeline
from calltriage.pipelines.rates import Spikes, tell_rates
from calltriage.pipelines.spec import Spec, parse_spec

INCIDENT = {
    "fingerprint": "v1:abc", "detector": "agent_silence", "kind": "agent_silence", "ticket": "T-1001",
    "issue_id": "an id", "calls": 3, "key": "words of a caller", "group": {"name": "words of a caller"},
}  # fmt: skip


@dataclass
class Receiver:
    """What came in, and how it is answered."""

    url: str = ""
    status: int = 204
    answers: threading.Event = field(default_factory=threading.Event)
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(data) for _, data in self.got]


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """An HTTP server on a port of its own."""
    heard = Receiver()
    heard.answers.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["content-length"]))
            heard.got.append(({name.lower(): value for name, value in self.headers.items()}, data))
            heard.answers.wait(60)
            self.send_response(heard.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        heard.url = f"http://127.0.0.1:{server.server_address[1]}/hook"
        monkeypatch.setenv("ALERT_URL", heard.url)
        monkeypatch.setenv("ALERT_KEY", "a key of the tests")
        yield heard
        heard.answers.set()
        server.shutdown()
        thread.join()


def spec_of(more: str = "") -> Spec:
    text = f'name = "p"\n[[detect]]\nuse = "agent_silence"\n[alert]\nwebhook = "env:ALERT_URL"\nquiet = "1h"\n{more}\n'
    return parse_spec(text)


@asynccontextmanager
async def alerting(folder: Path, url: Url, clock: Clock) -> AsyncGenerator[Alerts]:
    """The alerts of a pipeline, on a ledger with this clock."""
    async with opened_ledger(folder, url) as ledger:
        ledger.clock = clock
        alerts = alerts_of(spec_of(), ledger)
        assert alerts is not None
        yield alerts


async def test_a_message_is_signed_and_holds_no_word_of_a_call(receiver: Receiver, tmp_path: Path) -> None:
    async with opened_ledger(tmp_path) as ledger:
        alerts = alerts_of(spec_of('secret = "env:ALERT_KEY"'), ledger)
        assert alerts is not None
        await alerts.tell("filed", "filed one", INCIDENT)

    [(headers, data)] = receiver.got
    expected = hmac.new(b"a key of the tests", data, hashlib.sha256).hexdigest()
    assert headers[SIGNATURE] == f"sha256={expected}"
    assert (receiver.bodies[0]["event"], receiver.bodies[0]["incident"]["ticket"]) == ("filed", "T-1001")
    assert b"words of a caller" not in data


async def test_equal_events_are_kept_back_for_a_while_and_then_told_together(
    receiver: Receiver, tmp_path: Path, clock: Clock, ledger_url: Url
) -> None:
    async with alerting(tmp_path, ledger_url, clock) as alerts:
        for _ in range(4):
            await alerts.tell("over_limit", "over_limit p", INCIDENT)
        await alerts.tell("filed", "filed another", INCIDENT)
        during = len(receiver.got)
        clock.advance(hours=2)
        await alerts.tell("over_limit", "over_limit p", INCIDENT)

    assert during == 2
    assert [(body["event"], body["suppressed"]) for body in receiver.bodies] == [
        ("over_limit", 0), ("filed", 0), ("over_limit", 3)
    ]  # fmt: skip
    assert len({body["id"] for body in receiver.bodies}) == 3


async def test_a_receiver_that_fails_disturbs_nothing_and_hears_of_it_later(
    receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened_ledger(tmp_path) as ledger:
        alerts = alerts_of(spec_of(), ledger)
        assert alerts is not None
        receiver.status = 500
        await alerts.tell("filed", "filed one", INCIDENT)
        receiver.status = 204
        await alerts.tell("filed", "filed one", INCIDENT)

    assert [body["suppressed"] for body in receiver.bodies] == [0, 1]
    assert "an alert could not be sent" in caplog.text
    assert receiver.url not in caplog.text


async def test_what_was_kept_back_is_told_in_full_after_receivers_that_fail(
    receiver: Receiver, tmp_path: Path, clock: Clock, ledger_url: Url
) -> None:
    async with alerting(tmp_path, ledger_url, clock) as alerts:
        for status in (204, 204, 204, 500, 500, 204):
            if status == 500:
                clock.advance(hours=2)
            receiver.status = status
            await alerts.tell("over_limit", "over_limit p", INCIDENT)

    assert [body["suppressed"] for body in receiver.bodies] == [0, 2, 3, 4]


async def test_a_message_that_is_sent_again_keeps_its_id(receiver: Receiver, tmp_path: Path) -> None:
    async with opened_ledger(tmp_path) as ledger:
        alerts = alerts_of(spec_of(), ledger)
        assert alerts is not None
        receiver.status = 500
        await alerts.tell("filed", "filed one", INCIDENT)
        receiver.status = 204
        await alerts.tell("filed", "filed one", INCIDENT)

    assert len(receiver.bodies) == 2
    assert len({body["id"] for body in receiver.bodies}) == 1


async def test_a_detector_that_finds_something_in_too_many_calls_is_told_once_an_interval(
    receiver: Receiver, tmp_path: Path, clock: Clock, ledger_url: Url
) -> None:
    async with opened_ledger(tmp_path, ledger_url) as ledger:
        ledger.clock = clock
        spec = spec_of('rate = { share = 0.2, calls = 20, within = "30m" }')
        alerts = alerts_of(spec, ledger)
        assert alerts is not None
        await examined(ledger, "agent_silence", found=19, of=19)
        await tell_rates(ledger, spec, alerts)
        too_few = len(receiver.got)
        await examined(ledger, "agent_silence", found=8, of=21, name="b")
        await examined(ledger, "of another file", found=90, of=90, name="c")
        await tell_rates(ledger, spec, alerts)
        await tell_rates(ledger, spec, alerts)
        clock.advance(minutes=61)
        await examined(ledger, "agent_silence", found=11, of=40, name="d")  # 28 %, but perhaps no more than 16 %
        await tell_rates(ledger, spec, alerts)
        await examined(ledger, "agent_silence", found=40, of=40, name="e")
        await tell_rates(ledger, spec, alerts)

    assert too_few == 0
    told = [(one["event"], one["suppressed"], one["incident"]["found_in"]) for one in receiver.bodies]
    assert told == [("rate", 0, 27), ("rate", 1, 51)]
    assert receiver.bodies[0]["incident"]["of_calls"] == 40


async def test_an_incident_that_waits_for_a_person_is_told_when_it_escalates(
    receiver: Receiver, the_desk: Desk, tmp_path: Path
) -> None:
    async with on_record(httpx2.ASGITransport(the_desk, raise_app_exceptions=False), tmp_path) as client:
        await load_lines(the_desk, *(just_ended(f"call-{number}", began_h=3, ended_h=2) for number in range(4)))
        await Pipeline(parse_spec(TO_REVIEW)).run(client)
        too_few = len(receiver.got)
        await load_lines(the_desk, just_ended("call-4", began_h=3, ended_h=2))
        for _ in range(2):
            await Pipeline(parse_spec(TO_REVIEW)).run(client, since="1d")

    assert too_few == 0
    [body] = receiver.bodies
    assert (body["event"], body["incident"]["detector"], body["incident"]["calls"]) == ("spike", "agent_silence", 5)
    assert b"money back" not in receiver.got[0][1]


@pytest.mark.parametrize(
    ("before", "lately", "muted", "told"),
    [
        (0, 4, None, 0), (0, 5, None, 1), (14, 6, None, 0), (14, 7, None, 1), (0, 5, "always", 0),
        (0, 5, "until_escalating", 0),
    ],
)  # fmt: skip
async def test_an_incident_escalates_by_its_last_day_and_the_week_before_unless_it_is_muted(
    receiver: Receiver, tmp_path: Path, clock: Clock, ledger_url: Url, before: int, lately: int, muted: Any, told: int
) -> None:
    async with alerting(tmp_path, ledger_url, clock) as alerts:
        await found_in(alerts.ledger, [clock() - timedelta(days=3)] * before + [clock() - timedelta(hours=2)] * lately)
        if muted:
            await alerts.ledger.write(lambda it: incidents.mute(it, alerts.ledger, "v1:abc", muted, "known"))
        await Spikes(alerts.ledger, alerts).tell(["v1:abc", "v1:unknown"])

    assert [body["event"] for body in receiver.bodies] == ["spike"] * told


async def test_a_spike_that_lasts_is_told_once_an_interval_and_is_one_event(
    receiver: Receiver, tmp_path: Path, clock: Clock, ledger_url: Url
) -> None:
    async with alerting(tmp_path, ledger_url, clock) as alerts:
        spikes = Spikes(alerts.ledger, alerts)
        await found_in(alerts.ledger, [clock() - timedelta(hours=2)] * 5)
        for _ in range(20):
            await spikes.tell(["v1:abc"])
            clock.advance(minutes=4)

    assert [(body["event"], body["suppressed"]) for body in receiver.bodies] == [("spike", 0), ("spike", 0)]


async def test_a_spike_that_begins_again_within_the_interval_is_told_as_kept_back(
    receiver: Receiver, tmp_path: Path, clock: Clock, ledger_url: Url
) -> None:
    async with alerting(tmp_path, ledger_url, clock) as alerts:
        spikes = Spikes(alerts.ledger, alerts)
        await found_in(alerts.ledger, [clock() - timedelta(hours=23, minutes=50)] * 5)
        await spikes.tell(["v1:abc"])
        clock.advance(minutes=20)
        await spikes.tell(["v1:abc"])  # the day is over for these calls
        await alerts.ledger.write(_begun_two_hours_later)
        for _ in range(2):
            await spikes.tell(["v1:abc"])
            clock.advance(minutes=30)
        await spikes.tell(["v1:abc"])

    assert [(body["event"], body["suppressed"]) for body in receiver.bodies] == [("spike", 0), ("spike", 1)]


async def test_a_spike_whose_message_failed_is_told_by_the_next_look(
    receiver: Receiver, tmp_path: Path, clock: Clock
) -> None:
    async with alerting(tmp_path, None, clock) as alerts:
        spikes = Spikes(alerts.ledger, alerts)
        await found_in(alerts.ledger, [clock() - timedelta(hours=2)] * 5)
        for receiver.status in (500, 204, 204):
            await spikes.tell(["v1:abc"])
            clock.advance(minutes=2)

    assert len(receiver.bodies) == 2


async def test_an_incident_is_looked_at_once_a_minute_and_in_any_case_at_the_end(
    receiver: Receiver, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, look = list[list[str]](), incidents.is_escalating

    def told(connection: Connection, ledger: Ledger, fingerprints: Sequence[str]) -> bool:
        looks.append(list(fingerprints))
        return look(connection, ledger, fingerprints)

    monkeypatch.setattr(incidents, "is_escalating", told)
    async with alerting(tmp_path, None, clock) as alerts:
        spikes = Spikes(alerts.ledger, alerts)
        await found_in(alerts.ledger, [clock() - timedelta(hours=2)] * 2)
        await found_in(alerts.ledger, [clock() - timedelta(hours=2)] * 2, "v1:def")
        for _ in range(5):
            await spikes.tell(["v1:abc"])
        in_a_minute = len(looks)
        await spikes.tell(["v1:def"])
        clock.advance(seconds=61)
        await spikes.tell()
        await spikes.tell(["v1:abc"])
        later = looks[in_a_minute:]
        await spikes.tell(is_last=True)
        await spikes.tell(is_last=True)

    assert in_a_minute == 1
    assert later == [["v1:def"], ["v1:abc"]]
    assert looks[3:] == [["v1:abc"]]


async def test_merged_incidents_escalate_together_and_are_told_as_the_one_with_the_issue(
    receiver: Receiver, tmp_path: Path, clock: Clock
) -> None:
    async with alerting(tmp_path, None, clock) as alerts:
        for name in ("v1:abc", "v1:def"):
            await found_in(alerts.ledger, [clock() - timedelta(hours=2)] * 3, name)
        await alerts.ledger.write(lambda it: incidents.merge(it, alerts.ledger, "v1:def", "v1:abc", "one fault"))
        await Spikes(alerts.ledger, alerts).tell(["v1:def", "v1:abc"])

    assert [body["incident"]["fingerprint"] for body in receiver.bodies] == ["v1:abc"]


def _begun_two_hours_later(connection: Connection) -> None:
    row = connection.execute(tables.findings.select().limit(1)).one()
    began = written(datetime.fromisoformat(row.call_began) + timedelta(hours=2))
    connection.execute(tables.findings.update().values(call_began=began))


async def found_in(ledger: Ledger, began: Sequence[datetime], fingerprint: str = "v1:abc") -> None:
    """An incident with a finding in each of some calls, which began then."""
    shared = {
        "account": ledger.account, "pipeline": "p", "detector": "agent_silence", "kind": "agent_silence",
        "created_at": ledger.now(), "updated_at": ledger.now(), "fingerprint": fingerprint,
    }  # fmt: skip
    one = {**shared, "content_hash": "", "version_hash": "", "quote": "", "verification": "exact", "state": "new"}
    rows = [
        {**one, "id": f"{fingerprint} {number}", "call_id": f"{fingerprint} {number}", "call_began": written(at)}
        for number, at in enumerate(began)
    ]

    def change(connection: Connection) -> None:
        connection.execute(tables.findings.insert(), rows)
        connection.execute(tables.incidents.insert(), {**shared, "state": "open", "calls": len(rows)})

    await ledger.write(change)


async def examined(ledger: Ledger, detector: str, *, found: int, of: int, name: str = "a") -> None:
    """A detector examined calls, and found something in some of them."""
    made = [
        Made(f"{name}-{number}", "hash", [Result(detector, "version", "found" if number < found else "not_found")])
        for number in range(of)
    ]
    await ledger.write(lambda connection: store(connection, ledger, made))


async def test_a_detector_that_was_switched_off_is_told_once(
    receiver: Receiver, the_desk: Desk, tmp_path: Path
) -> None:
    await load_lines(the_desk, *(silent_line(f"call-{number}", 1) for number in range(5)))
    spec = parse_spec(
        'name = "p"\ncalls = { settle = "0s" }\n[limits]\nseconds_per_call = "200ms"\n'
        '[[detect]]\nuse = "raising_detector:hangs"\n[alert]\nwebhook = "env:ALERT_URL"\n',
        folder=Path(__file__).parents[2],
    )
    async with on_record(httpx2.ASGITransport(the_desk, raise_app_exceptions=False), tmp_path) as client:
        report = await Pipeline(spec).run(client)

    assert report.tally.detectors["hangs"].failed == 7
    assert [(one["event"], one["incident"]["detector"]) for one in receiver.bodies] == [("detector_off", "hangs")]


async def test_a_redactor_that_was_switched_off_is_told_once_by_its_name(
    receiver: Receiver, the_desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "MOST_HANGS", 1)
    (tmp_path / "acme_masking.py").write_text("def mask(text):\n    while True:\n        pass\n")
    await load_lines(the_desk, *(silent_line(f"call-{number}", 9.5) for number in range(3)))
    file = TO_REVIEW.replace(
        "[[detect]]", 'redact = "acme_masking:mask"\n[limits]\nseconds_per_call = "200ms"\n[[detect]]'
    )
    async with on_record(httpx2.ASGITransport(the_desk, raise_app_exceptions=False), tmp_path) as client:
        await Pipeline(parse_spec(file, folder=tmp_path)).run(client)

    assert [(one["event"], one["incident"]["redactor"]) for one in receiver.bodies] == [
        ("redactor_off", "acme_masking:mask")
    ]


TO_REVIEW = 'name = "p"\n[[detect]]\nuse = "agent_silence"\nat_least = "8s"\n[alert]\nwebhook = "env:ALERT_URL"\n'


async def accepted(client: Client, call_id: str) -> JsonObject:
    """What a person accepted in a call, after a run has found it."""
    await Pipeline(parse_spec(TO_REVIEW)).run(client, call=call_id)
    async with open_parts(client) as parts:
        wanted = findings.Wanted(call_id=call_id)
        [row] = await parts.ledger.read(lambda it: findings.listed(it, parts.ledger, wanted))
        row = await reviewing.review(parts.ledger, row, reviewing.Reviewer("a person"), "right")
        return await reviewing.file_accepted(parts, row)


async def test_what_a_person_accepts_is_told_as_what_a_run_files_is(
    receiver: Receiver, the_desk: Desk, tmp_path: Path
) -> None:
    async with on_record(httpx2.ASGITransport(the_desk, raise_app_exceptions=False), tmp_path) as client:
        await load_lines(the_desk, silent_line("first", 9.5))
        issue_id = (await accepted(client, "first"))["issue_id"]
        await client.send(UpdateIssue(issue_id=issue_id, status="done"))
        await load_lines(the_desk, silent_line("later", 9.5, created_at="2026-05-08T10:00:00.000Z"))
        await accepted(client, "later")

    assert [one["event"] for one in receiver.bodies] == ["filed", "reopened"]


async def test_a_receiver_that_never_answers_does_not_hold_up_a_person(
    receiver: Receiver, the_desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("calltriage.pipelines.parts.PERSON_WAITS_S", 0.1)
    receiver.answers.clear()
    await load_lines(the_desk, silent_line("first", 9.5))
    async with on_record(httpx2.ASGITransport(the_desk, raise_app_exceptions=False), tmp_path) as client:
        with anyio.fail_after(30):
            row = await accepted(client, "first")

    assert row["state"] == "filed"


async def test_what_a_person_accepts_is_filed_where_the_address_of_alerts_is_not_known(
    the_desk: Desk,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await load_lines(the_desk, silent_line("first", 9.5))
    async with on_record(httpx2.ASGITransport(the_desk, raise_app_exceptions=False), tmp_path) as client:
        await Pipeline(parse_spec(TO_REVIEW)).run(client)
        monkeypatch.delenv("ALERT_URL")
        async with open_parts(client) as parts:
            wanted = findings.Wanted(call_id="first")
            [row] = await parts.ledger.read(lambda it: findings.listed(it, parts.ledger, wanted))
            row = await reviewing.file_accepted(
                parts, await reviewing.review(parts.ledger, row, reviewing.Reviewer("a person"), "right")
            )

    assert (row["state"], receiver.bodies) == ("filed", [])
    assert "ALERT_URL" in caplog.text


async def test_slacks_shape_is_one_text(receiver: Receiver, tmp_path: Path) -> None:
    async with opened_ledger(tmp_path) as ledger:
        alerts = alerts_of(spec_of('shape = "slack"'), ledger)
        assert alerts is not None
        await alerts.tell("filed", "filed one", INCIDENT)

        await alerts.tell("spike", "escalating one", INCIDENT)
        await alerts.tell("redactor_off", "redactor_off acme_masking:mask", {"redactor": "acme_masking:mask"})

    assert receiver.bodies[:2] == [
        {"text": f"Pipeline p {what}: T-1001 / agent_silence / agent_silence"}
        for what in ("filed a new issue", "finds an incident far more often than in the seven days before")
    ]
    assert receiver.bodies[2]["text"].startswith("Pipeline p switched its redactor off: it took too long")
    assert receiver.bodies[2]["text"].endswith(": acme_masking:mask")


async def test_an_address_that_is_missing_or_plain_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async with opened_ledger(tmp_path) as ledger:
        monkeypatch.delenv("ALERT_URL", raising=False)
        with pytest.raises(SettingsError, match="ALERT_URL"):
            alerts_of(spec_of(), ledger)
        monkeypatch.setenv("ALERT_URL", "http://alerts.example/hook")
        with pytest.raises(SettingsError, match=r"ALERT_URL, the webhook of \[alert\], must begin with https://"):
            alerts_of(spec_of(), ledger)
