"""Power that fails at any moment, and a disk that refuses to write or to sync: nothing that was acknowledged is missing.

    uv run pytest tests/reliability/test_power_loss.py -m long -s      600 images of the disk; TRIAGE_TEST_SEED repeats

strace records what a process writes and syncs; from that the disk is built again as it may look after the power failed: of
what was not yet synced anything may be lost or torn. It also makes calls of the system fail.
"""

from __future__ import annotations

import random
import re
import shutil
import sys
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest
from reliability.seeds import seeded
from unit.storage.changes import adds, names, opened

from calltriage.desk.database.store import DATABASE
from calltriage.storage.sqlite import sqlite_driver

pytestmark = pytest.mark.slow

PATIENCE = 300
SECTOR = 512

# Three tasks at once add rows of some pages, and say the name of each once it is acknowledged.
WRITER = """
import os, sys
from pathlib import Path
import anyio
from sqlalchemy import insert
from calltriage.desk.database.store import Store
from calltriage.desk.database.tables import settings

async def main(folder, count):
    store = Store(Path(folder))
    async def one(task):
        for number in range(int(count)):
            name = f"{task}-{number}"
            try:
                await store.write(lambda c: c.execute(insert(settings).values(name=name, value="x" * 9000)) and None)
            except Exception as error:
                os.write(1, f"failed {type(error).__name__}\\n".encode())
            else:
                os.write(1, f"kept {name}\\n".encode())
    async with anyio.create_task_group() as tasks:
        for task in range(3):
            tasks.start_soon(one, task)
    await store.close()

anyio.run(main, *sys.argv[1:])
"""


@dataclass
class File:
    """A file on the disk: what is surely there, and the writes since, as offset and bytes; None for a cut at the offset."""

    synced: bytearray = field(default_factory=bytearray)
    since: list[tuple[int, bytes | None]] = field(default_factory=list[tuple[int, bytes | None]])

    def sync(self) -> None:
        for offset, data in self.since:
            put(self.synced, offset, data)
        self.since.clear()

    def after_a_loss(self, chance: random.Random) -> bytes:
        """The bytes as they may be found: of each write since the last sync all, nothing, or some sectors."""
        found, fate = bytearray(self.synced), chance.choice(["all", "none", "some", "torn"])
        for offset, data in self.since:
            if fate == "all" or (fate != "none" and chance.random() < 0.5):
                put(found, offset, data)
            elif fate == "torn" and data is not None:
                for start in range(0, len(data), SECTOR):
                    if chance.random() < 0.5:
                        put(found, offset + start, data[start : start + SECTOR])
        return bytes(found)


def put(content: bytearray, offset: int, data: bytes | None) -> None:
    content.extend(bytes(max(0, offset - len(content))))
    if data is None:
        del content[offset:]
    else:
        content[offset : offset + len(data)] = data


@dataclass(frozen=True)
class Event:
    """One line of the record: what was done to which file, or that something was acknowledged."""

    call: str
    name: str = ""
    offset: int = 0
    data: bytes = b""


CALL = re.compile(r'^(\w+)\((?:(\d+)<([^>]*)>|"([^"]*)")(?:, (?:"([^"]*)")?(.*))?')


def recorded(log: Path) -> list[Event]:
    """The record in order: a write counts from its beginning, a sync when it has returned."""
    events, under_way = list[Event](), dict[str, str]()
    for line in log.read_text().splitlines():
        thread, _, said = line.partition(" ")
        said = said.lstrip()
        if said.endswith("<unfinished ...>") and said.startswith(("fdatasync", "fsync")):
            under_way[thread] = said
        elif said.startswith("<..."):
            events += event_of(under_way.pop(thread, ""))
        else:
            events += event_of(said)
    return events


def event_of(said: str) -> list[Event]:
    found = CALL.match(said)
    if found is None:
        return []
    call, descriptor, path, removed, data, rest = found.groups()
    if call == "write" and descriptor == "1":
        return [Event("kept", name) for name in re.findall(r"kept (\S+)", unhexed(data).decode())]
    name = Path(unhexed(path or removed).decode()).name
    if not name.startswith(DATABASE) or name.endswith("-shm"):  # that is an index in memory, made anew
        return []
    numbers = [int(number) for number in re.findall(r"\d+", rest or "")]
    if call == "pwrite64":
        return [Event(call, name, numbers[1], unhexed(data))]
    return [Event(call, name, numbers[0] if call == "ftruncate" else 0)]


