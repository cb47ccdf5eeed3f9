"""The triage vendor's own clients against a desk on a port: its command line from npm, and its package from PyPI."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest
from conftest import CALLS
from e2e.processes import environment, run, started
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters
from npm import NODE, install

pytestmark = pytest.mark.slow

BLAND_CLI = "bland-cli@0.6.1"
BLAND = "bland==0.3.0"
PATIENCE = 120
WHOLE = {
    "call_id": "c-whole", "created_at": "2026-05-02T10:00:00.000+00:00", "to": "+15550001111", "from": "+15552223333",
    "batch_id": "b-1", "call_length": 1.5, "corrected_duration": "90", "completed": True, "inbound": False,
    "queue_status": "complete_error", "error_message": "The webhook failed.", "answered_by": "human",
    "endpoint_url": "api.bland.ai", "max_duration": 30, "variables": {"city": "Oslo"}, "request_data": {"language": "ENG"},
    "recording_url": "https://recordings.example/1.mp3", "summary": "Asked for hours.",
    "transcripts": [
        {"id": 1, "c_id": "c-whole", "created_at": "2026-05-02T10:00:01.000+00:00", "user": "user", "text": "Are you open?"},
        {"id": 2, "c_id": "c-whole", "created_at": "2026-05-02T10:00:02.000+00:00", "user": "assistant", "text": "At ten."},
    ],
}  # fmt: skip
"""A call with every field that the vendor's package needs."""


@dataclass(frozen=True)
class Served:
    """A desk on a port with three calls, and its key."""

    address: str
    key: str
    folder: Path

    def settings(self) -> dict[str, str]:
        own = {"BLAND_API_KEY": self.key, "BLAND_BASE_URL": self.address, "HOME": str(self.folder), "NO_COLOR": "1"}
        return environment(**own)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    for lines in ("\n".join(CALLS), json.dumps(WHOLE)):
        status, _, complaints = await run(tmp_path, "desk", "import", "-", stdin=lines)
        assert status == 0, complaints
    async with started(tmp_path, "desk", "serve", "--port", "0") as address:
        _, key, _ = await run(tmp_path, "desk", "keys", "show")
        yield Served(address, key.strip(), tmp_path)


@pytest.fixture(scope="module")
def command_line(tmp_path_factory: pytest.TempPathFactory) -> Path:
    modules = install(tmp_path_factory.mktemp("bland-cli"), BLAND_CLI)
    return modules / "bland-cli" / "dist" / "index.js"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the vendor's package and what it needs."""
    return install_from_pypi(tmp_path_factory.mktemp("bland"), BLAND)


def install_from_pypi(folder: Path, *packages: str) -> Path:
    """Install packages into a folder; skips the test where the registry is out of reach."""
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not on the path; `uv run --group dev pytest` brings it")
    command = [uv, "pip", "install", "--quiet", "--python", sys.executable, "--target", str(folder), *packages]
    installed = anyio.run(lambda: anyio.run_process(command, check=False))
    complaints = installed.stderr.decode()
    if installed.returncode != 0 and ("Failed to fetch" in complaints or "dns error" in complaints):
        pytest.skip(f"PyPI is out of reach, and {', '.join(packages)} comes from there")
    assert installed.returncode == 0, complaints
    return folder


async def said(served: Served, command: list[str]) -> tuple[int, str]:
    with anyio.fail_after(PATIENCE):
        done = await anyio.run_process(command, check=False, cwd=served.folder, env=served.settings())
    return done.returncode, done.stdout.decode() + done.stderr.decode()


