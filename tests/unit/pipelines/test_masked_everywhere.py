"""A run of a file with `redact`, from the call to the issue: no masked word gets anywhere but into the flag's text."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
from conftest import load_lines
from pipeline_runs import on_record

from calltriage.client.client import Client
from calltriage.desk.app import Desk
from calltriage.operations.flags import ListFlags
from calltriage.operations.issues import ListIssues
from calltriage.pipelines import reviewing
from calltriage.pipelines.chat.kept import FOLDER
from calltriage.pipelines.ledger import Ledger, findings, tables
from calltriage.pipelines.parts import open_parts
from calltriage.pipelines.pipeline import Pipeline
from calltriage.pipelines.reports.figures import gathered
from calltriage.pipelines.reports.markdown import as_markdown
from calltriage.pipelines.reports.page import as_page
from calltriage.pipelines.reviewing import Reviewer
from calltriage.pipelines.spec import parse_spec

SPOKEN = "four one five, um, five five five dash oh one three two"
SECRETS = ("5550132", "555-0132", "555\u20130132", "five five", "1111 1111", "Zebulon")
SAID = (
    "hello this is the branch",
    "i am Zebulon, call 415\u2013555\u20130132",
    f"we guarantee you a call back on {SPOKEN} by noon, Zebulon",
    "my card is 4111 1111 1111 1111",
)
FILE = """
name = "p"
redact = "builtin"
[[detect]]
use = "forbidden"
phrases = ["guarantee you a call back on {spoken}", "my card is 4111 1111 1111 1111"]
speaker = "any"
group_by = ["from", "caller_name"]
severity = "high"
[[detect]]
use = "chat"
name = "promise"
endpoint = "local"
prompt = "promise.md"
group_by = ["from"]
[endpoint.local]
base_url = "{url}/v1"
model = "small"
record = "tape.jsonl"
[alert]
webhook = "env:ALERT_URL"
[issues]
file_after = {{ calls = 1, within = "24h" }}
"""
ANSWER = {"turn": 2, "quote": "a call back on [phone] by noon, [known]", "note": "Nobody calls."}


@dataclass
class Outside:
    """A model's endpoint and a receiver of alerts, with all that they got."""

    url: str = ""
    got: dict[str, list[str]] = field(default_factory=dict[str, list[str]])


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> Iterator[Outside]:
    heard = Outside()
    judged = {"promise": {"verdict": "found", "findings": [ANSWER]}}
    answer = json.dumps({"choices": [{"message": {"role": "assistant", "content": json.dumps(judged)}}]}).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["content-length"]))
            heard.got.setdefault(self.path, []).append(data.decode())
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        heard.url = f"http://127.0.0.1:{server.server_address[1]}"
        monkeypatch.setenv("ALERT_URL", f"{heard.url}/hook")
        yield heard
        server.shutdown()
        thread.join()


@pytest.fixture
async def client(the_desk: Desk, tmp_path: Path) -> AsyncGenerator[Client]:
    turns = [{"speaker": ("agent", "caller")[number % 2], "text": text} for number, text in enumerate(SAID)]
    about = {"from": "+14155550132", "caller_name": "Zebulon"}
    line = {"call_id": "call-1", "created_at": "2026-05-06T10:00:00Z", "metadata": about, "turns": turns}
    await load_lines(the_desk, json.dumps(line))
    async with on_record(httpx2.ASGITransport(the_desk, raise_app_exceptions=False), tmp_path) as opened:
        yield opened


async def rows_of(ledger: Ledger) -> dict[str, str]:
    """All rows of each table of the ledger, as text, without the file, which names the phrases itself."""

    def read(connection: Any) -> dict[str, str]:
        found = {
            table.name: connection.execute(table.select()).mappings().all() for table in tables.metadata.sorted_tables
        }
        shown = {name: [{**row, "spec": None} for row in rows] for name, rows in found.items()}
        return {name: json.dumps(rows, default=str, ensure_ascii=False) for name, rows in shown.items()}

    return await ledger.read(read)


async def test_no_masked_word_leaves_the_desk_but_in_a_flags_text(
    client: Client, outside: Outside, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    (tmp_path / "promise.md").write_text("Does the agent promise something?")
    spec = parse_spec(FILE.format(spoken=SPOKEN, url=outside.url), folder=tmp_path)
    await Pipeline(spec).run(client, call="call-1")
    async with open_parts(client) as parts:
        wanted = findings.Wanted()
        found = await parts.ledger.read(lambda it: findings.listed(it, parts.ledger, wanted))
        before = await parts.ledger.read(lambda it: gathered(it, parts.ledger, "2026-01-01T00:00:00.000000Z"))
        for row in found:
            said = await reviewing.review(
                parts.ledger, row, Reviewer("a person"), "right", "Zebulon, 415-555-0132", client=client
            )
            await reviewing.file_accepted(parts, said)
        rows = await rows_of(parts.ledger)
        after = await parts.ledger.read(lambda it: gathered(it, parts.ledger, "2026-01-01T00:00:00.000000Z"))
    issues = (await client.send(ListIssues(limit=100))).items
    flags = [one for issue in issues for one in (await client.send(ListFlags(issue_id=issue.id))).items]
    places = {
        **rows,
        **{f"the report {n}": as_markdown(one) for n, one in enumerate((before, after))},
        **{f"the page {n}": as_page(one) for n, one in enumerate((before, after))},
        "the cassette": (tmp_path / "tape.jsonl").read_text(),
        "answers": "\n".join(path.read_text() for path in (tmp_path / "data" / FOLDER).rglob("*.json")),
        "the endpoint": "\n".join(outside.got["/v1/chat/completions"]),
        "alerts": "\n".join(outside.got["/hook"]),
        "issues": json.dumps([one.model_dump(mode="json") for one in issues], ensure_ascii=False),
        "notes": "\n".join(flag.note for flag in flags),
        "the log": "\n".join(f"{one.getMessage()} {vars(one)}" for one in caplog.records if one.name != "asyncio"),
    }

    assert {(where, word) for where, text in places.items() for word in SECRETS if word in text} == set()
    assert all(places.values()), "each place was written to"
    assert len(found) == len(flags) == 3
    assert all("[" in row["quote"] for row in found)
    assert "[known]" in places["issues"]
    assert "[phone]" in places["the cassette"]
    assert {flag.message_text for flag in flags} == {
        f"guarantee you a call back on {SPOKEN}",
        "my card is 4111 1111 1111 1111",
        f"a call back on {SPOKEN} by noon, Zebulon",
    }
