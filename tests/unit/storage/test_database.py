"""Reading and writing, on both stores: many writers, nothing acknowledged that is not kept."""

from __future__ import annotations

import asyncio
import math
import sqlite3
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from sqlalchemy import Connection, event, select, update
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import QueuePool
from unit.storage.changes import Held, Url, adds, fails_after_adding, names, names_on_disk, opened

from calltriage.desk.database.store import Store
from calltriage.desk.database.tables import settings
from calltriage.errors import StoreBusyError, StoreError
from calltriage.storage import database
from calltriage.storage.database import BATCH, READERS, TOGETHER


async def test_a_write_is_there_for_another_reader_once_it_returns(tmp_path: Path, database_url: Url) -> None:
    async with opened(tmp_path / "desk", database_url) as store:
        assert await store.write(adds("a")) == "a"
        assert await names_on_disk(tmp_path / "desk", database_url) == {"a"}


async def test_reads_do_not_wait_for_the_threads_of_other_work(tmp_path: Path, database_url: Url) -> None:
    let_go, others = threading.Event(), int(anyio.to_thread.current_default_thread_limiter().total_tokens)
    async with opened(tmp_path / "desk", database_url) as store:
        await store.write(adds("a"))
        async with anyio.create_task_group() as tasks:
            try:
                for _ in range(others):
                    tasks.start_soon(anyio.to_thread.run_sync, let_go.wait, 30)
                await anyio.wait_all_tasks_blocked()
                with anyio.fail_after(10):
                    assert await store.read(names) == {"a"}
            finally:
                let_go.set()


async def test_writes_that_wait_together_are_all_kept_and_each_gets_its_own_result(
    tmp_path: Path, database_url: Url
) -> None:
    results: dict[str, str] = {}
    wanted = {f"n{number}": f"n{number}" for number in range(3 * BATCH + 5)}

    async def write(store: Store, name: str) -> None:
        results[name] = await store.write(adds(name))
        assert name in await store.read(names)

    async with opened(tmp_path / "desk", database_url) as store:
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                for name in wanted:
                    tasks.start_soon(write, store, name)
        assert results == wanted
        assert await names_on_disk(tmp_path / "desk", database_url) == set(wanted)


async def test_a_hundred_reads_at_once_are_answered_a_few_at_a_time(tmp_path: Path, database_url: Url) -> None:
    """Each holds its result until that is written out."""
    under_way, most, lock, full = 0, 0, threading.Lock(), threading.Event()

    def query(_: Connection) -> None:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
            if under_way == READERS:
                full.set()
        assert full.wait(60)  # until as many as may be are there
        with lock:
            under_way -= 1

    async with opened(tmp_path / "desk", database_url) as store:
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                for _ in range(100):
                    tasks.start_soon(store.read, query)
    assert most == READERS


async def test_a_brief_read_is_answered_in_the_event_loop_where_the_place_is_local(
    tmp_path: Path, database_url: Url
) -> None:
    def thread(_: Connection) -> threading.Thread:
        return threading.current_thread()

    async with opened(tmp_path / "desk", database_url) as store:
        await store.write(adds("a"))
        assert await store.read(names, is_brief=True) == {"a"}
        assert (await store.read(thread, is_brief=True) is threading.current_thread()) == (database_url is None)
        assert await store.read(thread) is not threading.current_thread()


def _fails(_: Connection) -> None:
    raise LookupError


async def test_a_brief_read_that_others_keep_waiting_waits_for_them_in_a_thread(tmp_path: Path) -> None:
    def locked_at_first(_: Connection) -> str:
        if threading.current_thread() is threading.main_thread():
            raise OperationalError("", None, sqlite3.OperationalError("database is locked"))
        return "read"

    async with opened(tmp_path / "desk") as store:
        assert await store.read(locked_at_first, is_brief=True) == "read"


async def test_a_brief_read_that_fails_says_so_and_leaves_its_connection_to_others(
    tmp_path: Path, database_url: Url
) -> None:
    async with opened(tmp_path / "desk", database_url) as store:
        with pytest.raises(DBAPIError):
            await store.read(broken, is_brief=True)
        with pytest.raises(LookupError):
            await store.read(_fails, is_brief=True)
        assert await store.read(names, is_brief=True) == set()
        pool = (await store.open()).pool
        assert isinstance(pool, QueuePool)
        assert pool.checkedout() == store.place.is_local  # the event loop's own


