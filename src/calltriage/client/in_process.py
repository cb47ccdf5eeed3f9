"""An HTTP transport to an app in this process, through which bodies stream both ways.

The library's own ASGI transport collects a whole answer before it gives any of it out: a file would stand in memory.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio
import anyio.lowlevel
import httpx2
from anyio.abc import TaskGroup

from calltriage.client.http import WHOLE
from calltriage.leaves.strict_json import JsonObject

logger = logging.getLogger(__name__)

App = Callable[..., Any]
"""An ASGI app."""


@asynccontextmanager
async def background() -> AsyncGenerator[TaskGroup]:
    """A task group for work behind a block: it ends with the block, and what the block raises is raised as itself."""
    tasks = anyio.create_task_group()
    await tasks.__aenter__()
    try:
        yield tasks
    finally:
        tasks.cancel_scope.cancel()
        await tasks.__aexit__(None, None, None)


class InProcess(httpx2.AsyncBaseTransport):
    """Requests to an ASGI app. A request that is cancelled cancels what the app does for it; a crash is a 500, or a broken
    body once the answer has begun. What the content of a request raises is raised to who sent it, and the app hears that
    its client has left."""

    def __init__(self, app: App, tasks: TaskGroup) -> None:
        self._app = app
        self._tasks = tasks

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        exchange = await (self._whole(request) if _is_whole(request) else self._streamed(request))
        return httpx2.Response(exchange.status, headers=exchange.headers, stream=exchange, request=request)

    async def _whole(self, request: httpx2.Request) -> _Whole:
        exchange = _Whole(request)
        await exchange.run(self._app)
        return exchange

    async def _streamed(self, request: httpx2.Request) -> _Streamed:
        exchange = _Streamed(request, anyio.current_effective_deadline())
        try:
            self._tasks.start_soon(exchange.run, self._app)
            await exchange.begun.wait()
            if exchange.failure is not None:
                raise exchange.failure
        except BaseException:
            await exchange.aclose()
            raise
        return exchange


def _is_whole(request: httpx2.Request) -> bool:
    """Whether the answer is wanted whole, and the content is here as a whole."""
    return WHOLE in request.extensions and isinstance(request.stream, httpx2.ByteStream)


def _scope(request: httpx2.Request) -> JsonObject:
    """The request as ASGI describes it."""
    url = request.url
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": request.method,
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "scheme": url.scheme,
        "path": url.path,
        "raw_path": url.raw_path.partition(b"?")[0],
        "query_string": url.query,
        "server": (url.host, url.port),
        "client": ("127.0.0.1", 0),
        "root_path": "",
    }


class _Whole(httpx2.AsyncByteStream):
    """One request and its answer, the stream of its body, for which the app runs in the task that asks: its deadline holds
    by itself, and nobody leaves before the answer is there."""

    def __init__(self, request: httpx2.Request) -> None:
        self.status = 500
        self.headers: list[tuple[bytes, bytes]] = []
        self._request = request
        self._pieces = list[bytes]()
        self._is_received, self._complete = False, False
        self._left: anyio.Event | None = None

    async def run(self, app: App) -> None:
        try:
            await app(_scope(self._request), self._receive, self._send)
        except Exception:
            logger.debug("the app in this process failed", exc_info=True)

    async def _receive(self) -> JsonObject:
        if not self._is_received:
            self._is_received = True
            return {"type": "http.request", "body": self._request.content, "more_body": False}
        if not self._complete:
            self._left = self._left or anyio.Event()
            await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: JsonObject) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], message.get("headers", [])
            return
        body = message.get("body", b"")
        if body and self._request.method != "HEAD":
            if self._complete:
                raise OSError("the client has left")
            self._pieces.append(body)
        if not message.get("more_body", False):
            self._complete = True
            if self._left is not None:
                self._left.set()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece
        if not self._complete and self.headers:
            raise httpx2.ReadError("the answer broke off", request=self._request)


class _Streamed(httpx2.AsyncByteStream):
    """One request and its answer, which is the stream of its body. The app runs in a task of its own.

    Until the answer begins the app has the deadline of whoever asks. (anyio.current_effective_deadline tells it.)
    """

    def __init__(self, request: httpx2.Request, deadline: float) -> None:
        self.status = 500
        self.headers: list[tuple[bytes, bytes]] = []
        self.failure: Exception | None = None
        self.begun, self._ended, self._left = anyio.Event(), anyio.Event(), anyio.Event()
        self._request = request
        self._incoming = self._sent_pieces()
        self._scope = anyio.CancelScope(deadline=deadline)
        self._pieces = deque[bytes]()
        self._came, self._taken = anyio.Event(), anyio.Event()
        self._is_sent, self._complete = False, False

    async def run(self, app: App) -> None:
        try:
            with self._scope:
                await app(_scope(self._request), self._receive, self._send)
        except Exception:
            logger.debug("the app in this process failed", exc_info=True)
        finally:
            self._ended.set()
            self._came.set()
            self.begun.set()

    async def _sent_pieces(self) -> AsyncGenerator[bytes]:
        try:
            async for piece in cast("httpx2.AsyncByteStream", self._request.stream):
                yield piece
        except Exception as error:  # noqa: BLE001  it is the sender's, who gets it
            self.failure = error
            self.begun.set()

    async def _receive(self) -> JsonObject:
        async for piece in self._incoming:
            return {"type": "http.request", "body": piece, "more_body": True}
        if self.failure is not None:
            return {"type": "http.disconnect"}
        if not self._is_sent:
            self._is_sent = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: JsonObject) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], message.get("headers", [])
            self._scope.deadline = math.inf
            self.begun.set()
            return
        body = message.get("body", b"")
        if body and self._request.method != "HEAD":
            await self._put(body)
        if not message.get("more_body", False):
            self._complete = True
            self._came.set()

    async def _put(self, piece: bytes) -> None:
        """Have a piece of the body taken; at most one waits for that."""
        while self._pieces and not self._left.is_set():
            self._taken = anyio.Event()
            await self._taken.wait()
        if self._left.is_set():
            await anyio.lowlevel.checkpoint_if_cancelled()  # it is cancelled, and need not log that nobody hears it
            raise OSError("the client has left")
        self._pieces.append(piece)
        self._came.set()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self._pieces or not (self._complete or self._ended.is_set()):
            if self._pieces:
                yield self._pieces.popleft()
                self._taken.set()
            else:
                self._came = anyio.Event()
                await self._came.wait()
        if self.failure is not None:
            raise self.failure
        if not self._complete and self.headers:
            raise httpx2.ReadError("the answer broke off", request=self._request)

    async def aclose(self) -> None:
        """Called when the answer was read or is not wanted any more. What the app still does for it ends."""
        self._left.set()
        self._taken.set()
        with anyio.CancelScope(shield=True):
            if not self._ended.is_set():
                self._scope.cancel()
                await self._ended.wait()
            await self._incoming.aclose()
