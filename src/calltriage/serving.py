"""An ASGI app on a port, safe from clients that are slow on purpose.

uvicorn bounds neither how long a request may take to arrive, nor what idle connections cost, nor what an unread answer
holds. Here each connection has a time for every stage, an address or a caller has a share of the places, and where places
are short the slowest connection makes room. An answer that its client does not take waits on disk.

This stands on uvicorn's inside: H11Protocol with its `app`, `connections`, `cycle`, `flow`, `scope` and `handle_events`,
Server with `startup`, `shutdown`, `should_exit` and `capture_signals`. pyproject.toml allows no uvicorn that was not tried.
"""

from __future__ import annotations

import ipaddress
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import anyio
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from calltriage.errors import SettingsError
from calltriage.leaves.callers import TELL_CALLER
from calltriage.leaves.shutdown import Ending
from calltriage.leaves.slow_clients import PIECE, Outflow

if TYPE_CHECKING:
    import asyncio

    from starlette.types import ASGIApp, Receive, Scope, Send

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
MAX_SHARE = 256
"""Connections of one address, or of one caller that was authenticated."""
BACKLOG = 256
"""Connections that wait to be accepted. They are accepted in one go, before any other makes room."""
HEAD_START = 16 * 1024
"""Bytes that a connection counts as having moved when a stage begins, so that a new one is not the slowest."""
MAX_UNSENT = 32 * 2**20
"""Bytes of all answers that wait for their clients, nearly all of them on disk: of one answer at most 64 KiB are in memory
beyond the socket, one half in the transport's buffer. Past it the slowest of these connections is cut."""
GRACE_SECONDS = 10
"""Time for the requests that are in flight when a server ends. Closing what it stands on may take as long again."""
READY_SECONDS = 1.0
"""How long an answer of /readyz is good for the next who ask."""
READY_PATIENCE = 10.0
"""Seconds after which a server that cannot tell whether it is ready is not."""


class ImpatientProtocol(H11Protocol):
    """HTTP/1.1 with a clock: a connection is cut when the stage that it is in takes too long."""

    _stage: object = None
    _stage_ends: asyncio.TimerHandle | None = None
    _answer_ends: asyncio.TimerHandle | None = None
    _came: int = 0
    _since: float = 0.0
    _moved: int = 0
    _outflow: Outflow | None = None
    address: str = ""
    owner: str = ""
    """Whose share of the places this one takes: of the caller that the request was authenticated as, else of the address."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._inner = cast("ASGIApp", self.app)
        self.app = cast("Any", self._answer)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        transport.set_write_buffer_limits(high=PIECE)
        super().connection_made(transport)
        self.address = self.owner = _network_of(transport.get_extra_info("peername"))
        self._keep_time()
        others = self._others()
        of_mine = [one for one in others if one.owner == self.owner]
        if len(of_mine) >= MAX_SHARE:
            self._make_room(of_mine)
        elif len(others) >= MAX_CONNECTIONS:
            self._make_room(others)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        for clock in (self._stage_ends, self._answer_ends):
            if clock is not None:
                clock.cancel()

    def data_received(self, data: bytes) -> None:
        self._came += len(data)
        self._moved += len(data)
        super().data_received(data)
        self._keep_time()

    def handle_events(self) -> None:
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self.owner = self.address  # until this request, too, is known to be a caller's

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._keep_time()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._answer_ends = self.loop.call_later(ANSWER_SECONDS, self.transport.abort)
        self._bound_unsent()

    def _bound_unsent(self) -> None:
        """Cut the slowest of those that take nothing until the others hold no more than MAX_UNSENT."""
        unread = [one for one in (*self._others(), self) if one.flow.write_paused]
        over = sum(one.unsent for one in unread) - MAX_UNSENT
        while over > 0 and unread:
            slowest = min(unread, key=lambda one: one.pace)
            over -= slowest.unsent
            unread.remove(slowest)
            slowest.cut()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._answer_ends is not None:
            self._answer_ends.cancel()
        self._keep_time()

    def cut(self) -> None:
        self.connections.discard(self)
        self.transport.abort()

    @property
    def pace(self) -> float:
        """Bytes a second that moved either way in the present stage."""
        return (self._moved + HEAD_START) / max(self.loop.time() - self._since, 1e-3)

    @property
    def unsent(self) -> int:
        """Bytes of the present answer that wait for the client."""
        return (self._outflow.waiting if self._outflow else 0) + self.transport.get_write_buffer_size()

    @property
    def is_waiting(self) -> bool:
        """Whether no request is being answered here."""
        return not self.cycle or self.cycle.response_complete

    @property
    def can_be_cut(self) -> bool:
        """Whether this one waits for its client, not its client for an answer that has not begun."""
        return self.is_waiting or self.cycle.more_body or self.cycle.response_started

    def belongs_to(self, caller: str) -> None:
        """Count this connection as the caller's for the present request."""
        self.owner = f"caller {caller}"
        of_mine = [one for one in self._others() if one.owner == self.owner]
        if len(of_mine) >= MAX_SHARE:
            self._make_room(of_mine)

    def _make_room(self, connections: list[ImpatientProtocol]) -> None:
        """Cut the slowest connection of whoever has most of those that can be cut; where none can, one of others whose
        request is nobody's that is known, and failing that this one."""
        found = [one for one in connections if one.can_be_cut]
        found = found or [one for one in connections if one.owner == one.address != self.owner]
        largest = Counter(one.owner for one in found).most_common(1)
        of_largest = [one for one in found if one.owner == largest[0][0]]
        min(of_largest, key=lambda one: one.pace, default=self).cut()

    def _others(self) -> list[ImpatientProtocol]:
        return [one for one in cast("set[ImpatientProtocol]", self.connections) if one is not self]

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The app, which can say whose request this is, and whose answers wait on disk for slow clients."""
        scope["extensions"] = {TELL_CALLER: self.belongs_to}
        async with anyio.create_task_group() as tasks:
            self._outflow = Outflow(
                send, is_full=lambda: self.flow.write_paused, left=self._has_left, grown=self._bound_unsent, tasks=tasks
            )
            await self._inner(scope, receive, self._outflow.send)

    def _has_left(self, size: int) -> None:
        self._moved += size

    def _keep_time(self) -> None:
        """Start the clock of the stage that has begun; bytes that come within a stage do not set it back."""
        stage = self._present_stage()
        if stage is self._stage:
            return
        self._stage = stage
        self._since, self._moved = self.loop.time(), 0
        if self._stage_ends is not None:
            self._stage_ends.cancel()
            self._stage_ends = None
        if stage is None:
            return
        if self.is_waiting:
            self._stage_ends = self.loop.call_later(HEADER_SECONDS, self.transport.abort)
        else:
            self._give_body_time()

    def _present_stage(self) -> object:
        """What the client is busy with: a header, a body, or None for taking an answer; another object at each request."""
        if self.is_waiting:
            return None if self.flow.write_paused else self.cycle or self
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


def _network_of(peer: Any) -> str:
    """The address that a peer's connections count for; of IPv6 the network, as one host has all addresses of it."""
    try:
        address = ipaddress.ip_address(str(peer[0]).partition("%")[0])
    except (TypeError, IndexError, ValueError):
        return "unknown"
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None and not address.is_loopback:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(getattr(address, "ipv4_mapped", None) or address)


