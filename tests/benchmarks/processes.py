"""Servers as processes, spoken to in raw JSON-RPC: no client library is in the figures."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

from contenders import OURS, PORT, Contender, DeskAddress

HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "bench", "version": "0"}}
HEADERS = {
    "content-type": "application/json",
    "accept": "application/json, text/event-stream",
    "mcp-protocol-version": "2025-11-25",
}
START_SECONDS = 120.0


class Refused(Exception):
    """A server did not do what a measure asked of it."""


def _request(number: int, method: str, params: dict[str, Any]) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).encode()


def _result(message: dict[str, Any]) -> dict[str, Any]:
    if "result" not in message or message["result"].get("isError"):
        raise Refused(json.dumps(message)[:300])
    return message["result"]


class Process:
    """A process, what it holds in memory and what it has used of a processor."""

    process: subprocess.Popen[bytes]

    def memory(self, name: str = "VmRSS") -> float:
        """MiB: VmRSS now, VmHWM at most so far."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(rf"{name}:\s+(\d+) kB", text)
        return int(found[1]) / 1024 if found else 0.0

    def cpu(self) -> float:
        """Seconds."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Server(Process):
    """A server that answers requests, one after another."""

    def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        raise NotImplementedError

    def call(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """The result of a tool that succeeds."""
        return self.ask("tools/call", {"name": tool, "arguments": arguments})["structuredContent"]


class OverStdio(Server):
    """A server over stdio, started and asked for its tools."""

    def __init__(self, server: Contender, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        began = perf_counter()
        self.process = subprocess.Popen(
            [*server.command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            cwd=folder, env=server.environment(folder),
        )  # fmt: skip
        self.ask("initialize", HELLO)
        self._write(b'{"jsonrpc": "2.0", "method": "notifications/initialized"}')
        self.tools: list[dict[str, Any]] = self.ask("tools/list", {})["tools"]
        self.started_in = perf_counter() - began

    def _write(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise Refused("it has ended")
        return json.loads(line)

    def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._write(_request(1, method, params))
        return _result(self._read())

    def burst(self, params: dict[str, Any], count: int, width: int) -> float:
        """Seconds for so many tool calls, so many of them under way."""
        began = perf_counter()
        for number in range(count + width):
            if number >= width:
                _result(self._read())
            if number < count:
                self._write(_request(number, "tools/call", params))
        return perf_counter() - began

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        _ended(self.process)


class OverHttp(Server):
    """A server over Streamable HTTP."""

    def __init__(self, server: Contender, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = _free_port()
        command = [part.replace(PORT, str(self.port)) for part in server.http]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            cwd=folder, env=server.environment(folder),
        )  # fmt: skip
        _wait_for(self.port, self.process, server.name)
        self._kept = http.client.HTTPConnection("127.0.0.1", self.port)

    def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        return _asked(self._kept, _request(1, method, params))

    def burst(self, params: dict[str, Any], count: int, width: int) -> float:
        """Seconds for so many tool calls on so many kept connections."""
        left, body = iter(range(count)), _request(1, "tools/call", params)
        failures = list[Exception]()

        def work() -> None:
            kept = http.client.HTTPConnection("127.0.0.1", self.port)
            try:
                for _ in left:
                    _asked(kept, body)
            except (OSError, http.client.HTTPException, Refused) as error:
                failures.append(error)
            finally:
                kept.close()

        threads = [threading.Thread(target=work) for _ in range(width)]
        began = perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise Refused(str(failures[0]))
        return perf_counter() - began

    def stop(self) -> None:
        self._kept.close()
        self.process.terminate()
        _ended(self.process)


Seat = OverStdio | OverHttp


def _asked(connection: http.client.HTTPConnection, body: bytes) -> dict[str, Any]:
    def once() -> str:
        connection.request("POST", "/mcp", body, HEADERS)
        return connection.getresponse().read().decode()

    try:
        text = once()
    except (ConnectionError, http.client.RemoteDisconnected):  # an idle connection may be closed at any time
        connection.close()
        text = once()
    return _result(json.loads(text.partition("data: ")[2] or text))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as made:
        return made.getsockname()[1]


def _wait_for(port: int, process: subprocess.Popen[bytes], name: str) -> None:
    until = perf_counter() + START_SECONDS
    while perf_counter() < until and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            sleep(0.05)
        else:
            return
    process.kill()
    process.wait()
    raise Refused(f"{name} does not listen (status {process.poll()})")


def _ended(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@dataclass(frozen=True, kw_only=True)
class DeskOnAPort(DeskAddress, Process):
    """A desk on a port, and its process."""

    process: subprocess.Popen[bytes]


@contextmanager
def desk_on_a_port(folder: Path, *more: str, **settings: str) -> Generator[DeskOnAPort]:
    """`calltriage desk serve` with the sample calls, in a process of its own; its data folder is `data` in the folder."""
    key = "benchmark-key-0123456789-0123456789"
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(folder), "CALLTRIAGE_DATA_DIR": str(folder / "data"),
        "CALLTRIAGE_DESK_API_KEY": key, **settings,
    }  # fmt: skip
    subprocess.run([*OURS, "desk", "sample"], env=environment, check=True, capture_output=True)
    command = [*OURS, "desk", "serve", "--port", "0", *more]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env=environment)
    try:
        assert process.stderr is not None
        found = re.search(r"at (http://\S+)", process.stderr.readline().decode())
        if found is None:
            raise Refused("the desk does not start")
        yield DeskOnAPort(url=found[1], key=key, process=process)
    finally:
        process.terminate()
        _ended(process)
