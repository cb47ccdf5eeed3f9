"""The desk's database: many writers, one file, nothing acknowledged that is not on disk."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from sqlalchemy import Connection, delete, insert, select

from calltriage.desk.store import Store
from calltriage.desk.tables import settings
from calltriage.errors import StoreError
from calltriage.storage.database import BATCH
from calltriage.storage.sqlite import sqlite_driver

DRIVER: Any = sqlite_driver()


@asynccontextmanager
async def opened(folder: Path) -> AsyncGenerator[Store]:
    store = Store(folder)
    try:
        yield store
    finally:
        await store.close()


def adds(name: str, value: str = "x") -> Callable[[Connection], str]:
    def change(connection: Connection) -> str:
        connection.execute(insert(settings).values(name=name, value=value))
        return name

    return change


def fails_after_adding(name: str) -> Callable[[Connection], str]:
    def change(connection: Connection) -> str:
        adds(name)(connection)
        raise LookupError(name)

    return change


def names(connection: Connection) -> set[str]:
    own = {"schema_version", "secret", "org_id", "user_id"}
    return {row.name for row in connection.execute(select(settings))} - own


class Held:
    """A change that stays inside its transaction until it is let go."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.inside = threading.Event()
        self.go = threading.Event()

    def __call__(self, connection: Connection) -> str:
        self.inside.set()
        assert self.go.wait(10)
        return adds(self.name)(connection)

    async def wait_inside(self) -> None:
        assert await anyio.to_thread.run_sync(self.inside.wait, 10)


async def names_on_disk(folder: Path) -> set[str]:
    """What another opening of the folder sees."""
    async with opened(folder) as store:
        return await store.read(names)


async def test_a_write_is_there_for_another_reader_once_it_returns(tmp_path: Path) -> None:
    async with opened(tmp_path / "desk") as store:
        assert await store.write(adds("a")) == "a"
        assert await names_on_disk(tmp_path / "desk") == {"a"}


async def test_writes_that_wait_together_are_all_kept_and_each_gets_its_own_result(tmp_path: Path) -> None:
    results: dict[str, str] = {}
    wanted = {f"n{number}": f"n{number}" for number in range(3 * BATCH + 5)}

    async def write(store: Store, name: str) -> None:
        results[name] = await store.write(adds(name))
        assert name in await store.read(names)

    async with opened(tmp_path / "desk") as store:
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                for name in wanted:
                    tasks.start_soon(write, store, name)
        assert results == wanted
        assert await names_on_disk(tmp_path / "desk") == set(wanted)


async def test_writes_that_wait_together_share_a_commit(tmp_path: Path) -> None:
    transactions: list[int] = []
    held = Held("first")

    def noted(name: str) -> Callable[[Connection], str]:
        def change(connection: Connection) -> str:
            transactions.append(id(connection.get_transaction()))
            return adds(name)(connection)

        return change

    async with opened(tmp_path / "desk") as store:
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(store.write, held)
                await held.wait_inside()
                for number in range(BATCH):
                    tasks.start_soon(store.write, noted(str(number)))
                await anyio.wait_all_tasks_blocked()
                held.go.set()
        assert len(transactions) == BATCH
        assert len(set(transactions)) == 1


async def test_a_change_that_fails_leaves_the_others_of_its_commit(tmp_path: Path) -> None:
    held, failed = Held("first"), list[str]()

    async def write_badly(store: Store, name: str) -> None:
        with pytest.raises(LookupError, match=name):
            await store.write(fails_after_adding(name))
        failed.append(name)

    async with opened(tmp_path / "desk") as store:
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(store.write, held)
                await held.wait_inside()
                for number in range(5):
                    tasks.start_soon(store.write, adds(f"good{number}"))
                    tasks.start_soon(write_badly, store, f"bad{number}")
                await anyio.wait_all_tasks_blocked()
                held.go.set()
        assert len(failed) == 5
        assert await store.read(names) == {"first", *(f"good{number}" for number in range(5))}


async def test_a_broken_constraint_is_the_error_of_its_own_write_alone(tmp_path: Path) -> None:
    async with opened(tmp_path / "desk") as store:
        await store.write(adds("a"))
        with pytest.raises(Exception, match="UNIQUE"):
            await store.write(adds("a"))
        await store.write(adds("b"))
        assert await store.read(names) == {"a", "b"}


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


class Halt(BaseException):
    """Not an `Exception`, like the ones that end a program."""