async def test_many_brief_reads_in_a_row_leave_others_their_turns(tmp_path: Path, database_url: Url) -> None:
    async with opened(tmp_path / "desk", database_url) as store, turns_of_the_loop() as turns:
        await store.open()
        before = len(turns)
        for _ in range(20):
            await store.read(names, is_brief=True)
    assert len(turns) - before >= 15


async def test_many_brief_reads_at_once_leave_others_their_turns(tmp_path: Path) -> None:
    seen = list[int]()
    async with opened(tmp_path / "desk") as store, turns_of_the_loop() as turns:
        await store.open()
        async with anyio.create_task_group() as reading:
            for _ in range(20):
                reading.start_soon(partial(store.read, lambda _: seen.append(len(turns)), is_brief=True))
    assert len(seen) == len(set(seen)) == 20  # others had a turn between any two


@asynccontextmanager
async def turns_of_the_loop() -> AsyncGenerator[list[None]]:
    """A list that grows with each turn that another task has while the block runs."""
    turns = list[None]()

    async def other() -> None:
        while True:
            await anyio.lowlevel.checkpoint()
            turns.append(None)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(other)
        yield turns
        tasks.cancel_scope.cancel()


async def test_brief_reads_that_wait_while_their_database_is_closed_are_answered(tmp_path: Path) -> None:
    async with opened(tmp_path / "desk") as store:
        await store.write(adds("a"))
        found = list[set[str]]()

        async def read() -> None:
            found.append(await store.read(names, is_brief=True))

        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(read)
            for _ in range(3):
                await anyio.lowlevel.checkpoint()
            await store.close()
        assert found == 20 * [{"a"}]


async def test_a_brief_read_in_a_cancelled_scope_is_not_made(tmp_path: Path, database_url: Url) -> None:
    asked = list[Connection]()
    async with opened(tmp_path / "desk", database_url) as store:
        await store.open()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await store.read(asked.append, is_brief=True)
    assert asked == []


async def test_reads_that_come_together_share_a_snapshot(
    tmp_path: Path, database_url: Url, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path / "desk", database_url) as store:
        await store.write(adds("a"))
        confirm, snapshots = store.place.confirm, list[Connection]()
        monkeypatch.setattr(store.place, "confirm", lambda one: (snapshots.append(one), confirm(one)))
        found = list[set[str]]()

        async def read() -> None:
            found.append(await store.read(names))

        async with anyio.create_task_group() as tasks:
            for _ in range(1 + 2 * TOGETHER):
                tasks.start_soon(read)
        assert found == (1 + 2 * TOGETHER) * [{"a"}]
        assert len(snapshots) == 3  # the first one waits for no other


async def test_a_read_that_fails_takes_nothing_from_those_that_share_its_snapshot(
    tmp_path: Path, database_url: Url
) -> None:
    found = list[set[str] | str]()

    async def read(store: Store, query: Callable[[Connection], set[str] | str]) -> None:
        try:
            found.append(await store.read(query))
        except (LookupError, DBAPIError) as error:
            found.append(type(error).__name__)

    async with opened(tmp_path / "desk", database_url) as store:
        await store.write(adds("a"))
        async with anyio.create_task_group() as tasks:
            for query in (names, names, fails_after_adding("b"), broken, names):
                tasks.start_soon(read, store, query)
    assert len(found) == 5
    assert found.count({"a"}) == 3


async def test_a_read_that_is_answered_loses_nothing_where_those_behind_it_get_no_snapshot(
    tmp_path: Path, database_url: Url, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, go, gone = threading.Event(), threading.Event(), threading.Event()

    def first(_: Connection) -> None:
        inside.set()
        assert go.wait(20)

    async with opened(tmp_path / "desk", database_url) as store:
        await store.open()
        confirm = store.place.confirm

        def confirm_unless_gone(connection: Connection) -> None:
            if gone.is_set():
                raise StoreError("gone")
            confirm(connection)

        def breaks_the_place(connection: Connection) -> str:
            gone.set()
            return broken(connection)

        monkeypatch.setattr(store.place, "confirm", confirm_unless_gone)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.read, first)
            assert await anyio.to_thread.run_sync(inside.wait, 20)  # those that come now share a snapshot
            asked = [store.read(query) for query in (names, breaks_the_place, names)]
            found = await asyncio.gather(*asked, return_exceptions=True)
            go.set()
            assert found[0] == set()
            assert isinstance(found[1], DBAPIError)
            assert isinstance(found[2], StoreError)


