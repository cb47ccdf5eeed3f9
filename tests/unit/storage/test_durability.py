"""What was acknowledged is there after a `kill -9`, a full disk and a database server that dies."""

from __future__ import annotations

import random
import signal
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from postgres import PostgresServer
from pydantic import SecretStr
from unit.storage.changes import names, opened

from calltriage.storage.sqlite import sqlite_driver

DRIVER: Any = sqlite_driver()
ROUNDS = 8
SEED = 20261125

# Writes rows from several tasks at once and says the name of each once it is acknowledged; no file may grow past a size.
WRITER = """
import sys
from pathlib import Path
import anyio
from pydantic import SecretStr
from sqlalchemy import insert
from calltriage.desk.database.store import Store
from calltriage.desk.database.tables import settings

async def main(folder, who, url, size):
    store = Store(Path(folder), SecretStr(url) if url else None)
    await store.open()
    if size != "0":
        import resource, signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), int(size)))
    async def one(task):
        number = 0
        while number < 2000:
            name, number = f"{who}-{task}-{number}", number + 1
            try:
                await store.write(lambda c: c.execute(insert(settings).values(name=name, value="x" * 500)) and None)
            except Exception as error:
                print("failed", type(error).__name__, flush=True)
                if size != "0" and number > 50:
                    return
            else:
                print("kept", name, flush=True)
    async with anyio.create_task_group() as tasks:
        for task in range(8):
            tasks.start_soon(one, task)
    await store.close()

anyio.run(main, *sys.argv[1:])
"""


async def killed_after(count: int, folder: Path, who: str, url: str = "") -> set[str]:
    """Names that a writer said were kept before it was killed, at the latest after so many."""
    command = [sys.executable, "-c", WRITER, str(folder), who, url, "0"]
    said, alive = b"", True
    async with await anyio.open_process(command, stderr=None) as writer:
        assert writer.stdout is not None
        async for piece in writer.stdout:
            said += piece
            if alive and said.count(b"kept") >= count:
                writer.kill()
                alive = False
    assert writer.returncode == -signal.SIGKILL
    whole = said[: said.rfind(b"\n") + 1].decode().splitlines()
    return {line.removeprefix("kept ") for line in whole if line.startswith("kept ")}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9")
async def test_acknowledged_writes_survive_a_kill_at_any_moment(tmp_path: Path) -> None:
    moments, kept = random.Random(SEED), set[str]()
    with anyio.fail_after(120):
        for number in range(ROUNDS):
            kept |= await killed_after(moments.randint(1, 60), tmp_path / "desk", f"w{number}")
        async with opened(tmp_path / "desk") as store:
            there = await store.read(names)
    assert kept <= there, f"seed {SEED}"
    # What was under way when the kill came is whole or absent: at most what eight tasks had waiting.
    assert len(there - kept) <= 8 * ROUNDS
    with closing(DRIVER.connect(tmp_path / "desk" / "desk.sqlite3")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9")
async def test_acknowledged_writes_survive_a_kill_of_the_server_and_of_postgresql(tmp_path: Path) -> None:
    kept = set[str]()
    with PostgresServer(durable=True) as server, server.database() as url:
        with anyio.fail_after(120):
            for number in range(2):
                kept |= await killed_after(40, tmp_path / "desk", f"w{number}", url)
            await anyio.to_thread.run_sync(server.kill_and_restart)
            async with opened(tmp_path / "desk", SecretStr(url)) as store:
                there = await store.read(names)
        assert kept <= there
        assert len(there - kept) <= 8 * 2


@pytest.mark.skipif(sys.platform == "win32", reason="file sizes cannot be limited")
async def test_a_full_disk_acknowledges_nothing_that_is_missing(tmp_path: Path) -> None:
    async with opened(tmp_path / "desk") as store:
        await store.open()
    size = 2 * sum(path.stat().st_size for path in (tmp_path / "desk").iterdir())
    command = [sys.executable, "-c", WRITER, str(tmp_path / "desk"), "w", "", str(size)]
    with anyio.fail_after(120):
        done = await anyio.run_process(command, check=False, stderr=None)
    lines = done.stdout.decode().splitlines()
    kept = {line.removeprefix("kept ") for line in lines if line.startswith("kept ")}
    assert kept
    assert any(line.startswith("failed") for line in lines)
    async with opened(tmp_path / "desk") as store:  # there is space again
        assert kept == await store.read(names)
        assert await store.write(names) == kept
