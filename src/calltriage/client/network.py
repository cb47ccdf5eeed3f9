"""The operator's network: which certificate authorities count, which proxy is used, and what a failed connection means."""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx2

from calltriage.errors import Blocked, CallError, Outcome, SettingsError, Unreachable, is_group
from calltriage.leaves.host_headers import LOOPBACK
from calltriage.leaves.urls import ENVIRONMENT, check_proxy

E = TypeVar("E", bound=BaseException)

NOT_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
)
"""Failures before the first byte of the request left."""

HASHED = re.compile(r"[0-9a-f]{8}\.\d+")
"""Names by which OpenSSL finds certificates in a folder."""


def trusted() -> ssl.SSLContext:
    """TLS settings with the authorities of SSL_CERT_FILE and SSL_CERT_DIR, or the system's where neither is set.

    Raises SettingsError when a variable names nothing that certificates can be read from.
    """
    file, folders = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR", "")
    paths = [Path(folder) for folder in folders.split(os.pathsep) if folder]
    if not file and not paths:
        return httpx2.create_ssl_context(trust_env=False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if file:
        try:
            context.load_verify_locations(cafile=file)
        except OSError:  # ssl.SSLError among them
            raise SettingsError("SSL_CERT_FILE must name a file of certificates in PEM that can be read.") from None
    for path in paths:
        _trust_folder(context, path)
    return context


def _trust_folder(context: ssl.SSLContext, folder: Path) -> None:
    """A folder that was prepared for OpenSSL is read at each connection. Of any other one, each file is read now."""
    try:
        names = sorted(path for path in folder.iterdir() if path.is_file())
    except OSError:
        raise SettingsError("SSL_CERT_DIR must name folders of certificates that can be read.") from None
    if any(HASHED.fullmatch(path.name) for path in names):
        context.load_verify_locations(capath=folder)
        return
    before = len(context.get_ca_certs())
    for path in names:
        try:
            context.load_verify_locations(cafile=path)
        except OSError:  # a key or a note beside the certificates
            continue
    if len(context.get_ca_certs()) == before:
        raise SettingsError("SSL_CERT_DIR must name folders that hold certificates in PEM.")


def _environment_proxy(scheme: str, host: str) -> str | None:
    """The proxy that HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY name. Raises SettingsError for one of another kind."""
    found = getproxies()
    proxy = found.get(scheme) or found.get("all")
    if not proxy or proxy_bypass(host):
        return None
    url = proxy if "://" in proxy else f"http://{proxy}"
    try:
        check_proxy(url)
    except ValueError as error:
        raise SettingsError(f"The proxy that the environment names {error}.") from None
    return url


@dataclass
class Network:
    """How connections are made. Nothing is built before the first connection that needs it.

    Attributes:
        proxy: URL of the proxy; `environment` asks the environment's variables; None connects directly.
    """

    proxy: str | None = field(default=None, repr=False)
    _tls: ssl.SSLContext | None = field(default=None, init=False, repr=False)

    def tls(self) -> ssl.SSLContext:
        """The TLS settings, the same for every connection. Raises SettingsError."""
        self._tls = self._tls or trusted()
        return self._tls

    def proxy_to(self, scheme: str, host: str) -> str | None:
        """The proxy on the way to a host. A proxy elsewhere is never asked for an address on this machine: it would reach
        its own machine instead. Raises SettingsError."""
        proxy = _environment_proxy(scheme, host) if self.proxy == ENVIRONMENT else self.proxy
        if proxy is not None and host in LOOPBACK and urlsplit(proxy).hostname not in LOOPBACK:
            return None
        return proxy

    def transport(self, *, at_once: int | None = None, kept: int | None = None) -> Transport:
        """A transport with at most `at_once` connections, `kept` of which stay open for the next request."""
        return Transport(self, httpx2.Limits(max_connections=at_once, max_keepalive_connections=kept))


class Transport(httpx2.AsyncBaseTransport):
    """Requests over a network, directly or through its proxy."""

    def __init__(self, network: Network, limits: httpx2.Limits) -> None:
        self._network, self._limits = network, limits
        self._ways: dict[tuple[str, str | None], httpx2.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        host = request.extensions.get("sni_hostname") or request.url.host  # the URL may hold the address in its place
        try:
            proxy = self._network.proxy_to(request.url.scheme, host)
            way = self._way(request.url.scheme, proxy)
        except SettingsError as error:
            raise httpx2.ConnectError("the network's settings are wrong", request=request) from error
        try:
            return await way.handle_async_request(request)
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            if proxy is None or _found(error, ssl.SSLError):
                raise
            raise httpx2.ProxyError("no connection to the proxy", request=request) from error

    def _way(self, scheme: str, proxy: str | None) -> httpx2.AsyncHTTPTransport:
        way = self._ways.get((scheme, proxy))
        if way is None:
            no_trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # plain HTTP uses none, and loading one takes a while
            through = None
            if proxy is not None:
                through = httpx2.Proxy(proxy, ssl_context=self._network.tls() if proxy[:6] == "https:" else None)
            verify = self._network.tls() if scheme == "https" else no_trust
            way = httpx2.AsyncHTTPTransport(verify=verify, trust_env=False, limits=self._limits, proxy=through)
            self._ways[scheme, proxy] = way
        return way

    async def aclose(self) -> None:
        for way in self._ways.values():
            await way.aclose()


@dataclass(frozen=True)
class Trouble:
    """Why there is no connection.

    Attributes:
        says: what happened, in a sentence.
        mend: what an operator does about it, as an imperative.
        code: code of the error when waiting does not help; None when it may.
    """

    says: str
    mend: str
    code: str | None = None


CERTIFICATE = "certificate_not_trusted"
PROXY = "proxy_refused"

AUTHORITY = (
    "set SSL_CERT_FILE to a PEM file with the authority that signed it (or SSL_CERT_DIR to a folder of such files)"
)
"""How an operator names an authority of their own."""

VERIFY_CODES = {
    9: ("it is not valid yet", "check this machine's clock"),
    10: ("it has expired", "have it renewed by whoever runs the host, and check this machine's clock"),
    18: ("it is signed by itself alone", AUTHORITY),
    62: ("it belongs to another host name", "check the address in the settings"),
    64: ("it belongs to another address", "check the address in the settings"),
}
"""What OpenSSL's codes for a refused certificate mean, and what to do (x509_vfy.h); others are an unknown authority."""


CHECK_ADDRESS = "check the address and its port in the settings"
WITHOUT_TLS: tuple[tuple[type[BaseException], str, str], ...] = (
    (
        socket.gaierror,
        "The host name of {what} was not found.",
        "check the network, its name server and the address in the settings",
    ),
    (ConnectionRefusedError, "The host of {what} refused the connection.", CHECK_ADDRESS),
    (
        httpx2.ConnectTimeout,
        "The connection to {what} timed out.",
        "check the network and its firewall, or set CALLTRIAGE_PROXY",
    ),
    (OSError, "There is no way to the host of {what}.", "check the network, or set CALLTRIAGE_PROXY"),
    (BaseException, "No connection to {what}.", "check the network and the address in the settings"),
)
"""What failed before TLS began, what it means and what to do; the first that fits counts."""


def trouble(error: BaseException, what: str) -> Trouble:
    """Why a connection to `what`, such as "the API", failed."""
    if isinstance(error, httpx2.ProxyError):
        return _proxy_trouble(error, what)
    if settings := _found(error, SettingsError):
        return Trouble(
            f"The certificates or the proxy to reach {what} with cannot be used.", str(settings), CERTIFICATE
        )
    if refused := _found(error, ssl.SSLCertVerificationError):
        why, mend = VERIFY_CODES.get(refused.verify_code, ("no authority that is known here has signed it", AUTHORITY))
        return Trouble(f"The certificate of {what} is not trusted: {why}.", mend, CERTIFICATE)
    if _found(error, ssl.SSLError):
        return Trouble(f"The host of {what} did not answer with TLS.", CHECK_ADDRESS)
    says, mend = next((says, mend) for kind, says, mend in WITHOUT_TLS if _found(error, kind))
    return Trouble(says.format(what=what), mend)


def _proxy_trouble(error: httpx2.ProxyError, what: str) -> Trouble:
    if isinstance(error.__cause__, httpx2.ConnectError | httpx2.ConnectTimeout):  # the proxy itself was not reached
        found = trouble(error.__cause__, "the proxy")
        return Trouble(found.says, f"{found.mend} (CALLTRIAGE_PROXY)", found.code)
    status = str(error)[:3]
    if status == "407":
        return Trouble(
            "The proxy does not accept the credentials that it was given.",
            "put the user and the password into CALLTRIAGE_PROXY: http://user:password@host:port",
            PROXY,
        )
    if status.startswith("4"):
        return Trouble(f"The proxy refuses to connect to {what}.", "have the proxy allow its host", PROXY)
    return Trouble(f"The proxy got no connection to {what}.", "check the proxy, and the address in the settings")


def not_connected(error: BaseException, *, is_write: bool, what: str = "the API") -> CallError:
    """The error of a call that never left, because there is no connection to `what`."""
    found = trouble(error, what)
    outcome: Outcome | None = "not_committed" if is_write else None
    mend = found.mend.rstrip(".")
    made: CallError
    if found.code is not None:
        advice = f"Nothing was sent, and waiting does not help. Ask the operator: {mend}."
        made = Blocked(f"{found.says} {advice}", code=found.code, outcome=outcome)
    else:
        advice = "Nothing was carried out; call again." if is_write else "Wait, then call again."
        made = Unreachable(f"{found.says} {advice} If it stays so, ask the operator: {mend}.", outcome=outcome)
    made.for_operator = f"{found.says} {mend[0].upper()}{mend[1:]}."
    return made


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and everything that led to it; the pool hides the cause and leaves the context."""
    yield error
    if is_group(error):
        for one in error.exceptions:
            yield from _causes(one)
    if before := error.__cause__ or error.__context__:
        yield from _causes(before)


def _found(error: BaseException, kind: type[E]) -> E | None:
    return next((one for one in _causes(error) if isinstance(one, kind)), None)