def broken(connection: Connection) -> str:
    """PostgreSQL answers nothing more in a transaction after this."""
    return str(connection.exec_driver_sql("SELECT * FROM nowhere").one())


@pytest.mark.parametrize("leaves", ["the first", "another one"])
async def test_a_read_that_is_cancelled_while_it_waits_holds_up_no_other(
    tmp_path: Path, database_url: Url, leaves: str
) -> None:
    let_go, found = threading.Event(), list[set[str]]()

    async def read(store: Store, scope: anyio.CancelScope) -> None:
        with scope:
            found.append(await store.read(names))

    async with opened(tmp_path / "desk", database_url) as store:
        with anyio.fail_after(30):
            await store.open()
            async with anyio.create_task_group() as tasks:
                for _ in range(READERS):
                    tasks.start_soon(store.read, lambda _: let_go.wait(20))
                    await anyio.wait_all_tasks_blocked()
                scopes = [anyio.CancelScope() for _ in range(3)]
                for scope in scopes:
                    tasks.start_soon(read, store, scope)
                await anyio.wait_all_tasks_blocked()
                scopes[0 if leaves == "the first" else 1].cancel()
                await anyio.wait_all_tasks_blocked()
                let_go.set()
    assert found == [set(), set()]


async def test_a_read_whose_caller_asyncio_cancels_is_cut_off_alone(tmp_path: Path, database_url: Url) -> None:
    """As `asyncio.wait_for` does: no shield holds its cancellation back."""
    async with opened(tmp_path / "desk", database_url) as store, sharing(store, 3) as (held, (first, *rest)):
        first.cancel()
        assert [await one for one in rest] == [set(), set()]
        assert first.cancelled()
        held.set()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_a_read_that_is_cancelled_with_the_one_that_asks_for_it_holds_up_no_later_one(
    tmp_path: Path, database_url: Url, order: tuple[int, int]
) -> None:
    async with opened(tmp_path / "desk", database_url) as store, sharing(store, 2) as (held, reads):
        for number in order:
            reads[number].cancel()
        await asyncio.wait(reads)
        assert await store.read(names) == set()
        held.set()


@asynccontextmanager
async def sharing(store: Store, count: int) -> AsyncGenerator[tuple[threading.Event, list[asyncio.Task[set[str]]]]]:
    """Reads that share a snapshot, in their thread until the event is set. The first of them asks for all."""
    let_go, inside, held = threading.Event(), threading.Event(), threading.Event()

    def holds(connection: Connection) -> set[str]:
        inside.set()
        assert held.wait(20)
        return names(connection)

    with anyio.fail_after(30):
        await store.open()
        others = list[asyncio.Future[bool]]()
        for _ in range(READERS):
            others.append(asyncio.ensure_future(store.read(lambda _: let_go.wait(20))))
            await anyio.wait_all_tasks_blocked()
        queries = [holds, *(count - 1) * [names]]
        reads = [asyncio.create_task(store.read(query)) for query in queries]
        await anyio.wait_all_tasks_blocked()
        let_go.set()
        assert await anyio.to_thread.run_sync(inside.wait, 20)
        try:
            yield held, reads
        finally:
            held.set()
        await asyncio.gather(*others)
        await _all_connections_are_back(store)


async def _all_connections_are_back(store: Store) -> None:
    """The thread of a read that was cut off goes on until it has answered."""
    pool = (await store.open()).pool
    assert isinstance(pool, QueuePool)
    while pool.checkedout() > store.place.is_local:  # noqa: ASYNC110  a thread gives them back; the event loop keeps its own
        await anyio.sleep(0.01)


async def _write_together(store: Store, writes: Iterable[Callable[[], Coroutine[Any, Any, object]]]) -> None:
    """Begin the writes while another one, of "first", is in its transaction, so that all of them wait for it."""
    held = Held("first")
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.write, held)
            await held.wait_inside()
            for write in writes:
                tasks.start_soon(write)
            await anyio.wait_all_tasks_blocked()
            held.go.set()


def noting(transactions: list[int], name: str) -> Callable[[Connection], str]:
    """A change that notes the transaction that it is made in."""

    def change(connection: Connection) -> str:
        transactions.append(id(connection.get_transaction()))
        return adds(name)(connection)

    return change


