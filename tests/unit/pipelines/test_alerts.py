"""Alerts reach a real receiver: signed, once for an event and a quiet time, with what was kept back, without words."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from conftest import Clock
from ledgers import Url, opened_ledger

from calltriage.errors import SettingsError
from calltriage.pipelines.alerts import SIGNATURE, alerts_of
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
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(data) for _, data in self.got]


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """An HTTP server on a port of its own."""
    heard = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["content-length"]))
            heard.got.append(({name.lower(): value for name, value in self.headers.items()}, data))
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
        server.shutdown()
        thread.join()


def spec_of(more: str = "") -> Spec:
    text = f'name = "p"\n[[detect]]\nuse = "agent_silence"\n[alert]\nwebhook = "env:ALERT_URL"\nquiet = "1h"\n{more}\n'
    return parse_spec(text)


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
    async with opened_ledger(tmp_path, ledger_url) as ledger:
        ledger.clock = clock
        alerts = alerts_of(spec_of(), ledger)
        assert alerts is not None
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


async def test_slacks_shape_is_one_text(receiver: Receiver, tmp_path: Path) -> None:
    async with opened_ledger(tmp_path) as ledger:
        alerts = alerts_of(spec_of('shape = "slack"'), ledger)
        assert alerts is not None
        await alerts.tell("filed", "filed one", INCIDENT)

    assert receiver.bodies == [{"text": "Pipeline p filed a new issue: T-1001 / agent_silence / agent_silence"}]


async def test_an_address_that_is_missing_or_plain_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async with opened_ledger(tmp_path) as ledger:
        monkeypatch.delenv("ALERT_URL", raising=False)
        with pytest.raises(SettingsError, match="ALERT_URL"):
            alerts_of(spec_of(), ledger)
        monkeypatch.setenv("ALERT_URL", "http://alerts.example/hook")
        with pytest.raises(SettingsError):
            alerts_of(spec_of(), ledger)
