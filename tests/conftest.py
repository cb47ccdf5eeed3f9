"""Three altitudes to test from: `desk` (raw HTTP), `client` (operations), `agent` (an MCP client). Use the highest that can
see the property."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, cast

import anyio
import httpx2
import pytest
import sqlalchemy as sql
from jsonschema import Draft202012Validator
from mcp.client import Client as McpClient
from postgres import PostgresServer
from pydantic import SecretStr

from calltriage.client.client import Client, open_client
from calltriage.client.credentials import ApiKey, ClientCredentials, Endpoint
from calltriage.client.retries import RetryPolicy
from calltriage.desk.app import Desk
from calltriage.desk.database import tables
from calltriage.desk.http.access import CLIENT_ID, SCOPES
from calltriage.desk.importing.checking import Checked, checked
from calltriage.desk.importing.entries import Entry
from calltriage.desk.importing.loading import load_import
from calltriage.desk.importing.sources import Source
from calltriage.offering import ALL
from calltriage.operations.base import Api
from calltriage.server.app import build_server
from calltriage.server.files.local import FileRoots
from calltriage.server.toolsets import select

pytest.register_assert_rewrite(
    "contract.attachments", "e2e.processes", "evidence", "mcp_over_http", "storing", "tool_calls"
)

KEY = "desk-key-for-tests-0123456789"
DESK_URL = "http://desk.test"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def each_schema_is_checked_once() -> Iterator[None]:
    """An MCP client checks the output schema of each tool that it calls, which takes longer than the call does. What has
    passed here once is not checked again for the next client."""
    check, passed = Draft202012Validator.check_schema, set[str]()

    def check_new(schema: Any, *more: Any) -> None:
        text = json.dumps(schema)
        if text not in passed:
            check(schema, *more)
            passed.add(text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Draft202012Validator, "check_schema", staticmethod(check_new))
        yield


class Clock:
    """The desk's time, moved by hand."""

    def __init__(self) -> None:
        self.now = datetime(2026, 5, 6, 21, 9, 57, 81_000, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now

    def advance(self, **by: float) -> None:
        self.now += timedelta(**by)


def call_line(call_id: str, *texts: str, **more: Any) -> str:
    """A line of an import file: texts said in turn by agent and caller."""
    turns = [{"speaker": ("agent", "caller")[n % 2], "text": text} for n, text in enumerate(texts)]
    return json.dumps({"call_id": call_id, "created_at": "2026-05-01T10:00:00.000Z", "turns": turns, **more})


CALLS = [
    call_line(
        "call-card",
        "hello this is harper valley national bank",
        "hi my name is patricia brown",
        "how can i help you today",
        "i lost my debit card can you send me a new one",
        "which card would you like to replace",
        "my debit card",
        "your card is on the way",
        "thank you that's all",
        summary="Caller lost a debit card and asked for a new one.",
    ),
    call_line(
        "call-hours", "hello", "what are your hours", "nine thirty to five", summary="Caller asked for branch hours."
    ),
]


@dataclass(frozen=True)
class Report:
    """What became of the lines of an import file."""

    added: int
    changed: int
    unchanged: int
    skipped: tuple[str, ...] = ()


def source_of(*lines: bytes | str, folder: Path | None = None) -> Source:
    """An import file of these lines."""
    data = b"\n".join(line.encode() if isinstance(line, str) else line for line in lines)
    return Source("", lambda: cast("BinaryIO", BytesIO(data)), folder)


@contextmanager
def checked_lines(
    lines: Iterable[bytes | str], *, skip_bad: bool = False, folder: Path | None = None, **how: Any
) -> Generator[Checked]:
    with checked([source_of(*lines, folder=folder)], **how) as found:
        if not skip_bad:
            found.refuse_bad()
        yield found


def read_lines(lines: Iterable[bytes | str], *, skip_bad: bool, **how: Any) -> tuple[list[Entry], tuple[str, ...]]:
    """What the lines of an import file bring, and a sentence for each line skipped."""
    with checked_lines(lines, skip_bad=skip_bad, **how) as found:
        return list(found.entries), tuple(found.complaints)


async def load_lines(desk: Desk, *lines: bytes | str, skip_bad: bool = False, folder: Path | None = None) -> Report:
    """Load the lines of an import file."""
    with checked_lines(lines, skip_bad=skip_bad, folder=folder, limit=desk.limit) as found:
        done = await load_import(desk, found.entries)
        return Report(done.added, done.changed, done.unchanged, tuple(found.complaints))


async def enrol(desk: Desk, *user_ids: str) -> None:
    """Make members of the desk's own organisation, with ids that the test chooses."""
    for user_id in user_ids:
        await desk.tenants.admit(user_id)


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """In a shell's background and under nohup signals are ignored, and every child would begin by ignoring them."""
    defaults: dict[signal.Signals, Any] = {signal.SIGINT: signal.default_int_handler}
    if sys.platform != "win32":
        defaults[signal.SIGHUP] = signal.SIG_DFL
    ignored = [number for number in defaults if signal.getsignal(number) == signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, defaults[number])
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture
def clock() -> Clock:
    return Clock()


ON_BOTH_STORES = (
    "contract/test_triage_desk.py",
    "contract/test_large_integers.py",
    "contract/test_attachments_desk.py",
    "contract/test_attachments_reading.py",
    "contract/test_bad_input.py",
    "contract/test_evidence_desk.py",
    "contract/test_fuzz.py",
    "contract/test_openapi.py",
    "reliability/test_faults.py",
    "unit/desk/",
    "unit/storage/test_database.py",
)
"""Tests of what the desk answers and of what it does with a write that a fault meets, which are the same on both stores; the
rest of the suite needs one of them."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the desk's own tests on SQLite and on PostgreSQL."""
    where = metafunc.definition.path.relative_to(Path(__file__).parent).as_posix()
    if "database_url" in metafunc.fixturenames and where.startswith(ON_BOTH_STORES):
        metafunc.parametrize("database_url", ["sqlite", "postgres"], indirect=True)


def pytest_collection_finish() -> None:
    """What was collected stays to the end: the collector of garbage need not look through it again and again."""
    gc.collect()
    gc.freeze()


NOT_INSTALLED = (
    "the contracts are not here",
    "no sample calls here",
    "the sample of recorded calls is not here",
    "PyPI is out of reach",
)
"""Why a test may be skipped in CI, too: it reads what stands beside the project, which nothing installs, or compares with
what is installed while it runs."""


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """CI installs what the tests need: there a test that was skipped is a failure."""
    skipped = [
        report
        for report in terminalreporter.stats.get("skipped", [])
        if not any(reason in str(report.longrepr) for reason in NOT_INSTALLED)
    ]
    if skipped and os.environ.get("CI"):
        terminalreporter.write_line(f"{len(skipped)} tests were skipped, which CI does not allow.", red=True)
        terminalreporter._session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server in a temporary folder, started when the first test asks for it."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> Iterator[SecretStr | None]:
    """None for the desk's own file, or the URL of a PostgreSQL database with a desk's tables: in them is what the desk
    begins with where a test asks for `the_desk`, and nothing where it does not."""
    with database_for(request) as url:
        yield url


@contextmanager
def database_for(request: pytest.FixtureRequest) -> Generator[SecretStr | None]:
    """What `database_url` is, for as long as this is entered. A module whose tests share a desk has its own fixture."""
    if getattr(request, "param", "sqlite") == "sqlite":
        yield None
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    filled = "the_desk" in request.fixturenames
    with server.desk("two calls", make_two_calls) if filled else server.emptied_desk() as url:
        yield SecretStr(url)


async def make_two_calls(folder: Path, database_url: SecretStr | None = None) -> None:
    """Put the two calls on a desk in an empty folder or an empty database."""
    desk = Desk(folder, SecretStr(KEY), DESK_URL, clock=Clock(), database_url=database_url)
    await load_lines(desk, *CALLS)
    await desk.close()


@pytest.fixture(scope="session")
def folder_of_two_calls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a desk with the two calls. A test works on a copy, which is much sooner there than a new one."""
    folder = tmp_path_factory.mktemp("two-calls") / "desk"
    anyio.run(make_two_calls, folder)
    return folder


@pytest.fixture
async def the_desk(
    tmp_path: Path, clock: Clock, database_url: SecretStr | None, folder_of_two_calls: Path
) -> AsyncIterator[Desk]:
    """A desk with two calls, `call-card` and `call-hours`, and nothing else."""
    if database_url is None:
        shutil.copytree(folder_of_two_calls, tmp_path / "desk")
    desk = Desk(tmp_path / "desk", SecretStr(KEY), DESK_URL, clock=clock, database_url=database_url)
    await desk.store.open()
    yield desk
    await desk.close()


async def add_conversation(desk: Desk, conversation_id: str, *texts: str, **more: Any) -> None:
    """Put an SMS conversation on the desk: texts written in turn by the user and the agent."""
    messages = [
        {"id": n, "message": text, "sender": ("USER", "AGENT")[n % 2], "created_at": f"2026-05-01T10:0{n % 10}:00.000Z"}
        for n, text in enumerate(texts)
    ]
    at = "2026-05-01T10:00:00.000Z"
    record = {
        "id": conversation_id, "created_at": at, "updated_at": at, "user_number": "+15550001111",
        "agent_number": "+15552223333", "is_active": False, "message_count": len(texts),
        "last_message": texts[-1] if texts else None, "messages": messages, **more,
    }  # fmt: skip

    def insert_one(connection: sql.Connection) -> None:
        org = connection.execute(
            sql.select(tables.settings.c.value).where(tables.settings.c.name == "org_id")
        ).scalar_one()
        row = {"org_id": org, "id": conversation_id, "summary": "", "created_at": at, "record": record, "digest": ""}
        connection.execute(sql.insert(tables.conversations).values(**row))

    await desk.store.write(insert_one)


@pytest.fixture
async def desk(the_desk: Desk) -> AsyncIterator[httpx2.AsyncClient]:
    """Raw HTTP to the desk, with its API key."""
    transport = httpx2.ASGITransport(the_desk, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url=DESK_URL, headers={"authorization": KEY}) as http:
        yield http


async def no_sleep(_: float) -> None:
    """Retries in tests do not wait."""


def endpoints_to(
    transport: httpx2.AsyncBaseTransport, base_url: str = DESK_URL, *, one_clock: bool = False
) -> dict[Api, Endpoint]:
    """Both APIs at one transport, with the desk's credentials and retries that do not wait."""
    secret, retry = SecretStr(KEY), RetryPolicy(sleep=no_sleep)
    is_desk = not isinstance(transport, httpx2.MockTransport)  # that one answers as a vendor
    oauth = ClientCredentials(f"{base_url}/oauth/token", CLIENT_ID, secret, SCOPES)
    return {
        Api.TRIAGE: Endpoint(
            base_url, ApiKey(secret), transport, retry=retry, one_clock=one_clock, searches_calls=is_desk
        ),
        Api.ATTACHMENTS: Endpoint(base_url, oauth, transport, retry=retry),
    }


@pytest.fixture
async def client(the_desk: Desk) -> AsyncGenerator[Client]:
    """Operations, sent to the desk in process."""
    async with open_client(endpoints_to(httpx2.ASGITransport(the_desk, raise_app_exceptions=False))) as opened:
        yield opened


@pytest.fixture
def roots(tmp_path: Path) -> FileRoots:
    """`tmp_path / "files"` is the one allowed root."""
    root = tmp_path / "files"
    root.mkdir()
    return FileRoots((root,))


@pytest.fixture
async def agent(client: Client, roots: FileRoots) -> AsyncGenerator[McpClient]:
    """An MCP client with the default tools, connected to the server in memory."""
    async with McpClient(build_server(client, version="0.0.0", files=roots)) as connected:
        yield connected


@pytest.fixture
async def full_agent(client: Client, roots: FileRoots) -> AsyncGenerator[McpClient]:
    """An MCP client with every tool there is, for which nobody is asked."""
    server = build_server(client, version="0.0.0", files=roots, tools=select([ALL]), confirm="allow")
    async with McpClient(server) as connected:
        yield connected
