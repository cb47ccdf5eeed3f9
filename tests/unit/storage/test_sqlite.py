"""The file: its owner's alone, shared by processes, whole when the disk is full."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from sqlalchemy import Connection, insert
from unit.storage.changes import Held, adds, names, names_on_disk, opened

from calltriage.desk.database.store import Store
from calltriage.desk.database.tables import settings
from calltriage.errors import StoreError
from calltriage.storage.sqlite import sqlite_driver

DRIVER: Any = sqlite_driver()


async def test_what_is_acknowledged_is_there_and_what_is_not_is_not_when_the_disk_is_full(tmp_path: Path) -> None:
    held, outcomes = Held("first"), dict[str, bool]()

    def too_big(connection: Connection) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 10}")
        try:
            connection.execute(insert(settings).values(name="big", value="x" * 2_000_000))
        finally:
            connection.exec_driver_sql("PRAGMA max_page_count = 1073741823")

    async def write(store: Store, name: str, change: Callable[[Connection], Any]) -> None:
        try:
            await store.write(change)
        except Exception:  # noqa: BLE001  which one is not the question here
            outcomes[name] = False
        else:
            outcomes[name] = True

    async with opened(tmp_path / "desk") as store:
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(store.write, held)
                await held.wait_inside()
                tasks.start_soon(write, store, "before", adds("before"))
                await anyio.wait_all_tasks_blocked()
                tasks.start_soon(write, store, "big", too_big)
                await anyio.wait_all_tasks_blocked()
                tasks.start_soon(write, store, "after", adds("after"))
                await anyio.wait_all_tasks_blocked()
                held.go.set()
        there = await names_on_disk(tmp_path / "desk") - {"first"}
    assert there == {name for name, good in outcomes.items() if good}
    assert outcomes.keys() == {"before", "big", "after"}
    assert outcomes["big"] is False


WRITER = """
import sys
from pathlib import Path
import anyio
from calltriage.desk.database.store import Store
from calltriage.desk.database.tables import settings
from sqlalchemy import insert

async def main(folder, who):
    store = Store(Path(folder))
    async def one(number):
        await store.write(lambda c: c.execute(insert(settings).values(name=f"{who}{number}", value="x")) and None)
    for first in range(0, 50, 5):
        async with anyio.create_task_group() as tasks:
            for number in range(first, first + 5):
                tasks.start_soon(one, number)
    await store.close()

