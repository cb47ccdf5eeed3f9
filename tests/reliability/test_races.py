"""Many processes do the same at once: each link, and what each idempotency key stands for, comes to be once.

uv run pytest tests/reliability -m long -s      10,000 attaches over 64 connections: 10 of each link, and 500 of each
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from e2e.processes import over_stdio
from mcp.client import Client as McpClient

pytestmark = pytest.mark.slow

PATIENCE = 600

ATTACHER = """
import anyio, httpx2, json, random, sys
url, key, issue, links, count, connections, seed = sys.argv[1:]
chance = random.Random(int(seed))
async def main():
    found = []
    async with httpx2.AsyncClient(base_url=url, headers={"authorization": key}, timeout=120,
                                  limits=httpx2.Limits(max_connections=int(connections))) as http:
        places = anyio.Semaphore(int(connections))
        async def attach(number):
            async with places:
                body = {"resource_type": "call", "resource_id": f"call-{number}"}
                answer = await http.post(f"/v1/triage/issues/{issue}/resources", json=body)
                found.append([number, answer.status_code, answer.json()["data"]["id"]])
        async with anyio.create_task_group() as tasks:
            for n in range(int(count)):
                tasks.start_soon(attach, n * int(links) // int(count))  # those of one link all at once
    print(json.dumps(found))
anyio.run(main)
"""


@asynccontextmanager
async def desk(folder: Path) -> AsyncGenerator[tuple[str, str]]:
    """A desk on a port; its URL and key."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CALLTRIAGE_")}
    settings = kept | {"CALLTRIAGE_DATA_DIR": str(folder)}
    key = (
        await anyio.run_process([sys.executable, "-m", "calltriage", "desk", "keys", "show"], env=settings)
    ).stdout.decode()
    command = [sys.executable, "-m", "calltriage", "desk", "serve", "--port", "0"]
    async with await anyio.open_process(command, env=settings) as process:
        assert process.stderr is not None
        with anyio.fail_after(60):
            said = (await process.stderr.receive()).decode()
        try:
            yield said.split(" at ")[1].strip(), key.strip()
        finally:
            process.terminate()
            await process.wait()


@pytest.mark.parametrize(
    ("links", "attaches", "connections"),
    [
        pytest.param(20, 200, 8, id="few"),
        pytest.param(1000, 10_000, 64, id="many", marks=pytest.mark.long),
        pytest.param(20, 10_000, 64, id="500 of each", marks=pytest.mark.long),
    ],
)
async def test_each_link_comes_to_be_once(tmp_path: Path, links: int, attaches: int, connections: int) -> None:
    processes = 4
    file = tmp_path / "calls.jsonl"
    lines = [
        json.dumps({"call_id": f"call-{n}", "created_at": "2026-05-01T10:00:00Z", "turns": []}) for n in range(links)
    ]
    file.write_text("\n".join(lines))
    folder = tmp_path / "data"
    settings = dict(os.environ) | {"CALLTRIAGE_DATA_DIR": str(folder)}
    await anyio.run_process([sys.executable, "-m", "calltriage", "desk", "import", str(file)], env=settings)
    answers: list[tuple[int, int, str]] = []
    async with desk(folder) as (url, key), httpx2.AsyncClient(base_url=url, headers={"authorization": key}) as http:
        new = {"title": "T", "severity": "low", "category": "Bug"}
        issue = (await http.post("/v1/triage/issues", json=new)).json()["data"]["id"]

        async def attach(seed: int) -> None:
            each = [str(links), str(attaches // processes), str(connections // processes), str(seed)]
            done = await anyio.run_process([sys.executable, "-c", ATTACHER, url, key, issue, *each])
            answers.extend(tuple(one) for one in json.loads(done.stdout))

        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                for seed in range(processes):
                    tasks.start_soon(attach, seed)
        count = (await http.get(f"/v1/triage/issues/{issue}")).json()["data"]["resource_count"]
    made = Counter(number for number, status, _ in answers if status == 201)
    ids: dict[int, set[str]] = {}
    for number, _, found in answers:
        ids.setdefault(number, set()).add(found)
    print(f"{len(answers)} attaches over {connections} connections of {processes} processes: {count} links, "
          f"{sum(made.values())} answers of 201, {max(map(len, ids.values()))} id a link at most")  # fmt: skip
    assert Counter(status for _, status, _ in answers) == {201: links, 200: attaches - links}
    assert (count, set(made.values()), {len(found) for found in ids.values()}) == (links, {1}, {1})


@pytest.mark.parametrize(
    ("tool", "keys"),
    [
        ("create_issue", 4),
        *(pytest.param(tool, 100, marks=pytest.mark.long) for tool in ("create_issue", "add_comment")),
    ],
)
async def test_a_key_is_answered_once_by_several_servers_on_one_folder(tmp_path: Path, tool: str, keys: int) -> None:
    """Who comes second replays the first one's result, or is told to wait for it: nothing is sent twice."""
    answers: dict[int, list[dict[str, Any]]] = {}
    async with AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(McpClient(over_stdio(tmp_path, CALLTRIAGE_WRITES_PER_MINUTE="0")))
            for _ in range(3)
        ]
        new = {"title": "Ground", "severity": "low", "category": "Bug", "on_duplicate": "create"}
        ground = (await servers[0].call_tool("create_issue", new)).structured_content or {}

        async def call(server: McpClient, number: int) -> None:
            own = {"issue_id": ground["id"], "detail": f"Comment {number}"}
            arguments = own if tool == "add_comment" else new | {"title": f"Issue {number}"}
            result = await server.call_tool(tool, arguments | {"idempotency_key": f"k{number}"})
            answers.setdefault(number, []).append(result.structured_content or {})

        with anyio.fail_after(PATIENCE):
            for number in range(keys):
                async with anyio.create_task_group() as tasks:
                    for server in servers:
                        tasks.start_soon(call, server, number)
            for number in range(keys):  # and once more, when all is over
                await call(servers[number % 3], number)
    ids = {number: {body["id"] for body in found if "id" in body} for number, found in answers.items()}
    outcomes = Counter(body.get("error", body)["outcome"] for found in answers.values() for body in found)
    codes = Counter(body["error"]["code"] for found in answers.values() for body in found if "error" in body)
    print(f"{tool}: {keys} keys, each from 3 processes at once: {dict(outcomes)}, {dict(codes)}, "
          f"{max(map(len, ids.values()))} id a key at most")  # fmt: skip
    assert [len(found) for found in ids.values()] == [1] * keys
    assert outcomes["committed"] == keys
    assert set(codes) <= {"in_flight"}
    assert all(found[-1]["outcome"] == "replayed" for found in answers.values())
