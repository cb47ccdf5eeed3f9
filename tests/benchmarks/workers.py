"""Print, as Markdown, what a desk on a port answers a second by one and by two processes, in turn.

uv run --group dev python tests/benchmarks/workers.py [--workers 1 2] [--requests 2000] [--rounds 3] [--postgres]

Each client is a process of its own with eight kept connections, as many clients as there are cores. They share the machine
with the desk, so a machine of few cores shows less than the desk can.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parents[1]))

from contenders import DeskAddress
from postgres import PostgresServer
from processes import desk_on_a_port

CONNECTIONS = 8
NEW = json.dumps({"title": "A call to look into", "severity": "low", "category": "Bug"}).encode()


def ask(desk: DeskAddress, method: str, path: str, count: int, body: bytes | None = None) -> bytes:
    """Send a request so many times on one connection; the last answer."""
    target, answer = urlsplit(desk.url), b""
    kept = http.client.HTTPConnection(target.hostname or "", target.port)
    for _ in range(count):
        kept.request(method, path, body, {"authorization": desk.key, "content-type": "application/json"})
        reply = kept.getresponse()
        answer = reply.read()
        assert reply.status < 300, answer
    kept.close()
    return answer


def client(desk: DeskAddress, method: str, path: str, count: int, body: bytes | None) -> None:
    """Eight connections at once."""
    work = (desk, method, path, count // CONNECTIONS, body)
    threads = [threading.Thread(target=ask, args=work) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def rate(desk: DeskAddress, method: str, path: str, count: int, body: bytes | None = None) -> float:
    """Requests a second of all clients."""
    clients = os.cpu_count() or 1
    work = (desk, method, path, count // clients, body)
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=client, args=work) for _ in range(clients)]
    began = perf_counter()
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert all(process.exitcode == 0 for process in processes)
    return count / (perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--postgres", action="store_true")
    given = parser.parse_args()
    best: dict[int, list[float]] = {count: [0.0, 0.0] for count in given.workers}
    with ExitStack() as stack:
        settings = dict[str, str]()
        if given.postgres:
            server = stack.enter_context(PostgresServer(durable=True))
            settings["CALLTRIAGE_DATABASE_URL"] = stack.enter_context(server.database())
        desks = dict[int, DeskAddress]()
        for count in given.workers:
            folder = Path(stack.enter_context(TemporaryDirectory()))
            desks[count] = stack.enter_context(desk_on_a_port(folder, "--workers", str(count), **settings))
        for _ in range(given.rounds):
            for count, desk in desks.items():
                issue = json.loads(ask(desk, "POST", "/v1/triage/issues", 1, NEW))["data"]["id"]
                reads = rate(desk, "GET", f"/v1/triage/issues/{issue}", given.requests)
                writes = rate(desk, "POST", "/v1/triage/issues", given.requests // 4, NEW)
                best[count] = [max(best[count][0], reads), max(best[count][1], writes)]
    print("| processes | reads a second | issues created a second |\n|---|---|---|")
    for count, (reads, writes) in best.items():
        print(f"| {count} | {reads:,.0f} | {writes:,.0f} |")


if __name__ == "__main__":
    main()
