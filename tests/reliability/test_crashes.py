"""A writing server that is killed again and again: what it acknowledged stands, nothing stands twice, all is on record.

uv run pytest tests/reliability -m long -s      200 rounds; prints figures and the seed
TRIAGE_TEST_SEED=… uv run pytest …          the same again
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream
from pydantic import SecretStr
from reliability.seeds import seeded
from sqlalchemy import select

from calltriage.desk.app import Desk
from calltriage.desk.database.store import DATABASE
from calltriage.desk.database.tables import issues
from calltriage.journal.journal import FILE, Journal
from calltriage.storage.sqlite import sqlite_driver

pytestmark = pytest.mark.slow

PATIENCE = 60
HELLO = {
    "jsonrpc": "2.0", "id": 0, "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}},
}  # fmt: skip


def call(number: int, title: str) -> dict[str, Any]:
    new = {"title": title, "severity": "low", "category": "Bug", "on_duplicate": "create", "idempotency_key": title}
    return {
        "jsonrpc": "2.0",
        "id": number,
        "method": "tools/call",
        "params": {"name": "create_issue", "arguments": new},
    }


async def one_round(folder: Path, titles: list[str], chance: random.Random) -> dict[str, str | None]:
    """Ask a server for issues of these titles all at once and kill it at some moment; what it acknowledged, by title: the
    id, None where the server had no time left to read it back."""
    settings = {name: value for name, value in os.environ.items() if not name.startswith("CALLTRIAGE_")}
    settings |= {"CALLTRIAGE_DATA_DIR": str(folder), "CALLTRIAGE_WRITES_PER_MINUTE": "0"}
    acknowledged: dict[str, str | None] = {}
    wanted = chance.randrange(len(titles) + 1)  # answers after which it is killed
    async with await anyio.open_process([sys.executable, "-m", "calltriage"], env=settings, cwd=folder) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        answers = BufferedByteReceiveStream(process.stdout)

        async def say(message: dict[str, Any]) -> None:
            assert process.stdin is not None
            await process.stdin.send(json.dumps(message).encode() + b"\n")

        with anyio.fail_after(PATIENCE):
            await say(HELLO)
            await answers.receive_until(b"\n", 2**20)
            await say({"jsonrpc": "2.0", "method": "notifications/initialized"})
            for number, title in enumerate(titles, 1):
                await say(call(number, title))
            for _ in range(wanted):
                found = json.loads(await answers.receive_until(b"\n", 2**20))
                body = found.get("result", {}).get("structuredContent", {})
                if body.get("outcome") in {"committed", "replayed"}:
                    acknowledged[titles[found["id"] - 1]] = body.get("id")
            process.kill()
            await process.wait()
    return acknowledged


@pytest.mark.parametrize("rounds", [pytest.param(3, id="few"), pytest.param(200, id="many", marks=pytest.mark.long)])
async def test_a_killed_server_loses_nothing_and_does_nothing_twice(tmp_path: Path, rounds: int) -> None:
    chance, folder = seeded(), tmp_path / "data"
    folder.mkdir()
    acknowledged: dict[str, str | None] = {}
    open_titles: list[str] = []
    asked = 0
    for _ in range(rounds):
        fresh = [f"Issue {asked + n}" for n in range(12)]
        asked += len(fresh)
        titles = open_titles + fresh  # what was not answered is asked for again, with its key
        done = await one_round(folder, titles, chance)
        for title, found in done.items():
            assert acknowledged.setdefault(title, found) == found
        open_titles = [title for title in titles if title not in acknowledged][:24]
    desk, journal = Desk(folder, SecretStr("0" * 32), "http://desk.invalid"), Journal(folder)
    stored = await desk.store.read(lambda connection: connection.execute(select(issues.c.title, issues.c.id)).all())
    rows, found = await journal.every(), await journal.verify()
    await desk.close()
    await journal.close()
    driver: Any = sqlite_driver()
    for file in (DATABASE, FILE):
        with closing(driver.connect(folder / file)) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    by_title = Counter(row.title for row in stored)
    on_record = {json.loads(row.arguments or "{}").get("title") for row in rows if row.operation == "create_issue"}
    lost = [
        title
        for title, issue in acknowledged.items()
        if title not in by_title
        or (issue is not None and (title, issue) not in {(row.title, row.id) for row in stored})
    ]
    twice = [title for title, count in by_title.items() if count > 1]
    unrecorded = [title for title in by_title if title not in on_record]
    print(f"{rounds} rounds: {len(acknowledged)} acknowledged, {len(stored)} stored, {len(lost)} lost, {len(twice)} twice, "
          f"{len(unrecorded)} without a row; journal of {found.rows} rows, broken at {found.broken_at}")  # fmt: skip
    assert (lost, twice, unrecorded, found.broken_at) == ([], [], [], None)
    assert acknowledged
