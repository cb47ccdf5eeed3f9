"""Pipelines whose processes are killed again and again: no call is lost, nothing is filed twice, few are read again.

uv run pytest -n0 -m long -s tests/reliability/test_pipeline_crashes.py      200 rounds; prints figures and the seed
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, LiteralString

import anyio
import anyio.to_thread
import httpx2
import psycopg
import pytest
from conftest import KEY, endpoints_to, load_lines
from e2e.processes import load
from pipeline_lines import silent_line
from postgres import PostgresServer
from pydantic import SecretStr
from reliability.killing import (
    PATIENCE,
    PIPELINE,
    Command,
    Vendor,
    first,
    flags,
    killed_at_the_end,
    pipeline_settings,
    served,
    told,
)
from reliability.seeds import seeded

from calltriage.client.client import open_client
from calltriage.desk.app import Desk

pytestmark = pytest.mark.slow

FEW_OR_MANY = [pytest.param(10, id="few"), pytest.param(200, id="many", marks=pytest.mark.long)]
AT_ONCE = 10
"""Calls that one process has in hand, at most: twice its requests in flight. Those are read again when it is killed."""
SILENT_UNTIL = 1_500
"""The issue holds as many calls as the file says; later ones are not silent."""


@pytest.fixture(params=["embedded", "queue"])
def database(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """None for the embedded runner; the queue's database."""
    if request.param == "embedded":
        yield None
        return
    with request.getfixturevalue("postgres").database() as url:
        yield url


def call(number: int) -> str:
    return f"call-{number:06}"


def lines(calls: int) -> list[str]:
    """Calls of which every tenth is silent, and filed."""
    return [silent_line(call(n), 9.5 if n % 10 == 0 and n < SILENT_UNTIL else 1) for n in range(calls)]


async def vendor_with(folder: Path, calls: int) -> Vendor:
    """Empty but for these calls, and the file of the pipeline beside it."""
    (folder / "p.toml").write_text(PIPELINE)
    desk = Desk(folder / "desk", SecretStr(KEY), "http://desk.test")
    await load_lines(desk, *lines(calls))
    return Vendor(desk)


def is_done(database: str) -> bool:
    """Whether the newest run is through."""
    return _asked(database, "SELECT state FROM pipeline_runs ORDER BY created_at DESC LIMIT 1") == "done"


def has_begun(database: str) -> bool:
    """Whether there is a run."""
    return bool(_asked(database, "SELECT count(*) FROM pipeline_runs"))


def has_much_to_do(database: str) -> bool:
    """Whether a run has not ended before its command is started again, which would begin another one."""
    return int(_asked(database, "SELECT count(*) FROM pipeline_items WHERE state = 'new'") or 0) > 400


def _asked(database: str, query: LiteralString) -> Any:
    """One figure; None before there are tables."""
    with suppress(psycopg.errors.UndefinedTable), psycopg.connect(database, autocommit=True) as connection:
        row = connection.execute(query).fetchone()
        return None if row is None else row[0]
    return None


def read_again(vendor: Vendor) -> int:
    """How often a call was read once more. Filing reads, too: those that are filed do not count."""
    filed = {call(n) for n in range(0, SILENT_UNTIL, 10)}
    return sum(count - 1 for call_id, count in vendor.read.items() if call_id not in filed)


async def check(vendor: Vendor, calls: int, kills: int) -> None:
    """Each call was read, each silent one flagged once, and no more was read again than was in hand."""
    silent = {call(n) for n in range(0, min(calls, SILENT_UNTIL), 10)}
    flagged = await vendor.flagged()
    lost = [call(n) for n in range(calls) if not vendor.read[call(n)]]
    again = read_again(vendor)
    twice = [call_id for call_id, count in flagged.items() if count > 1]
    reads = sum(vendor.read.values())
    told(kills=kills, calls=calls, lost=len(lost), flagged_twice=len(twice), read_again=again, share=again / reads)
    assert (lost, twice, set(flagged)) == ([], [], silent)
    assert again <= kills * AT_ONCE


@pytest.mark.parametrize("rounds", FEW_OR_MANY)
async def test_a_run_that_is_killed_again_and_again_loses_nothing_and_files_once(tmp_path: Path, rounds: int) -> None:
    chance, calls = seeded(), 60 * rounds
    vendor = await vendor_with(tmp_path, calls)
    async with served(vendor) as address:
        run = Command(tmp_path / "one", ["pipeline", "run", str(tmp_path / "p.toml")], pipeline_settings(address))
        async with killed_at_the_end(run):
            for _ in range(rounds):
                await run.start()
                await first(partial(vendor.reaches, vendor.requests + chance.randrange(1, 120)), run.ended)
                await run.kill()
                if run.process.returncode == 0:
                    break
            else:
                await run.start()
                assert await run.ended() == 0
    await check(vendor, calls, run.kills)
    assert run.kills >= rounds // 2
    await vendor.desk.close()


