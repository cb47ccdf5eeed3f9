"""A desk with very many calls, and how long searches for words that were said in them take."""

from __future__ import annotations

import random
import statistics
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

import httpx2
from conftest import DESK_URL, KEY
from pydantic import SecretStr
from sqlalchemy import Connection, Engine, insert, select

from calltriage.desk.app import Desk
from calltriage.desk.database.call_words import drop_call_index, make_call_index, place_of
from calltriage.desk.database.tables import call_words, calls, settings
from calltriage.desk.database.transaction import Principal, Transaction
from calltriage.desk.handlers.call_search import search_calls
from calltriage.leaves.instants import written
from calltriage.matching.spoken_search import call_terms
from calltriage.operations.calls import SearchCalls

RARE, COMMON, ABSENT = "zanzibar", "refund", "qqxxqq"
HALVES = ("early", "late")
"""Two words of which each call has one."""
SEARCHES: dict[str, dict[str, Any]] = {
    "rare word": {"query": RARE},
    "common word": {"query": COMMON},
    "absent word": {"query": ABSENT},
    "rare and common word": {"query": f"{COMMON} {RARE}"},
    "two common words": {"query": f"{COMMON} {HALVES[0]}"},
    "two common words that never meet": {"query": " ".join(HALVES)},
    "common word, one day": {"query": COMMON, "start_date": "2025-01-02", "end_date": "2025-01-02"},
    "common word, one number": {"query": COMMON, "number": "+15550000007"},
    "number, spoken in most": {"query": "three thirty"},
    "number, written in some": {"query": "$55"},
    "rare number": {"query": "seven thousand seven hundred and seventy seven"},
    "number as a phrase": {"query": f'"{COMMON} at 3:30"'},
    "word that another language counts with": {"query": "once"},
}
TURNS, POOL, BATCH = 20, 4000, 5000
BEGAN = datetime(2025, 1, 1, tzinfo=UTC)


def _pool(source: random.Random) -> list[tuple[dict[str, Any], dict[str, None]]]:
    """Turns to choose from, with their terms. Every 30th has the common word, which so is in about half of the
    calls; every 10th a time of day, every 400th an amount."""
    words = [f"word{n}" for n in range(3000)]
    found: list[tuple[dict[str, Any], dict[str, None]]] = []
    for n in range(POOL):
        text = " ".join(source.choices(words, k=10)) + (f" {COMMON}" if n % 30 == 0 else "")
        text += " at three thirty" if n % 10 == 0 else " fifty five dollars" if n % 400 == 1 else ""
        found.append(({"id": n, "user": ("user", "assistant")[n % 2], "text": text}, call_terms([text])))
    return found


def _rows(count: int, org: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    source = random.Random(7)
    pool, mark = _pool(source), f"org:{org.replace('-', '')}"
    rare = {count // 5, count // 2, count - count // 7}
    for n in range(count):
        at = written(BEGAN + timedelta(seconds=30 * n))
        half: dict[str, Any] = {"id": TURNS - 1, "user": "user", "text": f"i called {HALVES[n % 2]}"}
        chosen = source.choices(pool, k=TURNS - 1)
        said = {mark: None} | call_terms([half["text"]])
        for _, of_turn in chosen:
            said |= of_turn
        turns = [*(turn for turn, _ in chosen), half]
        if n in rare:
            text = f"{RARE} 7777"
            turns, said = [*turns, {"id": TURNS, "user": "user", "text": text}], said | call_terms([text])
        number = f"+1555{n % 200_000:07}"
        record = {
            "call_id": f"c-{n}",
            "created_at": at,
            "transcripts": turns,
            "metadata": {"from": number},
            "summary": None,
        }
        yield (
            {"seq": n + 1, "org_id": org, "id": f"c-{n}", "summary": "", "created_at": at, "updated_at": at,
             "record": record, "events": [], "corrected": None, "digest": "", "from_number": number, "completed": True,
             "call_length": 3.0},
            {"place": place_of(at, n + 1), "org_id": org, "call_id": f"c-{n}", "terms": " ".join(said)},
        )  # fmt: skip


def fill_calls(engine: Engine, count: int) -> None:
    """Fill an empty desk; its index is made at the end, in one go."""
    is_file = engine.dialect.name == "sqlite"
    with engine.connect().execution_options(begin="IMMEDIATE") as connection, connection.begin():
        org = connection.execute(select(settings.c.value).where(settings.c.name == "org_id")).scalar_one()
        drop_call_index(connection)
        rows, batch = _rows(count, org), list[tuple[dict[str, Any], dict[str, Any]]]()
        for n, row in enumerate(rows, 1):
            batch.append(row)
            if len(batch) == BATCH or n == count:
                connection.execute(insert(calls), [call for call, _ in batch])
                connection.execute(insert(call_words), [words for _, words in batch])
                batch.clear()
                print(f"\r{n:,} calls", end="", file=sys.stderr, flush=True)
        make_call_index(connection)
    if not is_file:  # what its own housekeeping does a minute later
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE calls")
            connection.exec_driver_sql("VACUUM ANALYZE call_words")
    print(file=sys.stderr)


async def measured(desk: Desk, rounds: int) -> dict[str, tuple[float, float, dict[str, Any]]]:
    """By search: milliseconds in the store and over HTTP, and what the desk answered."""
    org = await desk.tenants.organisation(None)
    found: dict[str, tuple[float, float, dict[str, Any]]] = {}
    transport = httpx2.ASGITransport(desk)
    async with httpx2.AsyncClient(transport=transport, base_url=DESK_URL, headers={"authorization": KEY}) as http:
        for name, asked in SEARCHES.items():
            call, inside, outside = SearchCalls.model_validate(asked), list[float](), list[float]()

            def search(connection: Connection, call: SearchCalls = call, inside: list[float] = inside) -> None:
                began = perf_counter()
                search_calls(Transaction(connection, Principal(org, "u"), BEGAN, b"s" * 32, ""), call)
                inside.append((perf_counter() - began) * 1000)

            body: dict[str, Any] = {}
            for _ in range(rounds):
                await desk.store.read(search)
                began = perf_counter()
                body = (await http.get("/v1/calltriage/calls", params=asked)).json()
                outside.append((perf_counter() - began) * 1000)
            found[name] = statistics.median(inside), statistics.median(outside), body
    return found


async def filled(folder: Path, url: SecretStr | None, count: int) -> Desk:
    """A desk with so many calls; one that has some is taken as it is."""
    desk = Desk(folder, SecretStr(KEY), DESK_URL, database_url=url)
    await desk.tenants.organisation(None)
    if not await desk.store.read(lambda connection: connection.execute(select(calls.c.id).limit(1)).first()):
        await desk.store.write(lambda connection: None)
        engine = desk.store._open()  # pyright: ignore[reportPrivateUsage]
        fill_calls(engine, count)
        engine.dispose()
    return desk