async def test_writes_that_wait_together_share_a_commit(tmp_path: Path, database_url: Url) -> None:
    transactions = list[int]()
    async with opened(tmp_path / "desk", database_url) as store:
        changes = [noting(transactions, str(number)) for number in range(BATCH)]
        await _write_together(store, (partial(store.write, change) for change in changes))
        assert len(transactions) == BATCH
        assert len(set(transactions)) == 1


async def test_writes_that_come_in_one_turn_share_a_commit_with_the_first(tmp_path: Path, database_url: Url) -> None:
    transactions = list[int]()
    async with opened(tmp_path / "desk", database_url) as store:
        await store.open()
        async with anyio.create_task_group() as tasks:
            for number in range(3):
                tasks.start_soon(store.write, noting(transactions, str(number)))
        assert len(transactions) == 3
        assert len(set(transactions)) == 1


async def test_writes_that_wait_together_share_a_savepoint(tmp_path: Path, database_url: Url) -> None:
    made = list[str]()

    def note(*arguments: Any) -> None:
        made.append(arguments[2])

    async with opened(tmp_path / "desk", database_url) as store:
        event.listen(await store.open(), "before_cursor_execute", note)
        await _write_together(store, (partial(store.write, adds(str(number))) for number in range(BATCH)))
        assert len([statement for statement in made if statement.startswith("SAVEPOINT")]) == 1
        assert await store.read(names) == {"first", *map(str, range(BATCH))}


async def test_a_change_that_fails_leaves_the_others_of_its_commit(tmp_path: Path, database_url: Url) -> None:
    failed = list[str]()

    async def write_badly(store: Store, name: str) -> None:
        with pytest.raises(LookupError, match=name):
            await store.write(fails_after_adding(name))
        failed.append(name)

    async with opened(tmp_path / "desk", database_url) as store:
        good = (partial(store.write, adds(f"good{number}")) for number in range(5))
        bad = (partial(write_badly, store, f"bad{number}") for number in range(5))
        await _write_together(store, (one for pair in zip(good, bad, strict=True) for one in pair))
        assert len(failed) == 5
        assert await store.read(names) == {"first", *(f"good{number}" for number in range(5))}


async def test_a_broken_constraint_is_the_error_of_its_own_write_alone(tmp_path: Path, database_url: Url) -> None:
    async with opened(tmp_path / "desk", database_url) as store:
        await store.write(adds("a"))
        with pytest.raises(Exception, match=r"(?i)unique"):
            await store.write(adds("a"))
        await store.write(adds("b"))
        assert await store.read(names) == {"a", "b"}


class Halt(BaseException):
    """Not an `Exception`, like the ones that end a program."""


async def test_no_write_is_acknowledged_because_another_one_broke_the_batch(tmp_path: Path, database_url: Url) -> None:
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

    async with opened(tmp_path / "desk", database_url) as store:
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
        assert await names_on_disk(tmp_path / "desk", database_url) == {"first", *acknowledged}


async def test_a_write_cancelled_while_it_waits_leaves_nothing(tmp_path: Path, database_url: Url) -> None:
    held, scope = Held("first"), anyio.CancelScope()

    async def cancelled(store: Store) -> None:
        with scope:
            await store.write(adds("never"))

    async with opened(tmp_path / "desk", database_url) as store:
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


async def test_a_write_in_a_scope_that_was_cancelled_before_is_not_begun(tmp_path: Path, database_url: Url) -> None:
    async with opened(tmp_path / "desk", database_url) as store:
        with anyio.CancelScope() as ended:
            ended.cancel()
            await store.write(adds("never"))
        assert ended.cancelled_caught
        assert await store.read(names) == set()


async def test_a_write_cancelled_while_it_runs_is_seen_through(tmp_path: Path, database_url: Url) -> None:
    held = Held("first")
    async with opened(tmp_path / "desk", database_url) as store:
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(store.write, held)
                await held.wait_inside()
                tasks.cancel_scope.cancel()
                held.go.set()
        assert await store.read(names) == {"first"}
        await store.write(adds("next"))
        assert await names_on_disk(tmp_path / "desk", database_url) == {"first", "next"}


async def test_a_reader_sees_one_state_while_others_write(tmp_path: Path, database_url: Url) -> None:
    async with opened(tmp_path / "desk", database_url) as store:
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