anyio.run(main, *sys.argv[1:])
"""


@pytest.mark.slow
async def test_two_processes_that_open_and_write_one_folder_lose_nothing(tmp_path: Path) -> None:
    if DRIVER.sqlite_version_info < (3, 51, 3):
        async with opened(tmp_path / "desk") as store:  # the rule there: one process at a time
            with pytest.warns(UserWarning, match="one calltriage process"):
                await store.open()
        return
    endings: list[tuple[int, bytes]] = []

    async def run(who: str) -> None:
        done = await anyio.run_process([sys.executable, "-c", WRITER, str(tmp_path / "desk"), who], check=False)
        endings.append((done.returncode, done.stderr))

    with anyio.fail_after(90):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run, "a")
            tasks.start_soon(run, "b")
    assert endings == [(0, b""), (0, b"")]
    assert await names_on_disk(tmp_path / "desk") == {f"{who}{number}" for who in "ab" for number in range(50)}


@pytest.mark.slow
async def test_many_stores_may_open_one_new_folder_at_once(tmp_path: Path) -> None:
    for round_number in range(20):
        stores = [Store(tmp_path / f"desk-{round_number}") for _ in range(6)]
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                for number, store in enumerate(stores):
                    tasks.start_soon(store.write, adds(f"n{number}"))
        assert len(await stores[0].read(names)) == 6
        for store in stores:
            await store.close()


@pytest.mark.parametrize(("pragma", "value"), [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1)])
async def test_every_connection_is_set_to_lose_nothing(tmp_path: Path, pragma: str, value: Any) -> None:
    def ask(connection: Connection) -> Any:
        return connection.exec_driver_sql(f"PRAGMA {pragma}").scalar_one()

    async with opened(tmp_path / "desk") as store:
        found: list[Any] = [await store.write(ask)]

        async def read() -> None:
            found.append(await store.read(ask))

        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(read)
    assert found == [value] * 5


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


async def test_the_folder_is_its_owner_s_alone(tmp_path: Path) -> None:
    async with opened(tmp_path / "deep" / "desk") as store:
        await store.open()
    assert os.name == "nt" or mode(tmp_path / "deep" / "desk") == 0o700


def write_file(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


async def test_a_file_in_the_folder_s_place_says_what_to_do(tmp_path: Path) -> None:
    in_the_way = write_file(tmp_path / "desk", b"")
    async with opened(in_the_way) as store:
        with pytest.raises(StoreError, match="CALLTRIAGE_DATA_DIR"):
            await store.write(adds("a"))
        with pytest.raises(StoreError, match="CALLTRIAGE_DATA_DIR"):
            await store.read(names)


async def test_a_file_in_a_parent_folder_s_place_says_what_to_do(tmp_path: Path) -> None:
    write_file(tmp_path / "file", b"")
    async with opened(tmp_path / "file" / "desk") as store:
        with pytest.raises(StoreError, match="CALLTRIAGE_DATA_DIR"):
            await store.open()


async def test_a_file_that_is_no_database_says_what_to_do(tmp_path: Path) -> None:
    database = write_file(tmp_path / "desk" / "desk.sqlite3", b"this is not a database, " * 100)
    async with opened(tmp_path / "desk") as store:
        with pytest.raises(StoreError, match="CALLTRIAGE_DATA_DIR"):
            await store.open()
    assert await anyio.Path(database).read_bytes() == b"this is not a database, " * 100


async def test_a_store_that_could_not_open_opens_once_the_cause_is_gone(tmp_path: Path) -> None:
    in_the_way = write_file(tmp_path / "desk", b"")
    async with opened(in_the_way) as store:
        with pytest.raises(StoreError):
            await store.open()
        await anyio.Path(in_the_way).unlink()
        await store.write(adds("a"))
        assert await store.read(names) == {"a"}


# The folder under an open store


def moved(folder: Path) -> None:
    folder.rename(folder.with_name("moved"))


def deleted(folder: Path) -> None:
    shutil.rmtree(folder)


def replaced(folder: Path) -> None:
    moved(folder)
    shutil.copytree(folder.with_name("moved"), folder)


def emptied(folder: Path) -> None:
    moved(folder)
    folder.mkdir()


def database_replaced(folder: Path) -> None:
    copy = folder / "copy"
    shutil.copy(folder / "desk.sqlite3", copy)
    copy.replace(folder / "desk.sqlite3")


def log_deleted(folder: Path) -> None:
    (folder / "desk.sqlite3-wal").unlink()


def index_deleted(folder: Path) -> None:
    (folder / "desk.sqlite3-shm").unlink()


AWAY = [moved, deleted, replaced, emptied, database_replaced, log_deleted, index_deleted]


@pytest.mark.skipif(sys.platform == "win32", reason="open files cannot be moved there")
@pytest.mark.parametrize("away", AWAY)
async def test_nothing_is_acknowledged_that_another_process_would_not_find(
    tmp_path: Path, away: Callable[[Path], None]
) -> None:
    folder = tmp_path / "desk"
    async with opened(folder) as store:
        await store.write(adds("before"))
        away(folder)
        before = sorted(tmp_path.rglob("*"))
        for _ in range(3):
            with pytest.raises(StoreError, match="moved, replaced or deleted"):
                await store.write(adds("after"))
            with pytest.raises(StoreError, match="moved, replaced or deleted"):
                await store.read(names)
        assert sorted(tmp_path.rglob("*")) == before, "nothing is made in its place"


@pytest.mark.skipif(sys.platform == "win32", reason="open files cannot be moved there")
async def test_what_goes_away_during_a_write_takes_the_whole_batch_with_it(tmp_path: Path) -> None:
    folder, held, told = tmp_path / "desk", Held("first"), list[str]()

    async def write(store: Store, change: Callable[[Connection], Any]) -> None:
        with pytest.raises(StoreError, match="moved, replaced or deleted"):
            await store.write(change)
        told.append("refused")

    async with opened(folder) as store:
        await store.write(adds("before"))
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(write, store, held)
                await held.wait_inside()
                tasks.start_soon(write, store, adds("second"))
                await anyio.wait_all_tasks_blocked()
                moved(folder)
                held.go.set()
        assert told == ["refused"] * 2
        folder.with_name("moved").rename(folder)
        assert await store.read(names) == {"before"}


@pytest.mark.skipif(sys.platform == "win32", reason="open files cannot be moved there")
async def test_a_folder_that_is_put_back_is_used_again(tmp_path: Path) -> None:
    folder = tmp_path / "desk"
    async with opened(folder) as store:
        await store.write(adds("before"))
        moved(folder)
        with pytest.raises(StoreError):
            await store.write(adds("lost"))
        folder.with_name("moved").rename(folder)
        await store.write(adds("after"))
        assert await names_on_disk(folder) == {"before", "after"}


@pytest.mark.skipif(sys.platform == "win32", reason="open files cannot be moved there")
async def test_what_is_in_the_place_now_is_used_once_the_store_was_closed(tmp_path: Path) -> None:
    folder = tmp_path / "desk"
    async with opened(folder) as store, opened(tmp_path / "other") as other:
        await store.write(adds("ours"))
        await other.write(adds("theirs"))
        await other.close()
        moved(folder)
        (tmp_path / "other").rename(folder)
        with pytest.raises(StoreError):
            await store.write(adds("lost"))
        await store.close()
        await store.write(adds("after"))
        assert await names_on_disk(folder) == {"theirs", "after"}


@pytest.mark.parametrize("name", ["a?b", "a#b", "a%20b", "a b", "a;b", "ä"])
async def test_a_folder_may_be_called_anything(tmp_path: Path, name: str) -> None:
    async with opened(tmp_path / name) as store:
        await store.write(adds("a"))
        assert await names_on_disk(tmp_path / name) == {"a"}
    assert [path.name for path in tmp_path.iterdir()] == [name]


async def test_a_store_is_usable_while_others_write_and_not_while_nothing_can_be_written(tmp_path: Path) -> None:
    async with opened(tmp_path / "desk") as store:
        assert await store.is_usable()
        before = sorted(path.name for path in (tmp_path / "desk").iterdir())
        with closing(DRIVER.connect(tmp_path / "desk" / "desk.sqlite3", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert await store.is_usable(), "a write waits its turn"
        resource = pytest.importorskip("resource", reason="POSIX bounds the size of files")
        bounds = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, bounds[1]))
        try:
            assert not await store.is_usable(), "as on a full disk"
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, bounds)
        assert await store.is_usable()
        assert sorted(path.name for path in (tmp_path / "desk").iterdir()) == before


async def test_a_store_whose_log_was_cut_is_not_usable(tmp_path: Path) -> None:
    async with opened(tmp_path / "desk") as store:
        await store.write(adds("one"))
        os.truncate(tmp_path / "desk" / "desk.sqlite3-wal", 100)
        assert not await store.is_usable()
