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
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

from files import MIB, OURS, DeskOnAPort, answer, memory

SETTLE = 20.0
"""Seconds after which memory is read: time to work out all answers."""
ISSUES, LONG = 100, "word " * 1800
"""Issues of a long list, and the description of each."""
MCP = {
    "content-type": "application/json",
    "accept": "application/json, text/event-stream",
    "mcp-protocol-version": "2025-11-25",
}


def tool(url: str, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The result of a tool call over HTTP."""
    params = {"name": name, "arguments": arguments}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
    with urllib.request.urlopen(urllib.request.Request(url, body, MCP)) as response:
        text = response.read().decode()
    return json.loads(text.partition("data: ")[2] or text)["result"]


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


def unread(process: subprocess.Popen[bytes], asked: Callable[[], tuple[str, bytes]], count: int) -> str:
    """MiB that answers hold while nobody reads them, and that are left when their clients have gone.

    `asked` gives the address and a request.
    """
    before = memory(process, "VmRSS")
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
    during = memory(process, "VmRSS") - before
    for one in held:
        one.close()
    time.sleep(2.0)
    return f"{during:.0f} MiB while held, {memory(process, 'VmRSS') - before:.0f} MiB after"


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
    environment = dict(os.environ) | {"CALLTRIAGE_DATA_DIR": str(folder), "CALLTRIAGE_WRITES_PER_MINUTE": "0"}
    command = [*OURS, "serve", "--http", "--port", "0", "--toolsets", "all"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env=environment)
    try:
        assert process.stderr is not None
        url = process.stderr.readline().decode().split()[2]
        ping = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"}).encode()
        print(f"serve --http, ping: {kept_against_new(url, 'POST', ping, MCP, asked.requests)}")
        for number in range(ISSUES):
            new = {
                "title": f"{number} {os.urandom(8).hex()}",
                "severity": "low",
                "category": "Bug",
                "description": LONG,
            }
            tool(url, "create_issue", {**new, "on_duplicate": "create"})
        params = {"name": "list_issues", "arguments": {"limit": ISSUES}}
        call = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
        lists = unread(process, listing(url, "POST", call, MCP), asked.downloads)
        print(f"serve --http, {asked.downloads} unread lists of {ISSUES} long issues: {lists}")
        offer = tool(url, "create_attachment", {"upload": "new"})["structuredContent"]["upload"]
        put = urllib.request.Request(offer["url"], os.urandom(asked.mib * MIB), method="PUT")
        urllib.request.urlopen(put).read()
        made = tool(url, "create_attachment", {"upload": offer["handle"], "name": "large.bin"})["structuredContent"]

        def link() -> str:
            content = tool(url, "download_attachment", {"attachment_id": made["id"]})["content"]
            return next(block["uri"] for block in content if block["type"] == "resource_link")

        print(
            f"serve --http, {asked.downloads} unread downloads: {unread(process, downloading(link), asked.downloads)}"
        )
    finally:
        process.terminate()
        process.wait()


def of_the_desk(folder: Path, asked: argparse.Namespace) -> None:
    key = "benchmark-key-0123456789-0123456789"
    environment = dict(os.environ) | {"CALLTRIAGE_DATA_DIR": str(folder), "CALLTRIAGE_DESK_API_KEY": key}
    desk = DeskOnAPort(environment)
    try:
        listed = kept_against_new(f"{desk.url}/v1/triage/issues", "GET", None, {"authorization": key}, asked.requests)
        print(f"desk serve, list of issues: {listed}")
        issues = listing(f"{desk.url}/v1/triage/issues?limit={ISSUES}", "GET", b"", {"authorization": key})
        lists = unread(desk.process, issues, asked.downloads)
        print(f"desk serve, {asked.downloads} unread lists of {ISSUES} long issues: {lists}")
        page = answer(f"{desk.url}/attachments/2023-03", desk.headers)
        one = page["_embedded"]["list"][0]["id"]

        def link() -> str:
            return answer(f"{desk.url}/attachments/2023-03/{one}/download-link", desk.headers)["url"]

        print(
            f"desk serve, {asked.downloads} unread downloads: {unread(desk.process, downloading(link), asked.downloads)}"
        )
    finally:
        desk.process.terminate()
        desk.process.wait()


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
