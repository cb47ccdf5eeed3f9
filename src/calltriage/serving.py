"""An ASGI app on a port, safe from clients that are slow on purpose.

uvicorn bounds neither how long a request may take to arrive nor what idle connections cost. Here each connection has a
time for every stage, and when all places are taken the connection that has waited longest without a request makes room.
"""

from __future__ import annotations

import math
import signal
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from calltriage.errors import SettingsError

if TYPE_CHECKING:
    import asyncio

HEADER_SECONDS = 5.0
"""From a connection's first moment, or the end of its last answer, to the end of the next request's header."""
BODY_SECONDS = 9.5
"""From the end of the header to the end of the body; a body that comes at SLOWEST_BODY gets as long again. A slow one is
gone within 10 seconds."""
SLOWEST_BODY = 16 * 1024
"""Bytes a second below which a long body is slow on purpose, or as good as that."""
ANSWER_SECONDS = 30.0
"""How long a client may take no byte of an answer."""
MAX_CONNECTIONS = 512
"""Connections at once; half of the files that a process may open by default."""


class ImpatientProtocol(H11Protocol):
    """HTTP/1.1 with a clock: a connection is cut when the stage that it is in takes too long."""

    _stage: object = None
    _stage_ends: asyncio.TimerHandle | None = None
    _answer_ends: asyncio.TimerHandle | None = None
    _came: int = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if len(self.connections) >= MAX_CONNECTIONS:
            self._make_room()
        super().connection_made(transport)
        self._keep_time()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        for clock in (self._stage_ends, self._answer_ends):
            if clock is not None:
                clock.cancel()

    def data_received(self, data: bytes) -> None:
        self._came += len(data)
        super().data_received(data)
        self._keep_time()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._keep_time()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._answer_ends = self.loop.call_later(ANSWER_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._answer_ends is not None:
            self._answer_ends.cancel()

    def _keep_time(self) -> None:
        """Start the clock of the stage that has begun; bytes that come within a stage do not set it back."""
        stage = self._present_stage()
        if stage is self._stage:
            return
        self._stage = stage
        if self._stage_ends is not None:
            self._stage_ends.cancel()
            self._stage_ends = None
        if self.is_waiting:
            self._stage_ends = self.loop.call_later(HEADER_SECONDS, self.transport.abort)
        elif stage is not None:
            self._give_body_time()

    def _present_stage(self) -> object:
        """What the client is busy with: a header, a body, or None for nothing; another object at each request."""
        if self.is_waiting:
            return self.cycle or self
        return self.scope if self.cycle.more_body else None

    def _give_body_time(self) -> None:
        self._came = 0
        self._stage_ends = self.loop.call_later(BODY_SECONDS, self._body_time_is_up)

    def _body_time_is_up(self) -> None:
        # Where reading is paused it is the application that is slow.
        if self.flow.read_paused or self._came >= SLOWEST_BODY * BODY_SECONDS:
            self._give_body_time()
        else:
            self.transport.abort()

    @property
    def time_ends(self) -> float:
        """When the present stage has to be over, on the loop's clock."""
        return math.inf if self._stage_ends is None else self._stage_ends.when()

    @property
    def is_waiting(self) -> bool:
        """Whether no request is being answered here."""
        return not self.cycle or self.cycle.response_complete

    def _make_room(self) -> None:
        """Cut the connection that has been without a request for longest: the one whose time ends first."""
        waiting = [one for one in cast("set[ImpatientProtocol]", self.connections) if one.is_waiting]
        if waiting:
            longest = min(waiting, key=lambda one: one.time_ends)
            self.connections.discard(longest)
            longest.transport.abort()


class Server(uvicorn.Server):
    """uvicorn's, but a signal that ended it is done with then: the caller cleans up and the process leaves with 0.

    `on_ready` is called once requests are answered and a signal would be heard; `on_stop` once no new connection is taken,
    to end what would otherwise go on until it is cut.
    """

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None], on_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready, self._on_stop = on_ready, on_stop
        self._signalled = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_stop()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  uvicorn's names
        """End gracefully, and at a second signal no faster: a write under way is seen through."""
        self.should_exit = self._signalled = True

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            # After a signal the process cleans up and leaves: until then others still change nothing.
            for number, handler in () if self._signalled else before.items():
                signal.signal(number, handler)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises SettingsError where there can be none."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        socket.getaddrinfo(host, port, family)  # a name that cannot be one is refused before there is a socket
        return socket.create_server((host, port), family=family, backlog=MAX_CONNECTIONS)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "it is no address and no host name"
        why = why.partition(" (while")[0]
        raise SettingsError(f"Cannot listen on {host} port {port}: {why}. Choose another --host or --port.") from None


def address_of(listening: socket.socket) -> str:
    """The URL of a listening socket."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def serve_app(
    app: Any, listening: socket.socket, on_ready: Callable[[str], None], on_stop: Callable[[], None] = lambda: None
) -> None:
    """Serve until a signal ends it; `on_ready` hears the address. Then `on_stop` ends what has no end of its own, and
    requests in flight have 10 seconds."""
    config = uvicorn.Config(
        app, http=ImpatientProtocol, ws="none", log_config=None, access_log=False,
        limit_concurrency=MAX_CONNECTIONS + 1, timeout_keep_alive=int(HEADER_SECONDS), timeout_graceful_shutdown=10,
        server_header=False, proxy_headers=False, lifespan="on" if hasattr(app, "router") else "off",
    )  # fmt: skip
    address = address_of(listening)
    await Server(config, lambda: on_ready(address), on_stop).serve(sockets=[listening])
