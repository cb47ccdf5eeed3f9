"""A bad network, to test against: transports that follow a script, and a bare TCP server that answers byte for byte."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
from anyio.abc import SocketAttribute, SocketStream

Inner = httpx2.AsyncBaseTransport | None
Step = Callable[[httpx2.Request, Inner], Awaitable[httpx2.Response]]
"""What becomes of one request."""


class Scripted(httpx2.AsyncBaseTransport):
    """Takes one step of the script per request, of those that `only` picks.

    A script that has ended hands on to `inner`; without one its last step repeats. `requests`: those picked.
    """

    def __init__(
        self, *script: Step, inner: Inner = None, only: Callable[[httpx2.Request], bool] | None = None
    ) -> None:
        self._script = list(script)
        self._inner = inner
        self._only = only or (lambda _: True)
        self.requests: list[httpx2.Request] = []

    def script(self, *steps: Step) -> None:
        """What becomes of the next requests, whatever was planned."""
        self._script = list(steps)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if not self._only(request):
            return await passes(request, self._inner)
        self.requests.append(request)
        if len(self._script) > 1 or (self._script and self._inner is not None):
            return await self._script.pop(0)(request, self._inner)
        return await (self._script[0] if self._script else passes)(request, self._inner)


async def passes(request: httpx2.Request, inner: Inner) -> httpx2.Response:
    """To the inner transport, nothing added."""
    assert inner is not None, "nothing answers behind this transport"
    return await inner.handle_async_request(request)


def answers(status: int, body: Any = b"", headers: Mapping[str, str] | None = None) -> Step:
    """An answer made up here: bytes as they are, anything else as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def step(request: httpx2.Request, _: Inner) -> httpx2.Response:
        await request.aread()
        return httpx2.Response(status, headers=headers, content=content, request=request)

    return step


def fails(error: type[httpx2.TransportError]) -> Step:
    """An error before the inner app saw the request."""

    async def step(request: httpx2.Request, _: Inner) -> httpx2.Response:
        raise error("as scripted", request=request)

    return step


def loses_the_answer(error: type[httpx2.TransportError] = httpx2.ReadError) -> Step:
    """An error after the inner app has answered."""

    async def step(request: httpx2.Request, inner: Inner) -> httpx2.Response:
        await passes(request, inner)
        raise error("as scripted", request=request)

    return step


def then(first: Step, second: Step) -> Step:
    """The first, whose answer is dropped, and the second's answer."""

    async def step(request: httpx2.Request, inner: Inner) -> httpx2.Response:
        await (await first(request, inner)).aclose()
        return await second(request, inner)

    return step


def breaks_off(status: int, *chunks: bytes) -> Step:
    """An answer whose body ends in a broken connection after the chunks."""

    class Cut(httpx2.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            for chunk in chunks:
                yield chunk
            raise httpx2.ReadError("as scripted")

    async def step(request: httpx2.Request, _: Inner) -> httpx2.Response:
        return httpx2.Response(status, stream=Cut(), request=request)

    return step


async def hangs(request: httpx2.Request, inner: Inner) -> httpx2.Response:
    """No answer, ever."""
    await anyio.sleep_forever()
    raise AssertionError("unreachable")


async def hangs_after(request: httpx2.Request, inner: Inner) -> httpx2.Response:
    """The inner app runs, and its answer never comes."""
    await passes(request, inner)
    return await hangs(request, inner)


class Gate:
    """Holds requests until it is opened, and counts how many are inside at once."""

    def __init__(self) -> None:
        self.entered = anyio.Event()
        self.opened = anyio.Event()
        self.inside = 0
        self.most_inside = 0

    def holds(self, then: Step = passes, *, against_cancellation: bool = False) -> Step:
        async def step(request: httpx2.Request, inner: Inner) -> httpx2.Response:
            self.inside += 1
            self.most_inside = max(self.most_inside, self.inside)
            self.entered.set()
            try:
                with anyio.CancelScope(shield=against_cancellation):
                    await self.opened.wait()
                return await then(request, inner)
            finally:
                self.inside -= 1

        return step


class Waits:
    """A `sleep` that returns at once and remembers how long it was asked to wait."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


Talk = Callable[[SocketStream, bytes], Awaitable[None]]
"""The server's side of one connection; it is given the head of the request."""


@asynccontextmanager
async def tcp_server(talk: Talk) -> AsyncGenerator[tuple[str, list[bytes]]]:
    """A server on a free port of the loopback; yields its URL and the heads of the requests that came."""
    heads: list[bytes] = []

    async def serve(stream: SocketStream) -> None:
        async with stream:
            try:
                head = await _head(stream)
                heads.append(head)
                await talk(stream, head)
            except (anyio.BrokenResourceError, anyio.EndOfStream, anyio.ClosedResourceError):
                return

    async with await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0) as listener:
        port = listener.extra(SocketAttribute.local_port)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, serve)
            yield f"http://127.0.0.1:{port}", heads
            tasks.cancel_scope.cancel()


async def _head(stream: SocketStream) -> bytes:
    """The request up to its body, which is read and dropped."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += await stream.receive()
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    size = len(body)
    while size < length:
        size += len(await stream.receive())
    return head


def says(*parts: bytes) -> Talk:
    """Sends the parts and closes."""

    async def talk(stream: SocketStream, _: bytes) -> None:
        for part in parts:
            await stream.send(part)

    return talk


def http_answer(status: str, body: bytes, headers: Sequence[str] = (), *, length: int | None = None) -> bytes:
    """A whole HTTP/1.1 answer; `length` lies about the body's."""
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body) if length is None else length}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body
