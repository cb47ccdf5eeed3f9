"""The HTTP side of the server: Streamable HTTP behind the check of hosts and origins, and the gate for the bearer token."""

from __future__ import annotations

import secrets
from typing import Any

from mcp.server.lowlevel import Server
from mcp.server.transport_security import TransportSecuritySettings
from mcp_types import INVALID_REQUEST, ErrorData, JSONRPCError
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from calltriage.errors import SettingsError
from calltriage.journal.journal import SHARED_TOKEN
from calltriage.leaves.callers import tell_caller
from calltriage.leaves.host_headers import LOOPBACK, THIS_MACHINE, Doorkeeper, place_of
from calltriage.leaves.lines import MAX_FRAME
from calltriage.server.call.answering import ANSWER, Answer
from calltriage.server.call.write_record import CALLER
from calltriage.server.context import PERSON
from calltriage.server.files.handover import DOWNLOADS, UPLOADS, Handover
from calltriage.server.transports import board_page
from calltriage.server.transports.board_page import BoardPage
from calltriage.server.transports.frames import VERSION, read_frame

PATH = "/mcp"
CLOSE = (b"connection", b"close")


def build_http_app(
    server: Server[Any],
    *,
    host: str,
    token: SecretStr | None = None,
    allowed_hosts: tuple[str, ...] = (),
    public_url: str | None = None,
    handover: Handover | None = None,
    page: BoardPage | None = None,
) -> Starlette:
    """An ASGI app that serves MCP at `/mcp`, stateless, on the 2025-11-25 and the 2026-07-28 wire.

    Args:
        server: what `build_server` made.
        host: address that it will be bound to. Off loopback it needs a token and allowed_hosts, or it is refused.
        token: bearer token that every request must carry.
        allowed_hosts: Host headers accepted besides loopback; their https origins are accepted too.
        public_url: accepted like these.
        handover: its URLs are served, too, on the strength of their own seal.
        page: the board for people, at `/ui`; without one there is none.
    """
    if host not in LOOPBACK and (token is None or not allowed_hosts):
        raise SettingsError(
            "Off loopback, serve --http needs CALLTRIAGE_HTTP_TOKEN (clients send it as a bearer token) and "
            "CALLTRIAGE_HTTP_ALLOWED_HOSTS (the names it is reached under)."
        )
    places = [*THIS_MACHINE, *allowed_hosts, *([public_url] if public_url else [])]
    try:
        for one in places:
            place_of(one)
    except ValueError as error:
        raise SettingsError(f"CALLTRIAGE_HTTP_ALLOWED_HOSTS and CALLTRIAGE_HTTP_PUBLIC_URL: each {error}.") from None
    # The SDK's own check compares beginnings, and knows no default port.
    unchecked = TransportSecuritySettings(enable_dns_rebinding_protection=False)
    app = server.streamable_http_app(
        streamable_http_path=PATH, stateless_http=True, transport_security=unchecked, host=host
    )
    if handover is not None:
        app.router.routes.extend(handover.routes())
    if page is not None:
        app.router.routes.extend(page.routes())
    advice = "The operator can add it to CALLTRIAGE_HTTP_ALLOWED_HOSTS."
    app.user_middleware[:0] = [
        Middleware(Doorkeeper, places=places, advice=advice),
        Middleware(Gate, token=token, page=page),
    ]
    return app


