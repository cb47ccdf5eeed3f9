"""Other people's networks, on the loopback: servers with good and bad certificates, and proxies."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import trustme
from anyio.abc import AnyByteStream, SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.tls import TLSListener


def server_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def self_signed(folder: Path) -> ssl.SSLContext:
    """A certificate that nobody but itself has signed."""
    alone, file = trustme.CA(), folder / "alone.pem"
    file.write_bytes(alone.private_key_pem.bytes() + alone.cert_pem.bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


def expired(authority: trustme.CA, host: str) -> ssl.SSLContext:
    now = datetime.now(UTC)
    return server_context(
        authority.issue_cert(host, not_before=now - timedelta(days=9), not_after=now - timedelta(days=1))
    )


@asynccontextmanager
async def tls_server(
    context: ssl.SSLContext, answer: Callable[[bytes], bytes]
) -> AsyncGenerator[tuple[int, list[bytes]]]:
    """HTTPS on a free port of the loopback, one request each connection; yields the port and the heads that came."""
    heads: list[bytes] = []

    async def serve(stream: AnyByteStream) -> None:
        async with stream:
            try:
                head = await BufferedByteReceiveStream(stream).receive_until(b"\r\n\r\n", 65536)
                heads.append(head)
                await stream.send(answer(head))
            except (anyio.BrokenResourceError, anyio.IncompleteRead, anyio.EndOfStream, ssl.SSLError):
                return

    async def refused(exc: BaseException, stream: AnyByteStream) -> None:
        """The client did not like the certificate."""
        await anyio.aclose_forcefully(stream)
        assert isinstance(exc, ssl.SSLError | OSError | anyio.BrokenResourceError | anyio.EndOfStream), exc

    class Listener(TLSListener):
        handle_handshake_error = staticmethod(refused)

    plain = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    async with plain, anyio.create_task_group() as tasks:
        tasks.start_soon(Listener(plain, context, standard_compatible=False).serve, serve)
        yield plain.extra(SocketAttribute.local_port), heads
        tasks.cancel_scope.cancel()


@dataclass
class Proxy:
    """A proxy that connects everything that it is asked for with one port of the loopback.

    Attributes:
        port: where it connects to.
        refusal: status line that it answers with instead, such as `407 Proxy Authentication Required`.
        heads: what it was asked.
    """

    port: int
    refusal: str | None = None
    heads: list[bytes] = field(default_factory=list[bytes])
    url: str = ""

    @property
    def targets(self) -> list[str]:
        return [head.split(b" ")[1].decode() for head in self.heads]

    async def serve(self, client: SocketStream) -> None:
        async with client:
            try:
                head = await BufferedByteReceiveStream(client).receive_until(b"\r\n\r\n", 65536)
                self.heads.append(head)
                if self.refusal is not None:
                    await client.send(f"HTTP/1.1 {self.refusal}\r\ncontent-length: 0\r\n\r\n".encode())
                    return
                async with await anyio.connect_tcp("127.0.0.1", self.port) as server:
                    if head.startswith(b"CONNECT "):
                        await client.send(b"HTTP/1.1 200 Connected\r\n\r\n")
                    else:
                        await server.send(head + b"\r\n\r\n")
                    async with anyio.create_task_group() as both:
                        both.start_soon(_carry, client, server, both.cancel_scope)
                        both.start_soon(_carry, server, client, both.cancel_scope)
            except (anyio.BrokenResourceError, anyio.IncompleteRead, anyio.EndOfStream):
                return


async def _carry(source: SocketStream, target: SocketStream, scope: anyio.CancelScope) -> None:
    try:
        async for piece in source:
            await target.send(piece)
    except anyio.BrokenResourceError:
        pass
    scope.cancel()


@asynccontextmanager
async def proxy(port: int, refusal: str | None = None) -> AsyncGenerator[Proxy]:
    """A proxy on a free port of the loopback."""
    double = Proxy(port, refusal)
    async with await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0) as listener:
        double.url = f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, double.serve)
            yield double
            tasks.cancel_scope.cancel()


def nobody() -> int:
    """A port of the loopback at which nobody listens."""
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]
