"""The way to addresses that came from outside: public ones over TLS, and the one that was looked at is the one connected to.

A signed URL stands in a vendor's answer, and whoever controls that answer chooses its host. The name is resolved here, once;
the connection goes to the address that was found good, so that a name server cannot answer something else in between.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import anyio
import httpx2

from calltriage.leaves.strict_json import JsonObject

NAT64 = ipaddress.ip_network("64:ff9b::/96")
GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
"""All that was ever given out of IPv6 (RFC 4291, IANA); what stands for an IPv4 address is judged by that."""
SPECIAL = (ipaddress.ip_network("192.0.0.0/24"), ipaddress.ip_network("192.88.99.0/24"))
"""Set aside for protocols (RFC 6890), parts of which the library calls global."""
MOST_ADDRESSES = 4
"""Addresses of one name that are tried."""

Resolve = Callable[[str, int], Awaitable[list[str]]]


class UnsafeTargetError(Exception):
    """The address is not one that bytes may go to or come from; nothing was sent. The text never holds the address."""


async def resolved(host: str, port: int) -> list[str]:
    """Addresses of a name, in the system's order."""
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


def is_public(text: str) -> bool:
    """Whether an address, and the IPv4 address that it may stand for, belongs to the public internet."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is None:
            return address in GLOBAL_UNICAST and address.is_global
        address = inner
    return address.is_global and not address.is_multicast and not any(address in block for block in SPECIAL)


def check_form(url: str) -> None:
    """Refuse what is not an https URL with a host, before anything is looked up. Raises UnsafeTargetError."""
    try:
        parts = urlsplit(url)
        port_is_one = parts.port is None or parts.port > 0
    except ValueError:
        raise UnsafeTargetError("is not a URL") from None
    if parts.scheme != "https" or not parts.hostname or not port_is_one or parts.username or parts.password:
        raise UnsafeTargetError("is not an https URL")


class Guarded(httpx2.AsyncBaseTransport):
    """HTTPS to public addresses only.

    Args:
        inner: the network, which must not keep connections: one that was opened for a name must not serve another name at
            the same address. A proxy on the way is asked for the address, so what was looked at here still holds there.
        resolve: looks a name up.
        allowed: says whether an address is a good one.
    """

    def __init__(
        self,
        inner: httpx2.AsyncBaseTransport,
        resolve: Resolve = resolved,
        allowed: Callable[[str], bool] = is_public,
    ) -> None:
        self._inner, self._resolve, self._allowed = inner, resolve, allowed

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        url = request.url
        check_form(str(url))
        try:
            addresses = await self._resolve(url.host, url.port or 443)
        except OSError as error:
            raise httpx2.ConnectError("the host has no address", request=request) from error
        if not addresses or not all(self._allowed(address) for address in addresses):
            raise UnsafeTargetError("leads into a private network")
        request.extensions = {**request.extensions, "sni_hostname": url.host}
        failed: httpx2.TransportError | None = None
        for address in addresses[:MOST_ADDRESSES]:
            request.url = url.copy_with(host=address)  # the Host header and the certificate's name stay the URL's
            try:
                return await self._inner.handle_async_request(request)
            except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:  # nothing was sent yet
                failed = error
        raise failed or httpx2.ConnectError("no address answered", request=request)

    async def aclose(self) -> None:
        await self._inner.aclose()


def target_of(url: str) -> JsonObject:
    """The request extension that sends path and query as they stand in the URL, byte for byte: what was signed is the
    text, not what a library makes of it."""
    rest = url.partition("://")[2]
    start = min((place for mark in "/?" if (place := rest.find(mark)) >= 0), default=len(rest))
    target = rest[start:].partition("#")[0]
    return {"target": (target if target.startswith("/") else f"/{target}").encode("ascii")}
