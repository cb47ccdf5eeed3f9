"""The clocks of a connection, with a small app on a real socket and times cut short."""

from __future__ import annotations

import socket
import tracemalloc
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import SocketStream

from calltriage import serving
from calltriage.errors import SettingsError
from calltriage.leaves.callers import tell_caller
from calltriage.leaves.slow_clients import PIECE


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


async def opened(port: int, said: bytes = b"", source: str = "127.0.0.1") -> SocketStream:
    stream = await anyio.connect_tcp("127.0.0.1", port, local_host=source)
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
    async with served(monkeypatch, BODY_SECONDS=0.6, SLOWEST_BODY=10) as port:
        stream = await opened(port, b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4000\r\n\r\n")
        for _ in range(7):
            await stream.send(b"x" * 500)
            with anyio.move_on_after(0.15):
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


async def test_an_address_that_has_its_share_makes_room_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(monkeypatch, HEADER_SECONDS=60, MAX_CONNECTIONS=9, MAX_SHARE=3) as port:
        other = await opened(port, source="127.0.0.2")
        mine = [await opened(port) for _ in range(3)]
        answer = await opened(port, GET)
        assert (await answer.receive()).startswith(b"HTTP/1.1 200")
        assert await heard(mine[0]) == b""
        for stream in (other, *mine[1:]):
            await stream.send(GET)
            assert (await stream.receive()).startswith(b"HTTP/1.1 200")
            await stream.aclose()
        await answer.aclose()


async def test_a_caller_has_a_share_of_its_own_wherever_it_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three streams of one caller from three addresses; a fourth makes the oldest give way, and no other caller's."""

    async def stream(scope: Any, receive: Any, send: Any) -> None:
        tell_caller(scope, scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass

    async def begun(name: bytes, source: str) -> SocketStream:
        one = await opened(port, b"GET /" + name + b" HTTP/1.1\r\nHost: x\r\n\r\n", source=source)
        seen = b""
        while b"begun" not in seen:
            seen += await one.receive()
        return one

    async with served(monkeypatch, stream, MAX_CONNECTIONS=9, MAX_SHARE=3) as port:
        other = await begun(b"other", "127.0.0.5")
        mine = [await begun(b"mine", f"127.0.0.{number}") for number in (2, 3, 4)]
        fourth = await begun(b"mine", "127.0.0.5")
        assert await heard(mine[0]) == b""
        for one in (other, *mine[1:], fourth):
            assert not await is_cut(one)
            await one.aclose()


async def test_who_works_on_a_request_makes_no_room_and_the_newcomer_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = anyio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await go_on.wait()
        await echo(scope, receive, send)

    async with served(monkeypatch, slow, MAX_CONNECTIONS=2) as port:
        working = [await opened(port, GET) for _ in range(2)]
        await anyio.wait_all_tasks_blocked()
        assert await heard(await opened(port, GET)) == b""
        go_on.set()
        for one in working:
            assert (await one.receive()).startswith(b"HTTP/1.1 200")
            await one.aclose()


async def test_a_newcomer_from_elsewhere_is_not_cut_for_requests_of_nobody_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go_on = anyio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            await go_on.wait()
        await echo(scope, receive, send)

    async with served(monkeypatch, slow, MAX_CONNECTIONS=2) as port:
        working = [await opened(port, b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n") for _ in range(2)]
        await anyio.wait_all_tasks_blocked()
        newcomer = await opened(port, GET, source="127.0.0.2")
        assert (await newcomer.receive()).startswith(b"HTTP/1.1 200")
        assert await heard(working[0]) == b""
        go_on.set()
        for one in (newcomer, working[1]):
            await one.aclose()


async def test_an_unread_answer_holds_little_and_all_of_them_together_are_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A large body in one piece counts whole, as long as it waits; past the bound the slowest one is cut."""
    made: list[serving.ImpatientProtocol] = []
    connection_made = serving.ImpatientProtocol.connection_made

    def noted(self: serving.ImpatientProtocol, transport: Any) -> None:
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        connection_made(self, transport)
        made.append(self)

    async def large(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * 2**22})

    monkeypatch.setattr(serving.ImpatientProtocol, "connection_made", noted)
    async with served(monkeypatch, large, MAX_UNSENT=10 * 2**20) as port:
        streams = [await opened(port, GET)]
        while not (made and made[0].flow.write_paused):
            await anyio.lowlevel.checkpoint()
        assert made[0].transport.get_write_buffer_size() <= 2 * PIECE
        streams += [await opened(port, GET) for _ in range(3)]
        while sum(one.transport.is_closing() for one in made) < 2 or len(made) < 4:
            await anyio.lowlevel.checkpoint()
        assert sum(one.transport.is_closing() for one in made) == 2
        for stream in streams:
            await stream.aclose()


@pytest.mark.parametrize("more_body", [False, True], ids=["whole", "streamed"])
async def test_an_answer_that_nobody_reads_does_not_stay_in_memory(
    monkeypatch: pytest.MonkeyPatch, *, more_body: bool
) -> None:
    size, count, given, connection_made = 2**20, 16, 0, serving.ImpatientProtocol.connection_made

    def with_small_buffer(self: serving.ImpatientProtocol, transport: Any) -> None:
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        connection_made(self, transport)

    async def large(scope: Any, receive: Any, send: Any) -> None:
        nonlocal given
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(size), "more_body": more_body})
        given += 1
        if more_body:
            await send({"type": "http.response.body", "body": b""})

    monkeypatch.setattr(serving.ImpatientProtocol, "connection_made", with_small_buffer)
    async with served(monkeypatch, large) as port:
        tracemalloc.start()
        try:
            streams = [await opened(port, GET) for _ in range(count)]
            while given < count:
                await anyio.lowlevel.checkpoint()
            await anyio.wait_all_tasks_blocked()
            assert tracemalloc.get_traced_memory()[0] < count * 64 * 2**10 + 2**20
        finally:
            tracemalloc.stop()
        for stream in streams:
            await stream.aclose()


async def test_an_answer_in_pieces_is_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    body = bytes(range(256)) * 1000

    async def large(scope: Any, receive: Any, send: Any) -> None:
        length = [(b"content-length", b"%d" % len(body)), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 200, "headers": length})
        await send({"type": "http.response.body", "body": body[:100_000], "more_body": True})
        await send({"type": "http.response.body", "body": body[100_000:]})

    async with served(monkeypatch, large) as port:
        assert (await heard(await opened(port, GET))).endswith(b"\r\n\r\n" + body)


async def test_accepted_connections_send_small_pieces_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """TCP_NODELAY: without it a kept connection waits 40 ms for the client's acknowledgement."""
    options: list[int] = []
    connection_made = serving.ImpatientProtocol.connection_made

    def noted(self: serving.ImpatientProtocol, transport: Any) -> None:
        options.append(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        connection_made(self, transport)

    monkeypatch.setattr(serving.ImpatientProtocol, "connection_made", noted)
    async with served(monkeypatch) as port, await opened(port, GET) as stream:
        await stream.receive()
    assert options
    assert all(options)


@pytest.mark.parametrize(
    ("peer", "network"),
    [
        (("192.0.2.7", 1), "192.0.2.7"),
        (("::ffff:192.0.2.7", 1, 0, 0), "192.0.2.7"),
        (("2001:db8:1:2:3::4", 1, 0, 0), "2001:db8:1:2::/64"),
        (("fe80::1%eth0", 1, 0, 2), "fe80::/64"),
        (("::1", 1, 0, 0), "::1"),
        (None, "unknown"),
    ],
)
def test_an_address_of_ipv6_counts_as_its_network(peer: Any, network: str) -> None:
    assert serving._network_of(peer) == network


async def asked(app: Any, path: str, method: str = "GET") -> tuple[int, bytes]:
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await app({"type": "http", "path": path, "method": method, "headers": []}, None, send)
    return sent[0]["status"], sent[1]["body"]


async def test_probes_say_one_word_and_ask_at_most_once_a_second() -> None:
    is_good, count = True, 0

    async def ready() -> bool:
        nonlocal count
        count += 1
        return is_good

    probes = serving.Probes(echo, ready)
    assert await asked(probes, "/healthz") == (200, b"ok\n")
    assert count == 0
    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(asked, probes, "/readyz")
    assert await asked(probes, "/readyz") == (200, b"ok\n")
    assert count == 1
    is_good = False
    probes = serving.Probes(echo, ready)
    assert await asked(probes, "/readyz") == (503, b"not ready\n")
    assert await asked(probes, "/healthz") == (200, b"ok\n")
    assert await asked(probes, "/readyz", "POST") == (405, b"")


async def test_a_server_that_cannot_tell_whether_it_is_ready_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "READY_PATIENCE", 0.01)

    async def never() -> bool:
        await anyio.sleep_forever()
        return True

    assert await asked(serving.Probes(echo, never), "/readyz") == (503, b"not ready\n")