def unhexed(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def disk_after(events: list[Event], start: dict[str, bytes]) -> tuple[dict[str, File], set[str]]:
    """The disk after these events, and what had been acknowledged."""
    files, acknowledged = {name: File(bytearray(content)) for name, content in start.items()}, set[str]()
    for event in events:
        if event.call == "kept":
            acknowledged.add(event.name)
        elif event.call == "unlink":
            files.pop(event.name, None)
        elif event.call in {"fdatasync", "fsync"}:
            files.setdefault(event.name, File()).sync()
        else:
            data = event.data if event.call == "pwrite64" else None
            files.setdefault(event.name, File()).since.append((event.offset, data))
    return files, acknowledged


needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace records and refuses what is written")


@needs_strace
@pytest.mark.parametrize(
    ("writes", "images"), [pytest.param(20, 15, id="few"), pytest.param(150, 600, id="many", marks=pytest.mark.long)]
)
async def test_what_was_acknowledged_is_there_after_the_power_failed(tmp_path: Path, writes: int, images: int) -> None:
    chance, folder, log = seeded(), tmp_path / "desk", tmp_path / "strace"
    async with opened(folder) as store:
        await store.open()
    start = {path.name: path.read_bytes() for path in folder.iterdir() if path.name.startswith(DATABASE)}  # closed
    traced = "trace=pwrite64,write,fdatasync,fsync,ftruncate,unlink"
    command = ["strace", "-f", "-y", "-xx", "-s", "1000000", "-e", traced, "-e", "signal=none", "-o", str(log)]
    with anyio.fail_after(PATIENCE):
        await anyio.run_process([*command, sys.executable, "-c", WRITER, str(folder), str(writes)])
    events = recorded(log)
    syncs = sum(event.call in {"fdatasync", "fsync"} for event in events)
    driver: Any = sqlite_driver()
    lost, most = 0, 0
    for number in range(images):
        files, acknowledged = disk_after(events[: chance.randrange(len(events) + 1)], start)
        image = tmp_path / f"image-{number}"
        image.mkdir()
        for name, file in files.items():
            (image / name).write_bytes(file.after_a_loss(chance))
        async with opened(image) as store:
            there = await store.read(names)
        with closing(driver.connect(image / DATABASE)) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        lost += len(acknowledged - there)
        most = max(most, len(acknowledged))
        shutil.rmtree(image)
    print(f"power lost in {images} images of a disk with {len(events)} recorded events, {syncs} of them syncs: {lost} "
          f"acknowledged writes missing, of at most {most}")  # fmt: skip
    assert (lost, most > 0, syncs > 0) == (0, True, True)


@needs_strace
@pytest.mark.parametrize(
    ("calls", "error"),
    [("fdatasync,fsync", "EIO"), ("fdatasync,fsync", "ENOSPC"), ("pwrite64", "ENOSPC"), ("pwrite64", "EIO")],
)
@pytest.mark.parametrize("writes", [pytest.param(40, id="few"), pytest.param(400, id="many", marks=pytest.mark.long)])
async def test_a_disk_that_refuses_now_and_then_loses_nothing_that_was_acknowledged(
    tmp_path: Path, calls: str, error: str, writes: int
) -> None:
    chance, folder = seeded(), tmp_path / "desk"
    async with opened(folder) as store:
        await store.open()
    first, every = chance.randint(20, 40), 5 if "sync" in calls else 150
    refusal = ["-e", f"trace={calls}", "-e", f"inject={calls}:error={error}:when={first}+{every}"]
    quiet = ["-f", "-e", "signal=none", "-o", "/dev/null"]
    with anyio.fail_after(PATIENCE):
        done = await anyio.run_process(
            ["strace", *quiet, *refusal, sys.executable, "-c", WRITER, str(folder), str(writes)]
        )
    lines = done.stdout.decode().splitlines()
    kept = {line.removeprefix("kept ") for line in lines if line.startswith("kept ")}
    failed = len(lines) - len(kept)
    async with opened(folder) as store:  # all is well again
        there = await store.read(names)
        await store.write(adds("after"))
    print(f"{calls} refused with {error}: {len(kept)} writes acknowledged, {failed} told that they failed, "
          f"{len(kept - there)} acknowledged ones missing, {len(there - kept)} of the failed ones there")  # fmt: skip
    assert kept - there == set()
    assert min(len(kept), failed) > 0
    driver: Any = sqlite_driver()
    with closing(driver.connect(folder / DATABASE)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
