"""Which Host and Origin headers a server accepts, so that no web page reaches it by a name of its own (DNS rebinding)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Hosts that are this machine."""
PORTS = {"http": 80, "https": 443}
"""Ports that a URL does not have to say."""
AUTHORITY = r"(?P<host>[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(?P<port>[1-9][0-9]{0,4}|\*))?"

Place = tuple[str, str, int | None]
"""Scheme, host and port of an origin; None is any port."""


def in_brackets(host: str) -> str:
    """A host as it stands in a URL: an IPv6 address in brackets."""
    return f"[{host}]" if host.count(":") > 1 and not host.startswith("[") else host


THIS_MACHINE = tuple(f"http://{in_brackets(name)}:*" for name in LOOPBACK)
"""This machine by its own names, at any port: in a container or behind a tunnel a client sees another one."""


def place_of(url: str) -> Place:
    """The origin of a URL. A name alone is one of https; the port `*` is any. Raises ValueError for what has no origin."""
    scheme, has_scheme, rest = url.lower().partition("://")
    if not has_scheme:
        scheme, rest = "https", scheme
    found = re.fullmatch(AUTHORITY, in_brackets(rest.partition("/")[0]))
    if found is None or scheme not in PORTS:
        raise ValueError("must be a name such as mcp.example.com, or mcp.example.com:8443")
    port = found["port"]
    return scheme, found["host"], None if port == "*" else int(port or PORTS[scheme])


class Doorkeeper:
    """An ASGI app before another one: refuses requests that are meant for another host, or come from another's page.

    Headers are compared whole, in any case, with or without the default port.

    Args:
        app: what the others reach.
        places: URLs or names that the server is reached under. Raises ValueError for what is none.
        advice: what the refused client's operator can do.
    """

    def __init__(self, app: ASGIApp, places: Iterable[str], advice: str) -> None:
        self._app, self._advice = app, advice
        self._places = {place_of(one) for one in places}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
            origins = [value.decode("latin-1") for name, value in scope["headers"] if name == b"origin"]
            if len(hosts) != 1 or not self._is_ours(hosts[0]):
                await _refuse(send, 421, f"This server is not reached under this Host. {self._advice}")
                return
            if not all(self._is_our_page(origin) for origin in origins):
                await _refuse(send, 403, f"Pages of this Origin may not call this server. {self._advice}")
                return
        await self._app(scope, receive, send)

    def _is_ours(self, authority: str) -> bool:
        """Whether a Host header names a place. Behind a TLS proxy it may say the default port of either scheme, or none."""
        found = re.fullmatch(AUTHORITY, authority.lower())
        if found is None or found["port"] == "*":
            return False
        ports = {None, int(found["port"] or 443)}
        ports |= {*PORTS.values()} if ports & {*PORTS.values()} else set()
        return any(found["host"] == host and port in ports for _, host, port in self._places)

    def _is_our_page(self, origin: str) -> bool:
        try:
            scheme, host, port = place_of(origin)
        except ValueError:
            return False
        is_whole = "://" in origin and origin.count("/") == 2 and port is not None
        return is_whole and not self._places.isdisjoint({(scheme, host, port), (scheme, host, None)})


async def _refuse(send: Send, status: int, why: str) -> None:
    body = why.encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
