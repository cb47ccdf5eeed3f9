"""The address that was looked at is the address that is connected to."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import httpx2
import pytest
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.tls import TLSListener, TLSStream
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from faults import Scripted, answers, fails

from calltriage.client.public_addresses import Guarded, Resolve, UnsafeTargetError, is_public, resolved

PUBLIC, PRIVATE = "93.184.216.34", "127.0.0.1"


def names(*turns: list[str]) -> tuple[Resolve, list[str]]:
    """A name server that answers so in turn, the last for ever, and what it was asked."""
    asked: list[str] = []

    async def resolve(host: str, _port: int) -> list[str]:
        asked.append(host)
        return turns[min(len(asked), len(turns)) - 1]

    return resolve, asked


async def got(guarded: Guarded, url: str = "https://bucket.example/key") -> httpx2.Response:
    return await guarded.handle_async_request(httpx2.Request("GET", url))


async def test_the_name_is_looked_up_once_and_the_address_is_pinned() -> None:
    resolve, asked = names([PUBLIC], [PRIVATE])
    network = Scripted(answers(200))
    await got(Guarded(network, resolve))
    [request] = network.requests
    assert asked == ["bucket.example"]
    assert request.url.host == PUBLIC
    assert request.extensions["sni_hostname"] == "bucket.example"
    assert request.headers["host"] == "bucket.example"


@pytest.mark.parametrize("found", [[PRIVATE], [PUBLIC, PRIVATE], [PUBLIC, "::1"], ["fe80::1%eth0"], []])
async def test_a_name_with_any_private_address_is_not_connected_to(found: list[str]) -> None:
    network = Scripted(answers(200))
    with pytest.raises(UnsafeTargetError):
        await got(Guarded(network, names(found)[0]))
    assert network.requests == []


async def test_a_name_without_an_address_is_a_failed_connection() -> None:
    async def unknown(_host: str, _port: int) -> list[str]:
        raise OSError

    with pytest.raises(httpx2.ConnectError):
        await got(Guarded(Scripted(answers(200)), unknown))


async def test_the_next_address_is_tried_when_one_does_not_answer() -> None:
    network = Scripted(fails(httpx2.ConnectError), answers(200))
    await got(Guarded(network, names([PUBLIC, "93.184.216.35"])[0]))
    assert len(network.requests) == 2
    with pytest.raises(httpx2.ConnectError):
        await got(Guarded(Scripted(fails(httpx2.ConnectError)), names([PUBLIC])[0]))


async def test_what_broke_after_connecting_is_not_tried_elsewhere() -> None:
    network = Scripted(fails(httpx2.WriteError), answers(200))
    with pytest.raises(httpx2.WriteError):
        await got(Guarded(network, names([PUBLIC, "93.184.216.35"])[0]))
    assert len(network.requests) == 1


@pytest.mark.parametrize("text", ["1.1.1.1", "2606:4700::1111", "64:ff9b::101:101", "::ffff:1.1.1.1"])
def test_public_addresses(text: str) -> None:
    assert is_public(text)


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1",
        "10.1.1.1",
        "169.254.1.1",
        "224.0.0.1",
        "239.1.1.1",
        "::1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "2002:a00:1::",
        "ff02::1",
        "fec0::1",
        "64:ff9b:1::a00:1",
        "::10.0.0.1",
        "::ffff:0:10.0.0.1",
        "192.0.0.8",
        "192.88.99.1",
        "5f00::1",
        "2001::1",
    ],
)
def test_addresses_that_are_not_public(text: str) -> None:
    assert not is_public(text)


async def test_the_system_s_resolver_is_asked() -> None:
    assert await resolved(PRIVATE, 443) == [PRIVATE]


@contextmanager
def certificate_for(name: str, folder: Path) -> Generator[tuple[ssl.SSLContext, ssl.SSLContext]]:
    """TLS settings of a server that has a certificate for the name, and of a client that trusts it."""
    key, subject = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "both.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(file)
    yield server, ssl.create_default_context(cafile=file)


async def greet(stream: TLSStream | SocketStream) -> None:
    async with stream:
        await stream.receive()
        await stream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")


@pytest.mark.parametrize(("name", "trusted"), [("bucket.example", True), ("other.example", False)])
async def test_the_certificate_must_be_the_name_s_though_the_address_is_connected_to(
    tmp_path: Path, name: str, trusted: bool
) -> None:
    with certificate_for(name, tmp_path) as (server, client):
        async with await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0) as plain:
            port = plain.extra(SocketAttribute.local_port)
            network = httpx2.AsyncHTTPTransport(verify=client, trust_env=False)
            here = ipaddress.ip_address(PRIVATE)
            guarded = Guarded(network, names([PRIVATE])[0], lambda address: ipaddress.ip_address(address) == here)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(TLSListener(plain, server, standard_compatible=False).serve, greet)
                with anyio.fail_after(10):
                    if trusted:
                        answer = await got(guarded, f"https://bucket.example:{port}/key")
                        assert await answer.aread() == b"hi"
                    else:
                        with pytest.raises(httpx2.ConnectError):
                            await got(guarded, f"https://bucket.example:{port}/key")
                await guarded.aclose()
                tasks.cancel_scope.cancel()
