"""How real servers end: their input closes while calls are under way, or a person presses Ctrl-C, at any moment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from anyio.abc import Process, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream
from e2e.processes import PATIENCE, ended_by, environment, run

import calltriage

pytestmark = pytest.mark.slow

SOURCES = str(Path(calltriage.__file__).parent.parent)
SERVER = [sys.executable, "-m", "calltriage"]
MODERN = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}},
}
NEW = {"title": "Filed last", "severity": "low", "category": "Bug"}


def request(number: int, method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


def call(number: int, tool: str, **arguments: Any) -> dict[str, Any]:
    return request(number, "tools/call", name=tool, arguments=arguments)


def hello(**capabilities: Any) -> list[dict[str, Any]]:
    client = {"name": "pipe", "version": "0"}
    params = {"protocolVersion": "2025-11-25", "capabilities": capabilities, "clientInfo": client}
    return [
        {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
    ]


async def piped(folder: Path, *messages: dict[str, Any], **settings: str) -> dict[int, Any]:
    """The answers by id of a server whose whole input is there from the start."""
    said = "".join(json.dumps(message) + "\n" for message in messages)
    status, out, complaints = await run(folder, "serve", "--toolsets", "all", stdin=said, **settings)
    assert status == 0, complaints
    found = [json.loads(line) for line in out.splitlines()]
    return {message["id"]: message for message in found if "id" in message and "method" not in message}


def body(answer: Any) -> dict[str, Any]:
    return answer["result"]["structuredContent"]


async def test_every_call_that_was_read_is_answered_although_the_input_ends_at_once(tmp_path: Path) -> None:
    new = [call(n, "create_issue", **NEW | {"title": f"Issue {n}", "on_duplicate": "create"}) for n in range(1, 9)]
    answers = await piped(tmp_path, *hello(), *new, call(9, "list_flag_types"), call(10, "no_such_tool"))
    assert sorted(answers) == list(range(11))
    assert all(body(answers[number])["outcome"] == "committed" for number in range(1, 9))
    assert "items" in body(answers[9])
    assert "error" in answers[10]
    kept = await piped(tmp_path, *hello(), call(1, "list_issues"))
    assert body(kept[1])["returned"] == 8


async def test_on_the_newer_wire_a_call_is_answered_and_a_stream_is_ended(tmp_path: Path) -> None:
    listen = request(2, "subscriptions/listen", notifications={"toolsListChanged": True}, _meta=MODERN)
    new = request(1, "tools/call", name="create_issue", arguments=NEW, _meta=MODERN)
    answers = await piped(tmp_path, new, listen)
    assert body(answers[1])["outcome"] == "committed"
    assert answers[2]["result"]["resultType"] == "complete"


async def test_a_question_that_nobody_can_answer_any_more_is_a_refusal(tmp_path: Path) -> None:
    made = body((await piped(tmp_path, *hello(), call(1, "create_issue", **NEW)))[1])["id"]
    answers = await piped(tmp_path, *hello(elicitation={}), call(1, "delete_issue", issue_id=made))
    assert body(answers[1])["error"]["code"] == "confirmation_unavailable"


async def test_a_write_that_is_under_way_when_the_input_closes_is_answered(tmp_path: Path) -> None:
    arrived, go_on = anyio.Event(), anyio.Event()
    issue = {
        "id": "11111111-2222-4333-8444-555555555555", "triage_id": "T-1", "number": 1, "title": NEW["title"],
        "status": "todo", "severity": "low", "source": "manual", "created_at": "2026-05-01T10:00:00.000Z",
        "updated_at": "2026-05-01T10:00:00.000Z",
    }  # fmt: skip

    async def vendor(stream: SocketStream) -> None:
        async with stream:
            while b"\r\n\r\n" not in (asked := await stream.receive()):
                pass
            is_write = asked.startswith(b"POST")
            if is_write:
                arrived.set()
                await go_on.wait()
            data = json.dumps({"data": issue if is_write else {"items": [], "next_cursor": None}, "errors": None})
            head = f"HTTP/1.1 {'201 Created' if is_write else '200 OK'}\r\ncontent-type: application/json\r\n"
            await stream.send(f"{head}content-length: {len(data)}\r\nconnection: close\r\n\r\n{data}".encode())

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    settings = environment(
        CALLTRIAGE_DATA_DIR=str(tmp_path / "data"),
        CALLTRIAGE_BLAND_API_KEY="k" * 20,
        CALLTRIAGE_BLAND_BASE_URL=f"http://127.0.0.1:{port}",
    )
    with anyio.fail_after(PATIENCE):
        async with listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, vendor)
            async with await anyio.open_process(SERVER, env=settings, cwd=tmp_path, stderr=None) as process:
                lines = await greeted(process)
                await say(process, call(5, "create_issue", **NEW))
                await arrived.wait()
                assert process.stdin is not None
                await process.stdin.aclose()
                go_on.set()
                answer = json.loads(await lines.receive_until(b"\n", 2**20))
                assert body(answer)["outcome"] == "committed"
                assert await process.wait() == 0
            group.cancel_scope.cancel()


async def say(process: Process, *messages: dict[str, Any]) -> None:
    assert process.stdin is not None
    for message in messages:
        await process.stdin.send(json.dumps(message).encode() + b"\n")


async def greeted(process: Process) -> BufferedByteReceiveStream:
    """What the server says after the handshake."""
    assert process.stdout is not None
    lines = BufferedByteReceiveStream(process.stdout)
    await say(process, hello()[0])
    await lines.receive_until(b"\n", 2**20)
    await say(process, hello()[1])
    return lines


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("number", "times"),
    [(number, times) for number in (signal.SIGINT, signal.SIGTERM) for times in (1, 2, 5)] + [(signal.SIGHUP, 1)],
)
async def test_a_signal_ends_the_server_over_pipes_and_more_of_them_do_no_harm(
    tmp_path: Path, number: signal.Signals, times: int
) -> None:
    settings = environment(CALLTRIAGE_DATA_DIR=str(tmp_path / "data"))
    async with await anyio.open_process(SERVER, env=settings, cwd=tmp_path) as process:
        with anyio.fail_after(PATIENCE):
            await greeted(process)
            for _ in range(times):
                process.send_signal(number)
            assert await process.wait() == 0
            assert process.stderr is not None
            assert [piece async for piece in process.stderr] == []


@pytest.mark.skipif(sys.platform == "win32", reason="terminals of POSIX")
@pytest.mark.parametrize("times", [1, 3])
async def test_ctrl_c_ends_the_server_on_a_terminal(tmp_path: Path, times: int) -> None:
    """The keys are pressed on a real terminal, whose own the process is."""
    ours, theirs = os.openpty()
    wrapped = [sys.executable, "-c", f"import os; os.login_tty(0); os.execv({SERVER[0]!r}, {SERVER!r})"]
    settings = environment(CALLTRIAGE_DATA_DIR=str(tmp_path / "data"))
    async with await anyio.open_process(
        wrapped, stdin=theirs, stdout=theirs, stderr=theirs, env=settings, cwd=tmp_path
    ) as process:
        os.close(theirs)
        try:
            os.write(ours, json.dumps(hello()[0]).encode() + b"\n")
            seen = b""
            with anyio.fail_after(PATIENCE):
                while b"serverInfo" not in seen:
                    seen += await anyio.to_thread.run_sync(os.read, ours, 65536, abandon_on_cancel=True)
                os.write(ours, b"\x03" * times)
                assert await process.wait() == 0
        finally:
            os.close(ours)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("arguments", [("serve", "--http"), ("desk", "serve")])
@pytest.mark.parametrize("times", [1, 3])
async def test_ctrl_c_ends_the_servers_on_a_port_cleanly(
    tmp_path: Path, arguments: tuple[str, ...], times: int
) -> None:
    async with ended_by([signal.SIGINT] * times, tmp_path, *arguments, "--port", "0"):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("arguments", [("serve", "--http"), ("desk", "serve")])
async def test_a_terminal_that_is_closed_ends_the_servers_on_a_port_cleanly(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    async with ended_by([signal.SIGHUP], tmp_path, *arguments, "--port", "0"):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
async def test_a_server_that_is_told_to_outlive_its_terminal_does(tmp_path: Path) -> None:
    settings = environment(CALLTRIAGE_DATA_DIR=str(tmp_path / "data"))
    async with await anyio.open_process(["nohup", *SERVER], env=settings, cwd=tmp_path) as process:
        with anyio.fail_after(PATIENCE):
            lines = await greeted(process)
            process.send_signal(signal.SIGHUP)
            await say(process, call(1, "list_flag_types"))
            assert "result" in json.loads(await lines.receive_until(b"\n", 2**20))
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0


def test_signals_are_heard_before_anything_is_imported_that_takes_time() -> None:
    """Until then Python shows a traceback. A module that the interpreter loads by itself costs nothing."""
    program = "import os, sys; before = set(sys.modules); import calltriage.__main__; print(*set(sys.modules) - before)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env=environment(PYTHONPATH=SOURCES),
    )
    own = {"calltriage", "calltriage.__main__", "calltriage.leaves", "calltriage.leaves.shutdown"}
    assert set(done.stdout.split()) == {*own, "__future__"}


SERVERS = {"stdio": ("serve",), "http": ("serve", "--http", "--port", "0"), "desk": ("desk", "serve", "--port", "0")}
STAGES = [
    ("stdio", "_pydantic_core", signal.SIGINT),
    ("stdio", "_ssl", signal.SIGTERM),
    ("stdio", "_queue", signal.SIGINT),
    ("stdio", "_pydantic_core", signal.SIGHUP),
    ("http", "_pydantic_core", signal.SIGTERM),
    ("http", "_ssl", signal.SIGINT),
    ("http", "_queue", signal.SIGINT),
    ("http", "sealing.key", signal.SIGINT),
    ("http", "sealing.key", signal.SIGTERM),
    ("desk", "_pydantic_core", signal.SIGINT),
    ("desk", "_queue", signal.SIGTERM),
    ("desk", "desk.opening", signal.SIGINT),
    ("desk", "desk.sqlite3", signal.SIGTERM),
    ("desk", "desk.key", signal.SIGINT),
]
"""A server; the library that it has just loaded, or the file that it has just made; the signal that comes then."""


async def reached(process: Process, stage: str, data: Path) -> None:
    """Wait until a process has loaded a library, or made a file in its data folder."""
    libraries = Path(f"/proc/{process.pid}/maps")
    while not (data / stage).exists() and f"/{stage}." not in libraries.read_text():  # noqa: ASYNC110  another process
        await anyio.sleep(0.001)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="Linux tells what a process has loaded")
@pytest.mark.parametrize(("server", "stage", "number"), STAGES)
async def test_a_signal_ends_a_server_that_is_still_starting_without_a_word(
    tmp_path: Path, server: str, stage: str, number: signal.Signals
) -> None:
    data = tmp_path / "data"
    command, settings = [*SERVER, *SERVERS[server]], environment(CALLTRIAGE_DATA_DIR=str(data))
    async with await anyio.open_process(command, env=settings, cwd=tmp_path) as process:
        with anyio.fail_after(PATIENCE):
            await reached(process, stage, data)
            process.send_signal(number)
            assert process.stderr is not None
            said = b"".join([piece async for piece in process.stderr]).decode()
            assert await process.wait() == 0, said
    assert [line for line in said.splitlines() if " at http://" not in line] == [], (
        "up by then, it had told its address"
    )
    assert [
        file.name for file in data.glob("*.*") if file.suffix not in {".key", ".lock", ".opening", ".sqlite3"}
    ] == []


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="Linux tells what a process has loaded")
@pytest.mark.parametrize(
    ("number", "end"), [(signal.SIGINT, (130, "Interrupted.")), (signal.SIGTERM, (-15, "")), (signal.SIGHUP, (-1, ""))]
)
async def test_a_signal_ends_a_command_that_is_still_starting_as_it_ends_other_programs(
    tmp_path: Path, number: signal.Signals, end: tuple[int, str]
) -> None:
    settings = environment(CALLTRIAGE_DATA_DIR=str(tmp_path / "data"))
    async with await anyio.open_process([*SERVER, "doctor"], env=settings, cwd=tmp_path) as process:
        with anyio.fail_after(PATIENCE):
            await reached(process, "_pydantic_core", tmp_path)
            process.send_signal(number)
            assert process.stderr is not None
            said = b"".join([piece async for piece in process.stderr]).decode()
            assert (await process.wait(), said.strip()) == end