async def test_the_ten_triage_tools_of_the_command_line_work_on_the_desk(served: Served, command_line: Path) -> None:
    server = StdioServerParameters(
        command=str(NODE), args=[str(command_line), "mcp"], env=served.settings(), cwd=served.folder
    )
    async with Client(server) as client:

        async def ask(tool: str, **arguments: Any) -> Any:
            with anyio.fail_after(PATIENCE):
                result = await client.call_tool(f"bland_{tool}", arguments)
            text: str = getattr(result.content[0], "text", "")
            assert not result.is_error, (tool, text)
            return json.loads(text)

        evidence = json.dumps([{"resource_type": "call", "resource_id": "call-card"}])
        new = {
            "title": "Card",
            "severity": "high",
            "category": "Routing",
            "agent_id": "a-1",
            "resource_links": evidence,
        }
        issue = await ask("triage_create", **new)
        of_it = {"issue_id": issue["id"]}
        assert issue["resource_count"] == 1
        wanted = {
            "status": "todo,done",
            "severity": "high,low",
            "category": "Bug,Routing",
            "search": "card",
            "limit": 5,
        }
        assert [item["id"] for item in (await ask("triage_list", **wanted))["items"]] == [issue["id"]]
        assert (await ask("triage_list", status="done,closed"))["items"] == []
        assert (await ask("triage_get", **of_it))["triage_id"] == "T-1001"
        assert (await ask("triage_update", **of_it, status="in_progress"))["status"] == "in_progress"
        link = await ask("triage_attach_resource", **of_it, resource_type="call", resource_id="c-whole")
        comment = await ask("triage_comment", **of_it, detail="Seen.", resource_link_ids=json.dumps([link["id"]]))
        assert [one["id"] for one in comment["resources"]] == [link["id"]]
        await ask("triage_detach_resource", **of_it, resource_link_id=link["id"])
        session = await ask("triage_agent_session_create", **of_it)
        prompt = {"session_id": session["id"], "detail": "status now"}
        assert (await ask("triage_agent_prompt", **of_it, **prompt))["intent"] == "status"
        await ask("triage_delete", **of_it)
        assert (await ask("triage_list"))["items"] == []

        assert {row["call_id"] for row in (await ask("call_list", limit="1000"))["calls"]} == {
            "call-card", "call-hours", "c-whole",
        }  # fmt: skip
        assert (await ask("call_get", call_id="c-whole"))["to"] == "+15550001111"
        assert await ask("call_active") == []
        for tool, arguments in (("call_stop", {"call_id": "c-whole"}), ("call_send", {"phone_number": "+15550001111"})):
            refused = await client.call_tool(f"bland_{tool}", arguments)
            assert refused.is_error
            assert "it makes no calls" in getattr(refused.content[0], "text", "")


COMMANDS = {
    "auth whoami": "Total Calls  3",
    "call list": "Showing 3 of 3 calls",
    "call list --status active": "Showing 0 of 0 calls",
    "call list --limit 1000 --from 2026-05-02 --batch b-1 --json": '"total_count": 1',
    "call get call-card": "i lost my debit card",
    "call get c-whole --json": '"answered_by": "human"',
    "call get nobody": "CALL_NOT_FOUND",
    "call events c-whole": "No events recorded yet",
    "call recording c-whole": "https://recordings.example/1.mp3",
    "call recording call-card": "No recording available",
    "call send +15550001111 --task x": "it makes no calls",
    "call analyze c-whole": "not_implemented",
    "triage list --status todo,done": "No issues found",
    "sms list": "[]",
    "voice list": "not_implemented",
}
"""Commands, and words of what they print."""


async def test_the_commands_of_the_command_line_are_answered(served: Served, command_line: Path) -> None:
    for command, wanted in COMMANDS.items():
        _, text = await said(served, [str(NODE), str(command_line), *command.split()])
        assert wanted in text, command


PACKAGE_SCRIPT = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
from bland.client import BlandAI
client = BlandAI(api_key=os.environ["BLAND_API_KEY"], base_url=os.environ["BLAND_BASE_URL"])

def refused(ask):
    try:
        ask()
    except Exception as error:
        if hasattr(error, "status_code"):
            return [error.status_code, error.body["errors"][0]["error"]]
        return sorted({item["loc"][-1] for item in error.errors()})

listed = client.calls.list(from_number="+15552223333", limit=1000, ascending=True)
detail = client.calls.details(call_id="c-whole")
print(json.dumps({
    "listed": [row.call_id for row in listed.calls],
    "detail": [detail.answered_by, detail.batch_id, [turn.text for turn in detail.transcripts], detail.variables],
    "recording": client.calls.recording(call_id="c-whole").url,
    "no recording": refused(lambda: client.calls.recording(call_id="call-card")),
    "nobody": refused(lambda: client.calls.details(call_id="nobody")),
    "stop": refused(lambda: client.calls.stop(call_id="c-whole")),
    "voices": refused(lambda: client.voices.list()),
    "nulls": refused(lambda: client.calls.list()),
}))
"""


async def test_the_package_of_the_vendor_reads_calls_from_the_desk(served: Served, package: Path) -> None:
    """It refuses a whole list for one null, and the vendor documents nulls: what it cannot read are those alone."""
    status, text = await said(served, [sys.executable, "-W", "ignore", "-c", PACKAGE_SCRIPT, str(package)])
    assert status == 0, text
    found = json.loads(text)
    assert found["listed"] == ["c-whole"]
    assert found["detail"] == ["human", "b-1", ["Are you open?", "At ten."], {"city": "Oslo"}]
    assert found["recording"] == "https://recordings.example/1.mp3"
    assert found["no recording"] == [404, "CALL_RECORDING_NOT_FOUND"]
    assert found["nobody"] == [404, "CALL_NOT_FOUND"]
    assert found["stop"] == found["voices"] == [501, "not_implemented"]
    assert found["nulls"] == ["answered_by", "call_length", "from", "to"]
