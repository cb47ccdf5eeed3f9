"""Print what a kept connection costs beside a new one, and what unread downloads hold in memory, on both servers.

uv run --group dev python tests/benchmarks/connections.py [--requests 200] [--downloads 150] [--mib 20]

Kept and new connections take turns in one run, one request each. Then so many downloads of one file are begun and not read;
memory is the process's own (VmRSS) over what it had before them: while they are held, and after their clients have left.
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

SETTLE = 3.0
"""Seconds after which memory is read."""
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


def unread(process: subprocess.Popen[bytes], link: Callable[[], str], count: int) -> str:
    """MiB that downloads hold while nobody reads them, and that are left when their clients have gone."""
    with urllib.request.urlopen(link()) as whole:  # what every first download costs is not counted
        while whole.read(MIB):
            pass
    before = memory(process, "VmRSS")
    held: list[socket.socket] = []
    for _ in range(count):
        url = urlsplit(link())
        one = socket.create_connection((url.hostname or "", url.port or 0))
        path = f"{url.path}?{url.query}" if url.query else url.path
        one.sendall(f"GET {path} HTTP/1.1\r\nHost: {url.netloc}\r\n\r\n".encode())
        held.append(one)
    time.sleep(SETTLE)
    during = memory(process, "VmRSS") - before
    for one in held:
        one.close()
    time.sleep(SETTLE)
    return f"{during:.0f} MiB while held, {memory(process, 'VmRSS') - before:.0f} MiB after"


def of_the_server(folder: Path, asked: argparse.Namespace) -> None:
    environment = dict(os.environ) | {"CALLTRIAGE_DATA_DIR": str(folder), "CALLTRIAGE_WRITES_PER_MINUTE": "0"}
    command = [*OURS, "serve", "--http", "--port", "0", "--toolsets", "all"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env=environment)
    try:
        assert process.stderr is not None
        url = process.stderr.readline().decode().split()[2]
        ping = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"}).encode()
        print(f"serve --http, ping: {kept_against_new(url, 'POST', ping, MCP, asked.requests)}")
        offer = tool(url, "create_attachment", {"upload": "new"})["structuredContent"]["upload"]
        put = urllib.request.Request(offer["url"], os.urandom(asked.mib * MIB), method="PUT")
        urllib.request.urlopen(put).read()
        made = tool(url, "create_attachment", {"upload": offer["handle"], "name": "large.bin"})["structuredContent"]

        def link() -> str:
            content = tool(url, "download_attachment", {"attachment_id": made["id"]})["content"]
            return next(block["uri"] for block in content if block["type"] == "resource_link")

        print(f"serve --http, {asked.downloads} unread downloads: {unread(process, link, asked.downloads)}")
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
        page = answer(f"{desk.url}/attachments/2023-03", desk.headers)
        one = page["_embedded"]["list"][0]["id"]

        def link() -> str:
            return answer(f"{desk.url}/attachments/2023-03/{one}/download-link", desk.headers)["url"]

        print(f"desk serve, {asked.downloads} unread downloads: {unread(desk.process, link, asked.downloads)}")
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
