"""One holder of a turn at a time, on both stores, also over ledgers that know nothing of each other."""

from __future__ import annotations

import threading
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
from ledgers import Url, opened_ledger
from postgres import PostgresServer
from pydantic import SecretStr

from calltriage.pipelines.ledger import Ledger
from calltriage.pipelines.ledger.turns import LANES, alone, held


async def test_of_many_that_want_a_turn_one_has_it_at_a_time(tmp_path: Path, ledger_url: Url) -> None:
    inside, most, times = 0, 0, 0

    async def hold(ledger: Ledger) -> None:
        nonlocal inside, most, times
        async with alone(ledger, "an incident"):
            inside += 1
            times += 1
            most = max(most, inside)
            await anyio.lowlevel.checkpoint()
            await ledger.read(lambda connection: None)
            inside -= 1

    async with (
        opened_ledger(tmp_path, ledger_url) as one,
        opened_ledger(tmp_path, ledger_url) as other,
        anyio.create_task_group() as group,
    ):
        for ledger in (one, other, one, other, one):
            group.start_soon(hold, ledger)
    assert (most, times) == (1, 5)


async def test_each_two_of_many_turns_are_taken_together_and_one_twice_is_one(tmp_path: Path, ledger_url: Url) -> None:
    """More names than lanes: some share one."""
    names = [f"incident {number}" for number in range(LANES + 6)]
    async with opened_ledger(tmp_path, ledger_url) as ledger:
        with anyio.fail_after(60):
            for name in names:
                async with alone(ledger, names[0], name):
                    pass


async def test_those_that_want_the_same_turns_in_any_order_do_not_wait_for_each_other(
    tmp_path: Path, ledger_url: Url
) -> None:
    inside, most, times = 0, 0, 0

    async def hold(ledger: Ledger, *names: str) -> None:
        nonlocal inside, most, times
        for _ in range(5):
            async with alone(ledger, *names):
                inside, times = inside + 1, times + 1
                most = max(most, inside)
                await ledger.read(lambda connection: None)
                inside -= 1

    with anyio.fail_after(60):
        async with (
            opened_ledger(tmp_path, ledger_url) as one,
            opened_ledger(tmp_path, ledger_url) as other,
            anyio.create_task_group() as group,
        ):
            for names in (("a", "b", "c"), ("c", "b"), ("b", "a")):
                group.start_soon(hold, one, *names)
                group.start_soon(hold, other, *names[::-1])
    assert (most, times) == (1, 30)


async def test_a_turn_that_ends_with_an_error_is_free(tmp_path: Path, ledger_url: Url) -> None:
    async with opened_ledger(tmp_path, ledger_url) as one, opened_ledger(tmp_path, ledger_url) as other:
        try:
            async with alone(one, "an incident"):
                raise LookupError
        except LookupError:
            pass
        async with alone(other, "an incident"):
            pass


async def test_a_turn_that_is_kept_for_long_is_one_s_at_a_time(tmp_path: Path, ledger_url: Url) -> None:
    async with opened_ledger(tmp_path, ledger_url) as one, opened_ledger(tmp_path, ledger_url) as other:
        async with held(one, "a"), held(other, "a") as second, held(other, "b") as third:
            assert (second is None, third is not None) == (True, True)
        async with held(other, "a") as second:
            assert second is not None


async def test_who_works_on_a_run_waits_for_one_who_only_looks_at_it(tmp_path: Path, ledger_url: Url) -> None:
    async with (
        opened_ledger(tmp_path, ledger_url) as one,
        opened_ledger(tmp_path, ledger_url) as other,
        anyio.create_task_group() as tasks,
        AsyncExitStack() as looking,
    ):
        await looking.enter_async_context(held(one, "a"))

        async def work() -> None:
            async with held(other, "a", 30) as turn:
                assert turn is not None

        tasks.start_soon(work)
        await anyio.wait_all_tasks_blocked()
        await looking.aclose()


async def test_a_turn_that_was_lost_with_its_session_is_taken_again_unless_somebody_has_it(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    with postgres.database() as url:
        secret = SecretStr(url)
        async with (
            opened_ledger(tmp_path, secret) as one,
            opened_ledger(tmp_path, secret) as other,
            held(one, "a") as first,
        ):
            assert first is not None
            postgres.disconnect_all(url)
            assert await first.take()
            async with held(other, "a") as second:
                assert second is None
            postgres.disconnect_all(url)
            async with held(other, "a") as second:
                assert second is not None
                assert not await first.take()


def test_no_two_hold_a_turn_whose_lock_file_comes_and_goes(tmp_path: Path) -> None:
    guard, inside, most = threading.Lock(), 0, 0

    async def take() -> None:
        nonlocal inside, most
        async with opened_ledger(tmp_path) as ledger:
            for _ in range(100):
                async with held(ledger, "a") as turn:
                    if turn is not None:
                        with guard:
                            inside += 1
                            most = max(most, inside)
                        await anyio.lowlevel.checkpoint()
                        with guard:
                            inside -= 1

    threads = [threading.Thread(target=anyio.run, args=(take,)) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert most == 1
