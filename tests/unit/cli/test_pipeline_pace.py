"""Every command that asks a vendor keeps the pace that all processes on the ledger share."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from anyio.from_thread import start_blocking_portal
from click.testing import CliRunner
from conftest import DESK_URL, KEY, call_line, endpoints_to, load_lines
from pydantic import SecretStr
from reliability.killing import Vendor, served

from calltriage.cli.main import cli
from calltriage.client.client import open_client
from calltriage.desk.app import Desk
from calltriage.errors import SettingsError
from calltriage.operations.issues import CreateIssue
from calltriage.pipelines.ledger import Ledger, pace

FILE = 'name = "hours"\ncalls = { settle = "0s" }\n[[detect]]\nuse = "forbidden"\nphrases = ["nine thirty"]\n'
RUN = ("run", "p.toml")


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The turns that were taken at the shared pace, by API. None of them waits."""
    turns = list[str]()

    async def reserve(_: Ledger, api: str, __: float) -> float:
        turns.append(api)
        return 0.0

    monkeypatch.setattr(pace, "reserve", reserve)
    return turns


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.toml").write_text(FILE)
    label = {"call_id": "first", "detector": "forbidden", "verdict": "positive"}
    (tmp_path / "labels.jsonl").write_text(json.dumps(label))
    monkeypatch.setenv("CALLTRIAGE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("CALLTRIAGE_BLAND_API_KEY", KEY)
    return tmp_path


@asynccontextmanager
async def vendor_of(folder: Path) -> AsyncGenerator[tuple[Vendor, str]]:
    """A desk on a port with one call and one issue, as a vendor."""
    desk = Desk(folder / "vendor", SecretStr(KEY), DESK_URL)
    await load_lines(desk, call_line("first", "hello", "when do you open", "we open at nine thirty"))
    async with open_client(endpoints_to(httpx2.ASGITransport(desk, raise_app_exceptions=False))) as client:
        await client.send(CreateIssue(title="Other", severity="low", category="Dialogue"))
    vendor = Vendor(desk)
    async with served(vendor) as address:
        yield vendor, address
    await desk.close()


@pytest.mark.parametrize(
    "command",
    [
        (*RUN, "--dry-run"),
        RUN,
        ("check", "p.toml"),
        ("eval", "p.toml", "--labels", "labels.jsonl"),
        ("missed", "first", "forbidden", "when do you open"),
        ("accept", "FINDING"),
    ],
    ids=lambda command: command[0] + command[-1],
)
def test_each_request_of_a_command_takes_its_turn(
    command: tuple[str, ...], taken: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def invoke(*arguments: str) -> str:
        return CliRunner().invoke(cli, ["pipeline", *arguments]).stdout

    with start_blocking_portal() as portal, portal.wrap_async_context_manager(vendor_of(folder)) as (vendor, address):
        monkeypatch.setenv("CALLTRIAGE_BLAND_BASE_URL", address)
        if command[0] == "accept":
            invoke(*RUN)
            finding = json.loads(invoke("findings", "--json").splitlines()[0])["id"]
            command, vendor.requests = ("accept", finding), 0
            taken.clear()
        invoke(*command)
    assert vendor.requests > 0
    assert len(taken) == vendor.requests


@pytest.mark.usefixtures("taken")
def test_a_report_is_not_attached_where_files_and_issues_share_no_ids(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(vendor_of(folder)) as (_, address):
        monkeypatch.setenv("CALLTRIAGE_BLAND_BASE_URL", address)
        done = CliRunner().invoke(cli, ["pipeline", "report", "--attach-to", "T-1001"])
    assert isinstance(done.exception, SettingsError)
    assert "share no ids. Attach the page by hand (--html)." in str(done.exception)
