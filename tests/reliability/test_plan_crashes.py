"""A server that is killed while it applies a plan, and asked to go on: each write of the plan is made, and none twice.

uv run pytest tests/reliability/test_plan_crashes.py -m long -s      60 plans; prints figures and the seed
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream
from conftest import CALLS, load_lines
from e2e.processes import environment
from pydantic import SecretStr
from reliability.seeds import seeded
from sqlalchemy import select
from sqlalchemy.sql import Select

from calltriage.desk.app import Desk
from calltriage.desk.database import tables
from calltriage.journal.journal import Journal

pytestmark = pytest.mark.slow

PATIENCE = 600
"""Seconds for one plan; a busy machine takes long to start a process."""
HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}}
MOST_CALLS = 30


def writes(number: int) -> list[dict[str, Any]]:
    """A case of one issue, with each kind of write."""
    on = {"issue_id": "$1"}
    asked = [
        ("create_issue", {"title": f"Plan {number}", "severity": "low", "category": "Bug", "on_duplicate": "create"}),
        ("attach_resource", {**on, "resource_type": "call", "resource_id": "call-card"}),
        ("add_flag", {**on, "call_id": "call-card", "type": f"kind_{number}", "message_index": 1}),
        ("add_comment", {**on, "detail": f"Comment {number}"}),
        ("update_issue", {**on, "status": "in_progress"}),
        ("update_flag", {**on, "flag_id": "$3", "note": "right"}),
        ("link_issue", {**on, "related_issue_id": "T-1001", "relation_type": "blocks"}),
        ("add_comment", {**on, "detail": f"Second {number}"}),
        ("update_issue", {"issue_id": "T-1001", "title": f"First, seen {number}"}),
    ]
    return [{"tool": tool, "arguments": arguments} for tool, arguments in asked]


class Server:
    """A real server process on a folder, spoken to line by line."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._number = folder, 0

    async def __aenter__(self) -> Server:
        env = environment(
            CALLTRIAGE_DATA_DIR=str(self._folder), CALLTRIAGE_TOOLSETS="core,batch", CALLTRIAGE_WRITES_PER_MINUTE="0"
        )
        self._process = await anyio.open_process([sys.executable, "-m", "calltriage"], env=env, cwd=self._folder)
        assert self._process.stdout is not None
        self._answers = BufferedByteReceiveStream(self._process.stdout)
        await self._ask("initialize", HELLO)
        await self._say({"method": "notifications/initialized"})
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._process.aclose()

    async def call(self, tool: str, kill_after: int | None = None, **arguments: Any) -> dict[str, Any] | None:
        """What a tool answers; None where the process was killed after so many words of progress."""
        params = {"name": tool, "arguments": arguments, "_meta": {"progressToken": "p"}}
        answer = await self._ask("tools/call", params, kill_after)
        return None if answer is None else answer["structuredContent"]

    async def _say(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        await self._process.stdin.send(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    async def _ask(self, method: str, params: dict[str, Any], kill_after: int | None = None) -> dict[str, Any] | None:
        self._number += 1
        await self._say({"id": self._number, "method": method, "params": params})
        heard = 0
        while heard != kill_after:
            found = json.loads(await self._answers.receive_until(b"\n", 2**20))
            if found.get("id") == self._number:
                return found["result"]
            heard += found.get("method") == "notifications/progress"
        self._process.kill()
        await self._process.wait()
        return None


async def killed_and_again(folder: Path, plan: dict[str, Any], chance: random.Random) -> int:
    """Apply a plan with a server that is killed up to three times meanwhile; how often it was."""
    kills = 0
    for _ in range(MOST_CALLS):
        kill_after = chance.randrange(plan["ready"]) if kills < 3 else None
        async with Server(folder) as server:
            body = await server.call("apply_plan", kill_after, plan_id=plan["plan_id"], seal=plan["seal"])
        if body is None:
            kills += 1
        elif body.get("state") == "applied":
            return kills
        else:
            assert body.get("state") == "more" or body.get("outcome") == "unknown", body
    raise AssertionError("it never ended")


@pytest.mark.parametrize("plans", [pytest.param(2, id="few"), pytest.param(60, id="many", marks=pytest.mark.long)])
async def test_a_plan_whose_server_is_killed_makes_each_write_once(tmp_path: Path, plans: int) -> None:
    chance, folder, kills = seeded(), tmp_path / "data", 0
    folder.mkdir()
    desk = Desk(folder, SecretStr("0" * 32), "http://desk.invalid")
    await load_lines(desk, *CALLS)
    with anyio.fail_after(PATIENCE * plans):
        async with Server(folder) as server:
            first = {"title": "First", "severity": "low", "category": "Bug"}
            assert (await server.call("create_issue", None, **first) or {})["triage_id"] == "T-1001"
        for number in range(plans):
            async with Server(folder) as server:
                plan = await server.call("plan_triage", writes=writes(number))
            assert plan is not None
            assert plan["problems"] == []
            kills += await killed_and_again(folder, plan, chance)

    async def values(query: Select[Any]) -> list[Any]:
        return list(await desk.store.read(lambda connection: connection.execute(query).scalars().all()))

    entries = tables.activity.c
    titles = Counter(await values(select(tables.issues.c.title)))
    comments = Counter(await values(select(entries.detail).where(entries.type == "comment")))
    flags = Counter(await values(select(tables.flags.c.type)))
    links, relations = await values(select(tables.links.c.id)), await values(select(tables.relations.c.id))
    statuses = await values(select(entries.to_status).where(entries.to_status == "in_progress"))
    found = await (journal := Journal(folder)).verify()
    await journal.close()
    await desk.close()
    print(
        f"{plans} plans of {len(writes(0))} writes, {kills} kills: {sum(comments.values())} comments, {len(links)} links"
    )
    each = range(plans)
    assert titles == Counter([f"Plan {n}" for n in each] + [f"First, seen {plans - 1}"])
    assert comments == Counter([f"{word} {n}" for word in ("Comment", "Second") for n in each])
    assert flags == Counter(f"kind_{n}" for n in each)
    assert (len(links), len(relations), len(statuses)) == (plans, plans, plans)
    assert (found.broken_at, kills >= plans) == (None, True)
