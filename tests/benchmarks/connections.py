"""Print what a kept connection costs beside a new one, and what unread answers hold in memory, on both servers.

uv run --group dev python tests/benchmarks/connections.py [--requests 200] [--downloads 150] [--mib 20]

Kept and new connections take turns in one run, one request each. Then so many long lists of issues are asked for at once and
not read, and so many downloads of one file; memory is the process's own (VmRSS) over what it had before them: while they are
held, and after their clients have left.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parents[1]))

from contenders import OVER_HTTP, inside
from files import MIB, Attachments
from processes import HEADERS, OverHttp, Process, desk_on_a_port

SETTLE = 20.0
"""Seconds after which memory is read: time to work out all answers."""
ISSUES, LONG = 100, "word " * 1800
"""Issues of a long list, and the description of each."""


def kept_against_new(url: str, method: str, body: bytes | None, headers: dict[str, str], count: int) -> str:
    """Milliseconds of a request on a kept connection and on a new one, in turn."""
    target, took = urlsplit(url), dict[str, list[float]](kept=[], new=[])

    def ask(connection: http.client.HTTPConnection) -> None:
        connection.request(method, target.path, body, headers)
        connection.getresponse().read()

    kept = http.client.HTTPConnection(target.hostname or "", target.port)
    ask(kept)
    for _ in range(count):
        begun = perf_counter()
        ask(kept)
        between = perf_counter()
        fresh = http.client.HTTPConnection(target.hostname or "", target.port)
        ask(fresh)
        fresh.close()
        took["kept"].append(between - begun)
        took["new"].append(perf_counter() - between)
    return ", ".join(
        f"{kind} p50 {median(found) * 1000:.2f} ms min {min(found) * 1000:.2f}" for kind, found in took.items()
    )


def unread(process: Process, asked: Callable[[], tuple[str, bytes]], count: int) -> str:
    """MiB that answers hold while nobody reads them, and that are left when their clients have gone.

    `asked` gives the address and a request.
    """
    before = process.memory()
    held: list[socket.socket] = []
    for _ in range(count):
        url, request = asked()
        target = urlsplit(url)
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.connect((target.hostname or "", target.port or 0))
        one.sendall(request)
        held.append(one)
    time.sleep(SETTLE)
    during = process.memory() - before
    for one in held:
        one.close()
    time.sleep(2.0)
    return f"{during:.0f} MiB while held, {process.memory() - before:.0f} MiB after"


def downloading(link: Callable[[], str]) -> Callable[[], tuple[str, bytes]]:
    """Requests for a file. What every first download costs is not counted."""
    with urllib.request.urlopen(link()) as whole:
        while whole.read(MIB):
            pass

    def asked() -> tuple[str, bytes]:
        url = link()
        target = urlsplit(url)
        path = f"{target.path}?{target.query}" if target.query else target.path
        return url, f"GET {path} HTTP/1.1\r\nHost: {target.netloc}\r\n\r\n".encode()

    return asked


def listing(url: str, method: str, body: bytes, headers: dict[str, str]) -> Callable[[], tuple[str, bytes]]:
    """Requests for a list. What the first ones cost is not counted."""
    for _ in range(5):
        asked = urllib.request.Request(url, body or None, headers, method=method)
        urllib.request.urlopen(asked).read()
    target = urlsplit(url)
    named = "".join(f"{name}: {value}\r\n" for name, value in {**headers, "content-length": str(len(body))}.items())
    head = f"{method} {target.path}?{target.query} HTTP/1.1\r\nHost: {target.netloc}\r\n{named}\r\n"
    return lambda: (url, head.encode() + body)


def of_the_server(folder: Path, asked: argparse.Namespace) -> None:
    server = OverHttp(replace(inside(), http=[*OVER_HTTP, "--toolsets", "all"]), folder)
    url = f"http://127.0.0.1:{server.port}/mcp"
    try:
        ping = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"}).encode()
        print(f"serve --http, ping: {kept_against_new(url, 'POST', ping, HEADERS, asked.requests)}")
        for number in range(ISSUES):
            title = f"{number} {os.urandom(8).hex()}"
            new = {"title": title, "severity": "low", "category": "Bug", "description": LONG}
            server.call("create_issue", **new, on_duplicate="create")
        params = {"name": "list_issues", "arguments": {"limit": ISSUES}}
        call = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
        lists = unread(server, listing(url, "POST", call, HEADERS), asked.downloads)
        print(f"serve --http, {asked.downloads} unread lists of {ISSUES} long issues: {lists}")
        offer = server.call("create_attachment", upload="new")["upload"]
        put = urllib.request.Request(offer["url"], os.urandom(asked.mib * MIB), method="PUT")
        urllib.request.urlopen(put).read()
        made = server.call("create_attachment", upload=offer["handle"], name="large.bin")

        def link() -> str:
            params = {"name": "download_attachment", "arguments": {"attachment_id": made["id"]}}
            content = server.ask("tools/call", params)["content"]
            return next(block["uri"] for block in content if block["type"] == "resource_link")

        downloads = unread(server, downloading(link), asked.downloads)
        print(f"serve --http, {asked.downloads} unread downloads: {downloads}")
    finally:
        server.stop()


def of_the_desk(folder: Path, asked: argparse.Namespace) -> None:
    """The same data folder, served by a desk."""
    with desk_on_a_port(folder) as desk:
        address, key = f"{desk.url}/v1/triage/issues", {"authorization": desk.key}
        print(f"desk serve, list of issues: {kept_against_new(address, 'GET', None, key, asked.requests)}")
        lists = unread(desk, listing(f"{address}?limit={ISSUES}", "GET", b"", key), asked.downloads)
        print(f"desk serve, {asked.downloads} unread lists of {ISSUES} long issues: {lists}")
        attachments = Attachments(desk)
        one = attachments.get()["_embedded"]["list"][0]["id"]
        downloads = unread(desk, downloading(lambda: attachments.link(one)), asked.downloads)
        print(f"desk serve, {asked.downloads} unread downloads: {downloads}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--downloads", type=int, default=150)
    parser.add_argument("--mib", type=int, default=20)
    asked = parser.parse_args()
    with TemporaryDirectory() as folder:
        of_the_server(Path(folder), asked)
        of_the_desk(Path(folder), asked)


if __name__ == "__main__":
    main()
