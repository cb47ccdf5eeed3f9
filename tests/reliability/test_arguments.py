"""Arguments made up at random, of every tool: each is answered, by a result or by an error that says what to do.

uv run pytest tests/reliability/test_arguments.py -m long -s      20,000 of them; TRIAGE_TEST_SEED repeats a run
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import httpx2
import mcp_types
import pytest
from conftest import endpoints_to, no_sleep
from mcp.client import Client as McpClient
from reliability.seeds import seeded
from virtual_time import VirtualLoop

from calltriage.client.client import open_client
from calltriage.desk.app import Desk
from calltriage.journal.journal import Journal
from calltriage.offering import ALL
from calltriage.operations.issues import CreateIssue, Issue
from calltriage.operations.resource_links import AttachResource
from calltriage.server.app import build_server
from calltriage.server.files.local import FileRoots
from calltriage.server.toolsets import select

FORBIDDEN = re.compile(r"Traceback|Error executing|pydantic|internal_error|Internal error|File \"")
HOSTILE: list[Any] = [
    "", " ", "\x00", "\ud800", "\u202e", "\U000e0041", "a" * 70_000, "é" * 4_001, "../../etc/passwd", "/etc/passwd",
    "'; DROP TABLE issues; --", "$(id)", "{{7*7}}", "%s%n", "https://attacker.example/T-1001", "T-0", "T-" + "9" * 40,
    "00000000-0000-0000-0000-000000000000", "@norm fix everything", "null", "[]", "{}", "[1", "NaN", "-1", "1e999",
    0, -1, 2**31, 2**63, 2**70, 1.5, -0.0, 1e308, float("inf"), float("nan"), True, False, None, [], {}, [None],
    [[[[[[[[[[]]]]]]]]]], {"a": {"b": {"c": 1}}}, ["x"] * 500, {"__proto__": 1}, {"": ""},
]  # fmt: skip


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": VirtualLoop}


class Maker:
    """Makes arguments: most of them nearly right, so that they get far."""

    def __init__(self, chance: random.Random, issues: list[Issue]) -> None:
        self._chance = chance
        ids = [form for issue in issues for form in (issue.id, issue.triage_id)]
        self._known: dict[str, list[Any]] = {
            "issue_id": ids, "related_issue_id": ids, "attach_to": ids, "call_id": ["call-card", "call-hours"],
            "resource_id": ["call-card", "call-hours"], "message_index": [0, 3, 7, 8], "around": [0, 3],
            "quote": ["my debit card", "what are your hours"], "cursor": ["abc", "e30"], "text": ["what was found"],
            "category": ["Bug"], "limit": [1, 2, 100], "name": ["a.txt", "b.wav"], "path": ["a.txt", "b"],
        }  # fmt: skip

    def arguments(self, schema: dict[str, Any], canary: str) -> dict[str, Any]:
        properties, required = schema["properties"], schema.get("required", [])
        optional = [name for name in properties if name not in required and self._chance.random() < 0.3]
        chosen = [name for name in required if self._chance.random() < 0.97] + optional
        made = {name: self._value(name, properties[name], canary) for name in chosen}
        if self._chance.random() < 0.05:
            made[self._chance.choice(["org_id", "Title", "issueId", canary, "", "\ud800", "self"])] = canary
        return made

    def _value(self, name: str, schema: dict[str, Any], canary: str) -> Any:
        lot = self._chance.random()
        if lot < 0.12:
            return self._chance.choice(HOSTILE)
        if lot < 0.2:
            return self._chance.choice([canary, [canary], {canary: canary}, {"a": canary}, f"{canary}\x00\ud800"])
        if name in self._known:
            return self._chance.choice(self._known[name])
        return self._fitting(schema, canary)

    def _fitting(self, schema: dict[str, Any], canary: str) -> Any:
        kinds: dict[str, Callable[[], Any]] = {
            "string": lambda: self._chance.choice([canary, "word", "T-1001", "2026-05-01T10:00:00Z"]),
            "integer": lambda: self._chance.randint(-1, 120),
            "number": lambda: self._chance.uniform(-1, 120),
            "boolean": lambda: self._chance.random() < 0.5,
            "array": lambda: [
                self._fitting(schema.get("items", {}), canary) for _ in range(self._chance.randint(0, 3))
            ],
            "null": lambda: None,
            "object": lambda: {"key": self._chance.choice([canary, 1, True])},
        }
        if "enum" in schema:
            return self._chance.choice(schema["enum"])
        kind = schema.get("type", self._chance.choice([*kinds]))
        return kinds[self._chance.choice(kind) if isinstance(kind, list) else kind]()


@pytest.mark.parametrize("sets", [pytest.param(500, id="few"), pytest.param(20_000, id="many", marks=pytest.mark.long)])
async def test_whatever_arguments_a_tool_is_called_with_it_answers_and_the_next_call_does(
    the_desk: Desk, tmp_path: Path, roots: FileRoots, sets: int
) -> None:
    chance, journal, counts = seeded(), Journal(tmp_path / "journal"), Counter[str]()
    (tmp_path / "files" / "a.txt").write_text("what was found")
    transport = httpx2.ASGITransport(the_desk, raise_app_exceptions=False)
    async with open_client(endpoints_to(transport), ledger=journal) as client:
        server = build_server(
            client, version="0", tools=select([ALL]), journal=journal, files=roots, confirm="allow", sleep=no_sleep
        )
        async with McpClient(server) as agent:
            tools = (await agent.list_tools()).tools
            maker = Maker(chance, [await an_issue(client, number) for number in range(3)])
            for number in range(sets):
                if number % 500 == 499:  # some were deleted, and many made
                    maker = Maker(chance, [await an_issue(client, number + place) for place in range(3)])
                tool = chance.choice(tools)
                canary = f"canary {number} <b>"
                arguments = maker.arguments(tool.input_schema, canary)
                with anyio.fail_after(3600):  # on a clock that does not wait
                    result = await agent.call_tool(tool.name, arguments)
                counts[complaint(result, canary) or ("refused" if result.is_error else "done")] += 1
                assert not set(counts) - {"refused", "done"}, (tool.name, arguments, counts, result)
            assert not (await agent.call_tool("list_flag_types", {})).is_error
            assert (await journal.verify()).broken_at is None
    await journal.close()
    print(f"{sets} argument sets for {len(tools)} tools: {dict(counts)}, 0 crashes, 0 tracebacks, 0 values echoed")
    assert min(counts["done"], counts["refused"]) > sets / 10


async def an_issue(client: Any, number: int) -> Issue:
    issue = await client.send(CreateIssue(title=f"Ground {number}", severity="low", category="Bug"))
    await client.send(AttachResource(issue_id=issue.id, resource_type="call", resource_id="call-card"))
    return issue


def complaint(result: mcp_types.CallToolResult, canary: str) -> str | None:
    """What is wrong with an answer."""
    said = result.model_dump_json()  # fails for what no client could be sent
    if FORBIDDEN.search(said):
        return "it shows the inside"
    if not result.is_error:
        return None
    if not {"code", "message", "retryable"} <= set((result.structured_content or {}).get("error", {})):
        return "it says too little"
    return "it repeats a refused value" if canary in said else None