@pytest.mark.parametrize("rounds", FEW_OR_MANY)
async def test_a_run_of_three_processes_of_which_any_is_killed_again_and_again_loses_nothing_and_files_once(
    tmp_path: Path, postgres: PostgresServer, rounds: int
) -> None:
    chance, calls = seeded(), 100 * rounds
    vendor = await vendor_with(tmp_path, calls)
    with postgres.database() as url:
        async with served(vendor) as address:
            crew = [
                Command(
                    tmp_path / name, ["pipeline", command, str(tmp_path / "p.toml")], pipeline_settings(address, url)
                )
                for name, command in (("one", "run"), ("two", "worker"), ("three", "worker"))
            ]
            async with killed_at_the_end(*crew):
                for one in crew:
                    await one.start()
                await _kill_any(crew, vendor, url, chance, rounds)
                kills = sum(one.kills for one in crew)
                while not is_done(url):
                    await crew[0].start()
                    await crew[0].ended()
    await check(vendor, calls, kills)
    assert kills >= rounds // 2
    await vendor.desk.close()


async def _kill_any(crew: list[Command], vendor: Vendor, url: str, chance: random.Random, rounds: int) -> None:
    """Kill one of the processes at a time and start it again."""
    run, *workers = crew
    for _ in range(rounds):
        victim = chance.choice(crew if has_much_to_do(url) else workers)
        with anyio.move_on_after(PATIENCE):
            await first(partial(vendor.reaches, vendor.requests + chance.randrange(1, 120)), run.process.wait)
        await victim.kill()
        if is_done(url):
            await run.kill()
            return
        for one in {run, victim} if run.process.returncode is not None else {victim}:
            await one.start()