class Gate:
    """Stands before every route: refuses requests without the token, and hands on only bodies that have come whole. It reads
    none before path, method and size allow it.

    It notes who calls, by what was authenticated: the holders of the token are one caller, whatever its value; without a
    token each address is one.

    A handover's URL is its own proof, which a client may pass on to a program that has no token; and its body is a file. The
    board's page holds nothing that is secret: who is signed in to it has a cookie instead of the token.
    """

    def __init__(self, app: ASGIApp, token: SecretStr | None, page: BoardPage | None = None) -> None:
        self._app, self._page = app, page
        self._token = None if token is None else token.get_secret_value().encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._is_open(scope["path"]):
            await self._app(scope, receive, send)
            return
        try:
            noted, sent = await self._taken(scope, receive)
        except _RefusedError as refusal:
            await refusal.answer(send)
            return
        except ClientDisconnect:  # nobody is left to answer, and that is no error of ours
            return
        whole: list[Message] = [{"type": "http.request", "body": sent, "more_body": False}]

        async def receive_whole() -> Message:
            return whole.pop() if whole else await receive()

        answer = Answer()
        try:
            await self._app({**noted, ANSWER: answer}, receive_whole, send)
        finally:
            answer.gone()

    def _is_open(self, path: str) -> bool:
        """Whether a path needs no token, and is no MCP."""
        is_of_page = self._page is not None and f"{path}/".startswith(f"{board_page.PATH}/")
        return is_of_page or path.startswith((UPLOADS, DOWNLOADS))

    async def _taken(self, scope: Scope, receive: Receive) -> tuple[Scope, bytes]:
        """The scope with its caller noted, and the body as the SDK is to read it.

        Raises _RefusedError, and ClientDisconnect where the client went before its body was here.
        """
        caller = self._caller(scope)
        if caller is None:
            raise _RefusedError(401, (b"www-authenticate", b"Bearer"))
        if self._token is not None or caller.startswith(PERSON):
            tell_caller(scope, caller)
        _refuse_head(scope)
        body = await _read_body(receive)
        frame = read_frame(body) if _is_version(scope) else NO_VERSION
        if isinstance(frame, JSONRPCError):
            answer = frame.model_dump_json(by_alias=True).encode()
            raise _RefusedError(400, (b"content-type", b"application/json"), body=answer)
        sent = frame.text.encode()
        return {**scope, CALLER: caller, "headers": _with_length(scope["headers"], len(sent))}, sent

    def _caller(self, scope: Scope) -> str | None:
        """Who calls; None for a request without the token, or the cookie of somebody who is signed in to the page."""
        person = None if self._page is None else self._page.caller(scope)
        if person is not None:
            return person
        if self._token is None:
            return scope["client"][0] if scope["client"] else ""
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        scheme, _, token = given[0].partition(b" ") if len(given) == 1 else (b"", b"", b"")
        is_right = scheme.lower() == b"bearer" and secrets.compare_digest(token.strip(b" "), self._token)
        return SHARED_TOKEN if is_right else None


class _RefusedError(Exception):
    """A request that goes no further, and what it is answered."""

    def __init__(self, status: int, *headers: tuple[bytes, bytes], body: bytes = b"") -> None:
        self._status = status
        self._headers = [*headers, (b"content-length", str(len(body)).encode())]
        self._body = body

    async def answer(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self._status, "headers": self._headers})
        await send({"type": "http.response.body", "body": self._body})


def _refuse_head(scope: Scope) -> None:
    """Raise _RefusedError for a request whose body is not read."""
    if scope["path"] != PATH:
        raise _RefusedError(404, CLOSE)
    if scope["method"] != "POST":  # stateless: there is no stream to open with GET, no session to end with DELETE
        raise _RefusedError(405, (b"allow", b"POST"), CLOSE)
    length = dict(scope["headers"]).get(b"content-length", b"0")
    if not length.isdigit() or int(length[:20]) > MAX_FRAME:
        raise _RefusedError(413, CLOSE)


async def _read_body(receive: Receive) -> bytes:
    """A whole body. Raises _RefusedError for one that is too large, ClientDisconnect for one that breaks off."""
    body, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > MAX_FRAME:
            raise _RefusedError(413, CLOSE)
        more = message.get("more_body", False)
    return bytes(body)


NO_VERSION = JSONRPCError(
    jsonrpc="2.0",
    id=None,
    error=ErrorData(code=INVALID_REQUEST, message="MCP-Protocol-Version must be like 2026-07-28."),
)


def _is_version(scope: Scope) -> bool:
    """Whether the version header, if one, can be a version: the SDK's answer to another one repeats it."""
    given = [value.decode("latin-1") for name, value in scope["headers"] if name == b"mcp-protocol-version"]
    return all(VERSION.fullmatch(version) for version in given)


def _with_length(headers: list[tuple[bytes, bytes]], length: int) -> list[tuple[bytes, bytes]]:
    others = [(name, value) for name, value in headers if name != b"content-length"]
    return [*others, (b"content-length", str(length).encode())]