async def test_a_query_cannot_write_past_its_transaction(tmp_path: Path, database_url: Url) -> None:
    async with opened(tmp_path / "desk", database_url) as store:
        await store.write(adds("a"))
        with pytest.raises((LookupError, DBAPIError)):
            await store.read(fails_after_adding("b"))
        assert await store.read(names) == {"a"}


async def test_many_first_calls_at_once_open_one_store(tmp_path: Path, database_url: Url) -> None:
    secrets: list[str] = []

    async def read(store: Store) -> None:
        query = select(settings.c.value).where(settings.c.name == "secret")
        secrets.append(await store.read(lambda connection: connection.execute(query).scalar_one()))

    async with opened(tmp_path / "desk", database_url) as store:
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                for _ in range(30):
                    tasks.start_soon(read, store)
    assert len(secrets) == 30
    assert len(set(secrets)) == 1


async def test_a_store_that_was_closed_opens_again(tmp_path: Path, database_url: Url) -> None:
    async with opened(tmp_path / "desk", database_url) as store:
        await store.write(adds("a"))
        await store.close()
        await store.close()
        assert await store.read(names) == {"a"}


async def test_changes_of_one_lane_do_not_meet_even_from_two_stores(tmp_path: Path, database_url: Url) -> None:
    """What a change has looked up still holds when it writes."""
    counted = update(settings).where(settings.c.name == "count")

    def counts_up(connection: Connection) -> None:
        seen = connection.execute(select(settings.c.value).where(settings.c.name == "count")).scalar_one()
        connection.execute(counted.values(value=str(int(seen) + 1)))

    async with opened(tmp_path / "desk", database_url) as one, opened(tmp_path / "desk", database_url) as other:
        await one.write(adds("count", "0"))
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                for number in range(100):
                    tasks.start_soon((one, other)[number % 2].write, counts_up, "a lane")
        query = select(settings.c.value).where(settings.c.name == "count")
        assert await one.read(lambda connection: connection.execute(query).scalar_one()) == "100"


async def test_a_change_that_somebody_outside_the_lanes_was_ahead_of_finds_their_row(
    tmp_path: Path, database_url: Url
) -> None:
    looked: list[str | None] = []

    def looks_then_inserts(connection: Connection) -> None:
        query = select(settings.c.value).where(settings.c.name == "a")
        looked.append(connection.execute(query).scalar_one_or_none() if looked else None)
        if looked[-1] is None:
            adds("a", "ours")(connection)

    async with opened(tmp_path / "desk", database_url) as store:
        await store.write(adds("a", "theirs"))
        await store.write(looks_then_inserts)
    assert looked == [None, "theirs"]


async def test_a_write_that_others_keep_waiting_says_so_before_its_deadline_and_leaves_nothing(
    tmp_path: Path, database_url: Url, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "HASTE_S", 1.0)  # a slow machine says so in time, too
    held = Held("held")
    async with opened(tmp_path / "desk", database_url) as one, opened(tmp_path / "desk", database_url) as two:
        await two.open()
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(one.write, held, "lane")
                await held.wait_inside()
                for scope, deadline in ((2.0, math.inf), (math.inf, anyio.current_time() + 1.5)):
                    with anyio.move_on_after(scope) as waiting:
                        with pytest.raises(StoreBusyError):
                            await two.write(adds("late"), "lane", deadline=deadline)
                    assert not waiting.cancelled_caught
                held.go.set()
            await two.write(adds("after"), "lane")
        assert await two.read(names) == {"held", "after"}


async def test_a_caller_that_asyncio_cancels_during_its_commit_cancels_no_other(
    tmp_path: Path, database_url: Url
) -> None:
    """As `asyncio.wait_for` does: no shield holds its cancellation back."""
    first, leading = Held("first"), Held("leading")
    async with opened(tmp_path / "desk", database_url) as store:
        with anyio.fail_after(30):
            before = asyncio.ensure_future(store.write(first))
            await first.wait_inside()
            leader, follower = (asyncio.ensure_future(store.write(change)) for change in (leading, adds("following")))
            await anyio.wait_all_tasks_blocked()
            first.go.set()
            await leading.wait_inside()
            leader.cancel()
            await asyncio.wait([leader, follower])
            leading.go.set()
            assert await store.write(adds("next")) == "next"
        assert (await before, leader.cancelled(), follower.cancelled()) == ("first", True, False)
        assert "not known" in str(follower.exception())
        assert {"first", "next"} <= await store.read(names)