class Probes:
    """/healthz and /readyz before an app, for whoever asks. They tell one word and do no work that others could make costly.

    /healthz answers as long as the process does. /readyz asks `ready`, at most once every READY_SECONDS.
    """

    def __init__(self, app: ASGIApp, ready: Callable[[], Awaitable[bool]]) -> None:
        self._app, self._ready = app, ready
        self._asking = anyio.Lock()
        self._is_ready, self._good_until = False, float("-inf")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in {"/healthz", "/readyz"}:
            await self._app(scope, receive, send)
        elif scope["method"] not in {"GET", "HEAD"}:
            await _say(send, 405, b"", (b"allow", b"GET, HEAD"), (b"connection", b"close"))
        elif scope["path"] == "/healthz" or await self._asked():
            await _say(send, 200, b"ok\n")
        else:
            await _say(send, 503, b"not ready\n")

    async def _asked(self) -> bool:
        async with self._asking:
            if anyio.current_time() >= self._good_until:
                self._is_ready = False
                with anyio.move_on_after(READY_PATIENCE):
                    self._is_ready = await self._ready()
                self._good_until = anyio.current_time() + READY_SECONDS
            return self._is_ready


async def _say(send: Send, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    told = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body)), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status, "headers": [*told, *headers]})
    await send({"type": "http.response.body", "body": body})


class Server(uvicorn.Server):
    """uvicorn's, but signals are heard by an `Ending`, from before it starts until all is closed.

    `on_ready` is called once requests are answered; `on_stop` once no new connection is taken, to end what would otherwise
    go on until it is cut.
    """

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None], on_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready, self._on_stop = on_ready, on_stop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.should_exit:
            self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_stop()
        await super().shutdown(sockets)

    def end(self) -> None:
        """End gracefully: what is being answered is answered to its end."""
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises SettingsError where there can be none."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        socket.getaddrinfo(host or None, port, family)  # a name that cannot be one is refused before there is a socket
        made = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "it is no address and no host name"
        why = why.partition(" (while")[0]
        raise SettingsError(f"Cannot listen on {host} port {port}: {why}. Choose another --host or --port.") from None
    # The event loop sets TCP_NODELAY on what it accepts only where the listening socket says by number that it is TCP's.
    return socket.socket(made.family, made.type, socket.IPPROTO_TCP, fileno=made.detach())


def address_of(listening: socket.socket) -> str:
    """The URL of a listening socket."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _always() -> bool:
    return True


async def serve_app(
    app: Any,
    listening: socket.socket,
    on_ready: Callable[[str], None],
    *,
    on_stop: Callable[[], None] = lambda: None,
    ready: Callable[[], Awaitable[bool]] = _always,
    ending: Ending | None = None,
) -> None:
    """Serve until `ending` is asked; `on_ready` hears the address. Then `on_stop` ends what has no end of its own, and
    requests in flight have GRACE_SECONDS. `ready` is what /readyz answers."""
    ending = ending or Ending()
    if ending.asked:
        return
    config = uvicorn.Config(
        Probes(app, ready), http=ImpatientProtocol, ws="none", log_config=None, access_log=False, backlog=BACKLOG,
        timeout_keep_alive=int(HEADER_SECONDS), timeout_graceful_shutdown=GRACE_SECONDS,
        server_header=False, proxy_headers=False, lifespan="on" if hasattr(app, "router") else "off",
    )  # fmt: skip
    address = address_of(listening)
    server = Server(config, lambda: on_ready(address), on_stop)
    ending.then(server.end, 2 * GRACE_SECONDS)
    await server.serve(sockets=[listening])
