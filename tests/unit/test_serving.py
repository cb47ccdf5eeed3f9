"""The clocks of a connection, with a small app on a real socket and times cut short."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import SocketStream

from calltriage import serving
from calltriage.errors import SettingsError


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the size of the body, once it is there."""
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"6")]})
    await send({"type": "http.response.body", "body": b"%06d" % size})


@asynccontextmanager
async def served(monkeypatch: pytest.MonkeyPatch, app: Any = echo, **limits: float) -> AsyncGenerator[int]:
    """The app's port; `limits` replace the module's constants."""
    for name, value in limits.items():
        monkeypatch.setattr(serving, name, value)
    servers: list[serving.Server] = []
    monkeypatch.setattr(serving, "Server", lambda *given: servers.append(server := serving_server(*given)) or server)
    with serving.listen("127.0.0.1", 0) as listening, anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(serving.serve_app, app, listening, lambda _: None)
            yield listening.getsockname()[1]
            servers[0].should_exit = True


serving_server = serving.Server


async def opened(port: int, said: bytes = b"") -> SocketStream:
    stream = await anyio.connect_tcp("127.0.0.1", port)
    if said:
        await stream.send(said)
    return stream


async def heard(stream: SocketStream) -> bytes:
    """Everything until the server cuts the connection."""
    found = b""
    async with stream:
        try:
            while True:
                found += await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return found


GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("said", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n"])
async def test_a_header_that_does_not_come_ends_the_connection(monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    async with served(monkeypatch, HEADER_SECONDS=0.2, BODY_SECONDS=60) as port:
        assert await heard(await opened(port, said)) == b""


async def test_a_header_that_drips_has_no_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        served(monkeypatch, HEADER_SECONDS=0.3, BODY_SECONDS=60) as port,
        await opened(port, b"GET / HTTP/1.1\r\n") as stream,
    ):
        while not await is_cut(stream):
            with anyio.move_on_after(5):
                await stream.send(b"x-more: 1\r\n")


async def is_cut(stream: SocketStream) -> bool:
    """Whether the server has cut the connection; a moment's look."""
    try:
        with anyio.move_on_after(0.05):
            await stream.receive()
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        return True
    return False


async def test_the_header_after_an_answer_has_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(monkeypatch, HEADER_SECONDS=0.3, BODY_SECONDS=60) as port:
        answers = await heard(await opened(port, GET + GET + b"GET / HT"))
    assert answers.count(b"200 OK") == 2


async def test_a_body_that_does_not_come_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(monkeypatch, HEADER_SECONDS=60, BODY_SECONDS=0.2) as port:
        assert await heard(await opened(port, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab")) == b""


async def test_a_long_body_that_keeps_coming_is_taken_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(monkeypatch, BODY_SECONDS=0.1, SLOWEST_BODY=10) as port:
        stream = await opened(port, b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4000\r\n\r\n")
        for _ in range(7):
            await stream.send(b"x" * 500)
            with anyio.move_on_after(0.05):
                await stream.receive(1)
                pytest.fail("answered or cut before the body was there")
        await stream.send(b"x" * 500)
        assert (await heard(stream)).endswith(b"004000")


async def test_an_answer_that_nobody_takes_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = anyio.Event()

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:

                async def watch() -> None:
                    while (await receive())["type"] != "http.disconnect":
                        pass
                    gone.set()
                    scope.cancel()

                group.start_soon(watch)
                while True:
                    await send({"type": "http.response.body", "body": b"x" * 2**20, "more_body": True})
                    await anyio.lowlevel.checkpoint()

    async with served(monkeypatch, endless, ANSWER_SECONDS=0.2) as port, await opened(port, GET):
        await gone.wait()


async def test_where_all_places_are_taken_the_longest_idle_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(monkeypatch, HEADER_SECONDS=60, MAX_CONNECTIONS=3) as port:
        idle = [await opened(port) for _ in range(3)]
        answer = await opened(port, GET)
        assert (await answer.receive()).startswith(b"HTTP/1.1 200")
        assert await heard(idle[0]) == b""
        for stream in (*idle[1:], answer):
            await stream.aclose()


async def test_a_port_in_use_is_an_error_that_says_so() -> None:
    with (
        serving.listen("127.0.0.1", 0) as taken,
        pytest.raises(SettingsError, match=r"Choose another --host or --port\.$"),
    ):
        serving.listen("127.0.0.1", taken.getsockname()[1])
