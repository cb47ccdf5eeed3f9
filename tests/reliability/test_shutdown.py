"""A server that is told to end while it writes: it ends soon and cleanly, and what it began is done and on record.

uv run pytest tests/reliability/test_shutdown.py -m long -s      20 times each way, with figures
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream
from pydantic import SecretStr
from sqlalchemy import select

from calltriage.desk.app import Desk
from calltriage.desk.database.tables import issues
from calltriage.journal.journal import Journal

pytestmark = pytest.mark.slow

HELLO = {
    "jsonrpc": "2.0", "id": 0, "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}},
}  # fmt: skip


@pytest.mark.parametrize("times", [1, pytest.param(20, marks=pytest.mark.long)])
@pytest.mark.parametrize("way", ["SIGTERM", "end of input"])
async def test_a_server_told_to_end_while_it_writes_leaves_nothing_half_done(
    tmp_path: Path, way: str, times: int
) -> None:
    took: list[float] = []
    for number in range(times):
        folder = tmp_path / str(number)
        folder.mkdir()
        took.append(await ended(folder, way))
    print(
        f"{way} under load, {times} times: exit 0 each time after at most {max(took):.2f} s, 0 acknowledged writes lost"
    )
    assert max(took) <= 10


def made(message: dict[str, Any]) -> set[str]:
    """The issue that a message acknowledges; none for a notification, an error, or an answer that says no id."""
    body = message.get("result", {}).get("structuredContent", {})
    return {body["id"]} if body.get("outcome") == "committed" and "id" in body else set()


async def ended(tmp_path: Path, way: str) -> float:
    """End a server while it writes, and see what it leaves; the seconds it took to end."""
    settings = {name: value for name, value in os.environ.items() if not name.startswith("CALLTRIAGE_")}
    settings |= {"CALLTRIAGE_DATA_DIR": str(tmp_path / "data"), "CALLTRIAGE_WRITES_PER_MINUTE": "0"}
    acknowledged: set[str] = set()
    async with await anyio.open_process([sys.executable, "-m", "calltriage"], env=settings, cwd=tmp_path) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        answers = BufferedByteReceiveStream(process.stdout)

        async def say(message: dict[str, Any]) -> None:
            assert process.stdin is not None
            await process.stdin.send(json.dumps(message).encode() + b"\n")

        with anyio.fail_after(60):
            await say(HELLO)
            await answers.receive_until(b"\n", 2**20)
            await say({"jsonrpc": "2.0", "method": "notifications/initialized"})
            for number in range(1, 31):
                new = {"title": f"Issue {number}", "severity": "low", "category": "Bug", "on_duplicate": "create"}
                params = {"name": "create_issue", "arguments": new}
                await say({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params})
            while not acknowledged:
                acknowledged |= made(json.loads(await answers.receive_until(b"\n", 2**20)))
            began = anyio.current_time()
            if way == "SIGTERM":
                process.send_signal(signal.SIGTERM)
            else:
                await process.stdin.aclose()
            try:
                while True:
                    acknowledged |= made(json.loads(await answers.receive_until(b"\n", 2**20)))
            except (anyio.EndOfStream, anyio.IncompleteRead):
                pass
            assert await process.wait() == 0
            seconds = anyio.current_time() - began
    desk, journal = Desk(tmp_path / "data", SecretStr("0" * 32), "http://desk.invalid"), Journal(tmp_path / "data")
    stored = await desk.store.read(lambda connection: connection.execute(select(issues.c.id)).scalars().all())
    rows, found = await journal.every(), await journal.verify()
    await desk.close()
    await journal.close()
    asked = {row.write_id for row in rows if row.kind == "asked"}
    settled = {row.write_id: row.outcome for row in rows if row.kind == "outcome"}
    assert acknowledged <= set(stored)
    assert (found.broken_at, asked - set(settled)) == (None, set())
    assert len(stored) == sum(outcome == "committed" for outcome in settled.values())
    return seconds