async def test_no_write_is_acknowledged_because_another_one_broke_the_batch(tmp_path: Path) -> None:
    held, acknowledged = Held("first"), list[str]()

    def halts(_: Connection) -> None:
        raise Halt

    async def halted(store: Store) -> None:
        try:
            await store.write(halts)
        except BaseException as error:
            if not isinstance(error, Halt):
                raise

    async def write(store: Store, name: str) -> None:
        try:
            await store.write(adds(name))
        except BaseException as error:
            if isinstance(error, anyio.get_cancelled_exc_class()):
                raise
            return
        acknowledged.append(name)

    async with opened(tmp_path / "desk") as store:
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(store.write, held)
                await held.wait_inside()
                tasks.start_soon(write, store, "before")
                await anyio.wait_all_tasks_blocked()
                tasks.start_soon(halted, store)
                await anyio.wait_all_tasks_blocked()
                tasks.start_soon(write, store, "after")
                await anyio.wait_all_tasks_blocked()
                held.go.set()
        assert await names_on_disk(tmp_path / "desk") == {"first", *acknowledged}


async def test_a_write_cancelled_while_it_waits_leaves_nothing(tmp_path: Path) -> None:
    held, scope = Held("first"), anyio.CancelScope()

    async def cancelled(store: Store) -> None:
        with scope:
            await store.write(adds("never"))

    async with opened(tmp_path / "desk") as store:
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(store.write, held)
                await held.wait_inside()
                tasks.start_soon(cancelled, store)
                tasks.start_soon(store.write, adds("next"))
                await anyio.wait_all_tasks_blocked()
                scope.cancel()
                await anyio.wait_all_tasks_blocked()
                held.go.set()
        assert scope.cancelled_caught
        assert await store.read(names) == {"first", "next"}


async def test_a_write_cancelled_while_it_runs_is_seen_through(tmp_path: Path) -> None:
    held = Held("first")
    async with opened(tmp_path / "desk") as store:
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(store.write, held)
                await held.wait_inside()
                tasks.cancel_scope.cancel()
                held.go.set()
        assert await store.read(names) == {"first"}
        await store.write(adds("next"))
        assert await names_on_disk(tmp_path / "desk") == {"first", "next"}


async def test_a_reader_sees_one_state_while_others_write(tmp_path: Path) -> None:
    async with opened(tmp_path / "desk") as store:
        await store.write(adds("a"))
        inside, go, seen = threading.Event(), threading.Event(), list[set[str]]()

        def twice(connection: Connection) -> None:
            seen.append(names(connection))
            inside.set()
            assert go.wait(10)
            seen.append(names(connection))

        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(store.read, twice)
                assert await anyio.to_thread.run_sync(inside.wait, 10)
                await store.write(adds("b"))
                go.set()
        assert seen == [{"a"}, {"a"}]


async def test_a_query_cannot_write_past_its_transaction(tmp_path: Path) -> None:
    async with opened(tmp_path / "desk") as store:
        await store.write(adds("a"))
        with pytest.raises(LookupError):
            await store.read(fails_after_adding("b"))
        assert await store.read(names) == {"a"}


WRITER = """
import sys
from pathlib import Path
import anyio
from calltriage.desk.store import Store
from calltriage.desk.tables import settings
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


async def test_many_first_calls_at_once_open_one_store(tmp_path: Path) -> None:
    secrets: list[str] = []

    async def read(store: Store) -> None:
        query = select(settings.c.value).where(settings.c.name == "secret")
        secrets.append(await store.read(lambda connection: connection.execute(query).scalar_one()))

    async with opened(tmp_path / "desk") as store:
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                for _ in range(30):
                    tasks.start_soon(read, store)
    assert len(secrets) == 30
    assert len(set(secrets)) == 1


async def test_a_store_that_was_closed_opens_again(tmp_path: Path) -> None:
    store = Store(tmp_path / "desk")
    await store.write(adds("a"))
    await store.close()
    await store.close()
    assert await store.read(names) == {"a"}
    await store.close()


@pytest.mark.parametrize(
    ("pragma", "value"), [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1), ("busy_timeout", 30000)]
)
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


async def test_a_newer_schema_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    async with opened(tmp_path / "desk") as store:
        await store.write(adds("a"))
        change = settings.update().where(settings.c.name == "schema_version").values(value="999")
        await store.write(lambda connection: connection.execute(change) and None)
    async with opened(tmp_path / "desk") as store:
        with pytest.raises(StoreError, match=r"999.*Install the calltriage") as caught:
            await store.open()
    assert "CALLTRIAGE_DATA_DIR" in str(caught.value)


async def test_a_folder_without_a_version_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path / "desk") as store:
        gone = delete(settings).where(settings.c.name == "schema_version")
        await store.write(lambda connection: connection.execute(gone) and None)
    async with opened(tmp_path / "desk") as store:
        with pytest.raises(StoreError):
            await store.open()


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
