"""Print how long a large desk takes to answer, and where the time goes.

uv run --group dev python tests/benchmarks/million.py [--issues 1000000] [--rounds 15] [--folder FOLDER] [--postgres]

With --folder the desk is kept there and used again. Figures are in milliseconds: the mean inside the store's transactions,
the median through the desk's HTTP in this process, and the median through the client; the bundle is the tool's, over
MCP in memory. Its moments are the flags shown with their turns, each read from a call of its own; its entries are all that
it shows.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import anyio
import httpx2
from mcp.client import Client as McpClient
from pydantic import SecretStr
from sqlalchemy import event

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from conftest import DESK_URL, KEY, endpoints_to
from generated import COMMON, RARE, fill
from postgres import PostgresServer

from calltriage.client.client import Client, open_client
from calltriage.desk.app import Desk
from calltriage.operations.issues import ListIssues
from calltriage.server.app import build_server
from calltriage.server.files.local import FileRoots

LISTS: dict[str, dict[str, Any]] = {
    "first page": {},
    "first page, status and severity": {"status": ["todo"], "severity": ["high"]},
    "first page, three statuses": {"status": ["todo", "in_progress", "in_review"]},
    "first page, a rare status": {"status": ["in_review"]},
    "first page, one assignee": {"assignee_id": "user-17"},
    "first page, one category": {"category": ["category 7"]},
    "first page, with a call attached": {"resource_type": "call"},
    "first page, by severity": {"sort": "severity"},
    "first page, by status, ascending": {"sort": "status", "order": "asc"},
    "first page, created in 90 days": {"date_range": "90d", "date_field": "created_at"},
    "search, rare word": {"search": RARE},
    "search, common word": {"search": COMMON},
    "search, word that is not there": {"search": "qqxxqq"},
    "search, one letter": {"search": "b"},
    "search, two rare letters": {"search": "zy"},
    "search, common word and rare status": {"search": COMMON, "status": ["in_review"]},
    "search, ticket number": {"search": "T-150000"},
}
DEEP = 400
"""Pages turned before the deep page is measured: 40,000 issues down."""


class StoreTime:
    """Milliseconds spent in transactions since it was last asked, and how many statements there were."""

    def __init__(self, engine: Any) -> None:
        self.spent, self.count, self._here = 0.0, 0, threading.local()
        event.listen(engine, "begin", self._begin)
        event.listen(engine, "commit", self._end)
        event.listen(engine, "before_cursor_execute", self._statement)

    def _begin(self, _: Any) -> None:
        self._here.began = perf_counter()

    def _end(self, _: Any) -> None:
        self.spent += perf_counter() - self._here.began

    def _statement(self, *_: Any) -> None:
        self.count += 1

    def taken(self) -> tuple[float, int]:
        taken = self.spent * 1000, self.count
        self.spent, self.count = 0.0, 0
        return taken


async def timed(rounds: int, act: Callable[[], Awaitable[Any]]) -> float:
    times: list[float] = []
    await act()
    for _ in range(rounds):
        before = perf_counter()
        await act()
        times.append((perf_counter() - before) * 1000)
    return statistics.median(times)


async def page_down(http: httpx2.AsyncClient, query: dict[str, Any]) -> dict[str, Any]:
    """The question for a deep page."""
    deep = dict(query)
    for _ in range(DEEP):
        page = (await http.get("/v1/triage/issues", params={**deep, "limit": 100})).json()["data"]
        if page["next_cursor"] is None:
            break
        deep["cursor"] = page["next_cursor"]
    return deep


async def measure_lists(http: httpx2.AsyncClient, client: Client, sql: StoreTime, rounds: int) -> None:
    print(f"{'list of 50':<40} {'store':>9} {'desk':>9} {'client':>9}   statements")
    deep = await page_down(http, {"status": ["todo"]})
    for name, wanted in {**LISTS, f"page {DEEP}, one status": deep}.items():

        async def ask(wanted: dict[str, Any] = wanted) -> None:
            answer = await http.get("/v1/triage/issues", params=wanted)
            assert answer.status_code == 200, answer.text

        sql.taken()
        desk = await timed(rounds, ask)
        spent, count = sql.taken()
        through = await timed(rounds, lambda wanted=wanted: client.send(ListIssues(**wanted)))
        print(f"{name:<40} {spent / (rounds + 1):9.2f} {desk:9.2f} {through:9.2f}   {count / (rounds + 1):.0f}")


async def measure_bundles(agent: McpClient, linked: dict[int, str], sql: StoreTime, rounds: int) -> None:
    names = f"{'store':>9} {'tool':>9} {'answer':>9}   {'moments':>8} {'entries':>8}   statements"
    print(f"\n{'evidence bundle of an issue with':<40} {names}")
    for count, issue in linked.items():
        size, moments, entries = 0, 0, 0

        async def ask(issue: str = issue) -> None:
            nonlocal size, moments, entries
            result = await agent.call_tool("get_evidence", {"issue_id": issue})
            assert not result.is_error, result
            body = result.structured_content or {}
            size, moments = len(json.dumps(body)), sum("turns" in flag for flag in body["flags"]["items"])
            entries = sum(len(body[name]["items"]) for name in ("flags", "resources", "relations", "activity"))

        sql.taken()
        whole = await timed(rounds, ask)
        spent, statements = sql.taken()
        print(
            f"{f'{count:,} links':<40} {spent / (rounds + 1):9.2f} {whole:9.2f} {size:8d}B   {moments:8d} {entries:8d}   "
            f"{statements / (rounds + 1):.0f}"
        )


async def main(given: argparse.Namespace) -> None:
    async with AsyncExitStack() as stack:
        folder = Path(given.folder or stack.enter_context(TemporaryDirectory()))
        url = None
        if given.postgres:
            server = stack.enter_context(PostgresServer(durable=True))
            url = SecretStr(stack.enter_context(server.database()))
        desk = Desk(folder, SecretStr(KEY), DESK_URL, database_url=url)
        stack.push_async_callback(desk.close)
        engine, kept = await desk.store.open(), folder / f"linked-{given.issues}.json"
        if given.postgres or not kept.exists():
            before = perf_counter()
            linked = await anyio.to_thread.run_sync(fill, engine, given.issues)
            kept.write_text(json.dumps(linked))
            print(f"{given.issues:,} issues generated in {perf_counter() - before:.0f} s")
        linked = {int(count): issue for count, issue in json.loads(kept.read_text()).items()}
        transport = httpx2.ASGITransport(desk)
        http = httpx2.AsyncClient(transport=transport, base_url=DESK_URL, headers={"authorization": KEY})
        await stack.enter_async_context(http)
        client = await stack.enter_async_context(open_client(endpoints_to(transport)))
        agent = await stack.enter_async_context(McpClient(build_server(client, version="0", files=FileRoots(()))))
        sql = StoreTime(engine)
        await measure_lists(http, client, sql, given.rounds)
        await measure_bundles(agent, linked, sql, given.rounds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--issues", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--folder")
    parser.add_argument("--postgres", action="store_true")
    anyio.run(main, parser.parse_args())