@pytest.mark.long
async def test_of_a_long_run_that_is_killed_twice_hardly_a_call_is_read_again(
    tmp_path: Path, database: str | None
) -> None:
    chance, calls, kills = seeded(), 20_000, 2
    vendor = await vendor_with(tmp_path, calls)
    async with served(vendor) as address:
        command = ["pipeline", "run", str(tmp_path / "p.toml")]
        run = Command(tmp_path / "one", command, pipeline_settings(address, database))
        async with killed_at_the_end(run):
            for _ in range(kills):
                await run.start()
                await first(
                    partial(vendor.reaches, vendor.requests + chance.randrange(500, calls // 5)), run.process.wait
                )
                await run.kill()
            await run.start()
            assert await run.process.wait() == 0
    assert run.kills == kills
    await check(vendor, calls, kills)
    assert read_again(vendor) <= calls / 1_000
    await vendor.desk.close()


async def test_a_worker_of_three_that_is_lost_and_never_comes_back_loses_nothing(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    vendor = await vendor_with(tmp_path, 400)
    with postgres.database() as url:
        async with served(vendor) as address:
            settings, file = pipeline_settings(address, url), str(tmp_path / "p.toml")
            crew = [
                Command(tmp_path / name, ["pipeline", "worker", file], settings) for name in ("one", "two", "three")
            ]
            run = Command(tmp_path / "run", ["pipeline", "run", file], settings)
            async with killed_at_the_end(*crew, run):
                for one in [*crew, run]:
                    await one.start()
                with anyio.fail_after(PATIENCE):
                    await vendor.reaches(100)
                await crew[0].kill()
                assert await run.ended() == 0
        assert is_done(url)
    await check(vendor, 400, 1)
    await vendor.desk.close()


async def test_a_worker_that_is_asked_to_end_leaves_at_once_and_the_others_go_on(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    vendor = await vendor_with(tmp_path, 200)
    with postgres.database() as url:
        async with served(vendor) as address:
            settings, file = pipeline_settings(address, url), str(tmp_path / "p.toml")
            worker = Command(tmp_path / "worker", ["pipeline", "worker", file], settings)
            run = Command(tmp_path / "run", ["pipeline", "run", file], settings)
            async with killed_at_the_end(worker, run):
                for one in (worker, run):
                    await one.start()
                with anyio.fail_after(PATIENCE):
                    await vendor.reaches(60)
                worker.process.terminate()
                assert await worker.ended() == 0
                assert await run.ended() == 0
        assert is_done(url)
    await check(vendor, 200, 1)
    await vendor.desk.close()


@pytest.mark.parametrize("rounds", FEW_OR_MANY)
async def test_a_watch_that_is_killed_again_and_again_examines_each_call_and_files_it_once(
    tmp_path: Path, database: str | None, rounds: int
) -> None:
    chance = seeded()
    vendor = await vendor_with(tmp_path, 0)
    silent = list[str]()
    async with served(vendor) as address:
        command = ["pipeline", "watch", str(tmp_path / "p.toml"), "--port", "0"]
        watch = Command(tmp_path / "one", command, pipeline_settings(address, database))
        async with killed_at_the_end(watch):
            for number in range(rounds):
                await watch.start()
                with anyio.fail_after(PATIENCE):  # it has begun to look: what is new from now on is its matter
                    await vendor.reaches(vendor.requests + 1)
                silent += await _called(vendor, number, 9.5 if len(silent) < SILENT_UNTIL // 10 else 1)
                with anyio.fail_after(PATIENCE):
                    await vendor.reaches(vendor.requests + chance.randrange(1, 30))
                await watch.kill()
            await watch.start()
            with anyio.fail_after(PATIENCE):
                while set(await vendor.flagged()) != set(silent):
                    await vendor.reaches(vendor.requests + 1)
    flagged = await vendor.flagged()
    told(kills=watch.kills, calls=4 * rounds, flagged_twice=sum(count > 1 for count in flagged.values()))
    assert set(flagged.values()) == {1}
    await vendor.desk.close()


async def _called(vendor: Vendor, number: int, silence_s: float) -> list[str]:
    """Four calls that have just ended; those that are silent."""
    made = datetime.now(UTC).isoformat(timespec="milliseconds")
    names = [f"call-{number:03}-{n}" for n in range(4)]
    await load_lines(vendor.desk, *(silent_line(name, silence_s, created_at=made) for name in names))
    return names if silence_s > 8 else []


@pytest.mark.parametrize("rounds", [pytest.param(4, id="few"), pytest.param(40, id="many", marks=pytest.mark.long)])
async def test_a_desk_that_is_killed_under_a_run_again_and_again_loses_nothing_and_has_nothing_twice(
    tmp_path: Path, database: str | None, rounds: int
) -> None:
    chance, calls = seeded(), 60 * rounds
    (tmp_path / "p.toml").write_text(PIPELINE)
    folder = tmp_path / "desk"
    folder.mkdir()
    await load(folder, *lines(calls))
    with anyio.fail_after(2 * PATIENCE):
        port = await _free_port()
        address = f"http://127.0.0.1:{port}"
        desk = Command(folder, ["desk", "serve", "--port", str(port)], {"CALLTRIAGE_DESK_API_KEY": KEY})
        run = Command(
            tmp_path / "one", ["pipeline", "run", str(tmp_path / "p.toml")], pipeline_settings(address, database)
        )
        async with killed_at_the_end(desk, run):
            await desk.start()
            await _answers(address)
            await run.start()
            for _ in range(rounds):
                with anyio.move_on_after(chance.uniform(0.2, 2.0)):
                    await run.process.wait()
                await desk.kill()
                await desk.start()
                await _answers(address)
            assert await run.process.wait() == 0
            async with open_client(endpoints_to(httpx2.AsyncHTTPTransport(), address)) as client:
                flagged = await flags(client)
            kills = desk.kills
    silent = {call(n) for n in range(0, min(calls, SILENT_UNTIL), 10)}
    told(kills=kills, calls=calls, flagged_twice=sum(count > 1 for count in flagged.values()))
    assert (set(flagged), set(flagged.values())) == (silent, {1})


@pytest.mark.parametrize("rounds", [pytest.param(3, id="few"), pytest.param(30, id="many", marks=pytest.mark.long)])
async def test_a_database_that_crashes_again_and_again_under_a_run_loses_nothing(tmp_path: Path, rounds: int) -> None:
    chance, calls = seeded(), 100 * rounds
    vendor = await vendor_with(tmp_path, calls)
    with PostgresServer() as postgres, postgres.database() as url:
        async with served(vendor) as address:
            settings, file = pipeline_settings(address, url), str(tmp_path / "p.toml")
            crew = [Command(tmp_path / name, ["pipeline", name, file], settings) for name in ("run", "worker")]
            async with killed_at_the_end(*crew):
                for one in crew:
                    await one.start()
                with anyio.fail_after(PATIENCE):
                    while not has_begun(url):  # before that, a database that is away is told at once
                        await vendor.reaches(vendor.requests + 1)
                for _ in range(rounds):
                    await first(partial(vendor.reaches, vendor.requests + chance.randrange(1, 120)), crew[0].ended)
                    await anyio.to_thread.run_sync(postgres.kill_and_restart)
                assert await crew[0].ended() == 0
        assert is_done(url)
    await check(vendor, calls, 2 * rounds)
    await vendor.desk.close()


async def _free_port() -> int:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
    assert isinstance(port, int)
    return port


async def _answers(address: str) -> None:
    async with httpx2.AsyncClient() as client:
        while True:
            try:
                if (await client.get(f"{address}/healthz")).status_code == 200:
                    return
            except httpx2.TransportError:
                await anyio.sleep(0.1)
