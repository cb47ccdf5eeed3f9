"""The HTTP side of the server: Streamable HTTP behind one gate for hosts, origins and the bearer token."""

from __future__ import annotations

import hmac
from typing import Any

from mcp.server.lowlevel import Server
from mcp.server.transport_security import TransportSecuritySettings
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from calltriage.errors import SettingsError
from calltriage.server.files.handover import DOWNLOADS, UPLOADS, Handover

MAX_BODY = 4 * 2**20
"""Bytes of a request."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def build_http_app(
    server: Server[Any],
    *,
    host: str,
    token: SecretStr | None = None,
    allowed_hosts: tuple[str, ...] = (),
    handover: Handover | None = None,
) -> Starlette:
    """An ASGI app that serves MCP at `/mcp`, stateless, on the 2025-11-25 and the 2026-07-28 wire.

    Args:
        server: what `build_server` made.
        host: address that it will be bound to. Off loopback it needs a token and allowed_hosts, or it is refused.
        token: bearer token that every request must carry.
        allowed_hosts: Host headers accepted besides loopback; their https origins are accepted too.
        handover: its URLs are served, too, on the strength of their own seal.
    """
    if host not in LOOPBACK and (token is None or not allowed_hosts):
        raise SettingsError(
            "Off loopback, serve --http needs CALLTRIAGE_HTTP_TOKEN (clients send it as a bearer token) and "
            "CALLTRIAGE_HTTP_ALLOWED_HOSTS (the names it is reached under)."
        )
    local = [f"[{name}]:*" if ":" in name else f"{name}:*" for name in LOOPBACK]
    security = TransportSecuritySettings(
        enable_dns_rebinding_protection=True,
        allowed_hosts=[*local, *allowed_hosts],
        allowed_origins=[*(f"http://{name}" for name in local), *(f"https://{name}" for name in allowed_hosts)],
    )
    app = server.streamable_http_app(stateless_http=True, transport_security=security, host=host)
    if handover is not None:
        app.router.routes.extend(handover.routes())
    app.user_middleware.insert(0, Middleware(Gate, token=token))
    return app


class Gate:
    """Stands before every route: refuses requests without the token, and hands on only bodies that have come whole.

    A handover's URL is its own proof, which a client may pass on to a program that has no token; and its body is a file.
    """

    def __init__(self, app: ASGIApp, token: SecretStr | None) -> None:
        self._app = app
        self._wanted = None if token is None else f"Bearer {token.get_secret_value()}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith((UPLOADS, DOWNLOADS)):
            await self._app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(b"authorization", b"")
        if self._wanted is not None and not hmac.compare_digest(given, self._wanted):
            await _refuse(send, 401, (b"www-authenticate", b"Bearer"))
            return
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":  # nobody is left to answer, and that is no error of ours
                return
            body += message.get("body", b"")
            if len(body) > MAX_BODY:
                await _refuse(send, 413, (b"connection", b"close"))
                return
            more = message.get("more_body", False)
        whole: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def receive_whole() -> Message:
            return whole.pop() if whole else await receive()

        await self._app(scope, receive_whole, send)


async def _refuse(send: Send, status: int, *headers: tuple[bytes, bytes]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [*headers, (b"content-length", b"0")]})
    await send({"type": "http.response.body"})
