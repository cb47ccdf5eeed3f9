"""Certificates, proxies and what a failed connection is called, on real connections."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
import trustme
from conftest import endpoints_to, no_sleep
from faults import Inner, Scripted, http_answer, says, tcp_server
from networks import Proxy, expired, nobody, proxy, self_signed, server_context, tls_server
from pydantic import SecretStr

from calltriage.client.client import open_client
from calltriage.client.credentials import ApiKey, ClientCredentials, Endpoint
from calltriage.client.network import Network, trusted
from calltriage.client.public_addresses import Guarded
from calltriage.client.retries import RetryPolicy
from calltriage.client.signed_links import Links
from calltriage.errors import Blocked, CallError, SettingsError, Unreachable
from calltriage.operations.attachments import GetAttachment
from calltriage.operations.base import Api, Operation
from calltriage.operations.flags import FlagTypeUse, ListFlagTypes
from calltriage.operations.issues import CreateIssue
from calltriage.operations.results import Page

PAGE = http_answer("200 OK", b'{"data": {"items": [], "next_cursor": null}, "errors": null}')
READ = ListFlagTypes()
ADD = CreateIssue(title="t", severity="low", category="c")
VENDOR = "api.vendor.example"
PUBLIC = "93.184.216.34"
ACCESS = "user:pass%40word"


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusts(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))


def triage(url: str) -> dict[Api, Endpoint]:
    return {Api.TRIAGE: Endpoint(url, ApiKey(SecretStr("key")), retry=RetryPolicy(sleep=no_sleep))}


async def asked(url: str, network: Network | None = None) -> Page[FlagTypeUse]:
    with anyio.fail_after(20):
        async with open_client(triage(url), network=network) as client:
            return await client.send(READ)


async def failure(
    endpoints: dict[Api, Endpoint], operation: Operation[Any], network: Network | None = None
) -> CallError:
    with anyio.fail_after(20), pytest.raises(CallError) as caught:
        async with open_client(endpoints, network=network) as client:
            await client.send(operation)
    return caught.value


# Certificates


BAD: dict[str, tuple[Callable[[trustme.CA, Path], ssl.SSLContext], str]] = {
    "unknown authority": (lambda _, __: server_context(trustme.CA().issue_cert("127.0.0.1")), "SSL_CERT_FILE"),
    "self-signed": (lambda _, folder: self_signed(folder), "SSL_CERT_FILE"),
    "expired": (lambda known, _: expired(known, "127.0.0.1"), "expired"),
    "another host": (lambda known, _: server_context(known.issue_cert("elsewhere.example")), "another"),
    "another address": (lambda known, _: server_context(known.issue_cert("127.0.0.2")), "another"),
}


@pytest.mark.usefixtures("trusts")
@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize(("operation", "outcome"), [(READ, None), (ADD, "not_committed")], ids=["read", "write"])
async def test_a_bad_certificate_is_said_and_not_tried_again(
    name: str, operation: Operation[Any], outcome: str | None, authority: trustme.CA, tmp_path: Path
) -> None:
    make, said = BAD[name]
    async with tls_server(make(authority, tmp_path), lambda _: PAGE) as (port, heads):
        error = await failure(triage(f"https://127.0.0.1:{port}"), operation)
    assert type(error) is Blocked
    assert (error.code, error.outcome, error.body()["retryable"]) == ("certificate_not_trusted", outcome, False)
    assert "certificate of the API" in str(error)
    assert said in str(error)
    assert heads == []


async def test_a_bad_certificate_opens_no_breaker(authority: trustme.CA) -> None:
    from calltriage.client.limits import Breaker

    async with tls_server(server_context(authority.issue_cert("127.0.0.1")), lambda _: PAGE) as (port, _):
        endpoint = Endpoint(f"https://127.0.0.1:{port}", ApiKey(SecretStr("key")), breaker=Breaker(in_a_row=1))
        async with open_client({Api.TRIAGE: endpoint}) as client:
            for _ in range(3):
                with pytest.raises(Blocked):
                    await client.send(READ)


@pytest.mark.usefixtures("trusts")
async def test_an_own_authority_is_named_by_a_file(authority: trustme.CA) -> None:
    async with tls_server(server_context(authority.issue_cert("127.0.0.1")), lambda _: PAGE) as (port, _):
        assert (await asked(f"https://127.0.0.1:{port}")).items == []


@pytest.mark.parametrize("prepared", [True, False], ids=["hashed names", "any names"])
async def test_an_own_authority_is_named_by_a_folder(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prepared: bool
) -> None:
    file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    (tmp_path / "notes.txt").write_text("not a certificate")
    if prepared:
        said = await anyio.run_process(["openssl", "x509", "-noout", "-subject_hash", "-in", str(file)])
        file.rename(tmp_path / f"{said.stdout.decode().strip()}.0")
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    async with tls_server(server_context(authority.issue_cert("127.0.0.1")), lambda _: PAGE) as (port, _):
        assert (await asked(f"https://127.0.0.1:{port}")).items == []


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
@pytest.mark.parametrize("what", ["absent", "no certificate"])
async def test_a_variable_that_names_no_certificates_is_named(
    variable: str, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / what
    if what != "absent" and variable == "SSL_CERT_FILE":
        place.write_text("no certificate")
    elif what != "absent":
        place.mkdir()
    monkeypatch.setenv(variable, str(place))
    with pytest.raises(SettingsError, match=variable):
        trusted()
    error = await failure(triage("https://127.0.0.1:1"), READ)
    assert (type(error), error.code) == (Blocked, "certificate_not_trusted")
    assert variable in str(error)
    assert str(tmp_path) not in str(error)


async def test_no_authority_is_read_where_no_certificate_is_checked() -> None:
    network = Network()
    async with tcp_server(says(PAGE)) as (url, _):
        await asked(url, network)
    assert network._tls is None


# What failed


@pytest.mark.slow
async def test_a_host_that_is_not_there_is_told_by_its_kind() -> None:
    error = await failure(triage("https://no-such-host.invalid"), READ)
    assert type(error) is Unreachable
    assert "host name of the API was not found" in str(error)
    error = await failure(triage(f"https://127.0.0.1:{nobody()}"), ADD)
    assert (type(error), error.outcome) == (Unreachable, "not_committed")
    assert "refused the connection" in str(error)
    async with tcp_server(says(PAGE)) as (url, _):
        error = await failure(triage(url.replace("http:", "https:")), READ)
    assert type(error) is Unreachable
    assert "did not answer with TLS" in str(error)


def breaks(error: type[httpx2.TransportError], cause: BaseException | None = None) -> Scripted:
    async def step(request: httpx2.Request, _: Inner) -> httpx2.Response:
        raise error("as scripted", request=request) from cause

    return Scripted(step)


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (breaks(httpx2.ConnectTimeout), "The connection to the API timed out"),
        (breaks(httpx2.ConnectError, socket.gaierror(socket.EAI_AGAIN, "")), "host name of the API was not found"),
        (breaks(httpx2.ConnectError, ExceptionGroup("", [OSError(), ConnectionRefusedError()])), "refused"),
        (breaks(httpx2.ConnectError, OSError(101, "Network is unreachable")), "no way to the host"),
        (breaks(httpx2.ReadTimeout), "The answer timed out"),
        (breaks(httpx2.ConnectError), "No connection to the API"),
    ],
    ids=["time-out", "name", "refused", "no route", "no answer", "unknown"],
)
async def test_each_kind_has_its_words(network: Scripted, said: str) -> None:
    async with open_client(endpoints_to(network)) as client:
        with pytest.raises(Unreachable, match=said) as caught:
            await client.send(READ)
    assert caught.value.body()["retryable"]


# Proxies


@asynccontextmanager
async def behind_proxy(authority: trustme.CA, refusal: str | None = None) -> AsyncGenerator[tuple[Proxy, list[bytes]]]:
    """A vendor that only the proxy finds."""
    async with (
        tls_server(server_context(authority.issue_cert(VENDOR)), lambda _: PAGE) as (port, heads),
        proxy(port, refusal) as through,
    ):
        yield through, heads


@pytest.mark.usefixtures("trusts")
async def test_a_proxy_is_asked_for_the_vendor_and_never_sees_the_key(authority: trustme.CA) -> None:
    async with behind_proxy(authority) as (through, heads):
        url = through.url.replace("//", f"//{ACCESS}@")
        assert (await asked(f"https://{VENDOR}", Network(url))).items == []
    assert through.targets == [f"{VENDOR}:443"]
    assert b"Proxy-Authorization: Basic dXNlcjpwYXNzQHdvcmQ=" in through.heads[0]
    assert b"authorization: key" not in through.heads[0].lower().replace(b"proxy-authorization", b"")
    assert b"authorization: key" in heads[0].lower()
    assert b"proxy-authorization" not in heads[0].lower()


@pytest.mark.usefixtures("trusts")
@pytest.mark.parametrize(
    ("refusal", "kind", "code", "said"),
    [
        ("407 Proxy Authentication Required", Blocked, "proxy_refused", "user:password@host:port"),
        ("403 Forbidden", Blocked, "proxy_refused", "The proxy refuses to connect to the API"),
        ("502 Bad Gateway", Unreachable, "unreachable", "The proxy got no connection to the API"),
    ],
)
@pytest.mark.parametrize(("operation", "outcome"), [(READ, None), (ADD, "not_committed")], ids=["read", "write"])
async def test_what_a_proxy_refuses_is_said(
    refusal: str,
    kind: type[CallError],
    code: str,
    said: str,
    operation: Operation[Any],
    outcome: str | None,
    authority: trustme.CA,
) -> None:
    async with behind_proxy(authority, refusal) as (through, heads):
        network = Network(through.url.replace("//", f"//{ACCESS}@"))
        error = await failure(triage(f"https://{VENDOR}"), operation, network)
    assert (type(error), error.code, error.outcome) == (kind, code, outcome)
    assert said in str(error)
    assert "pass@word" not in str(error)
    assert "pass@word" not in repr(network)
    assert heads == []


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
async def test_a_proxy_that_is_not_there_is_not_taken_for_the_vendor(host: str) -> None:
    error = await failure(triage(f"https://{VENDOR}"), ADD, Network(f"http://{host}:{nobody()}"))
    assert (type(error), error.outcome) == (Unreachable, "not_committed")
    assert "the proxy" in str(error)
    assert "CALLTRIAGE_PROXY" in str(error)


@pytest.mark.usefixtures("trusts")
async def test_a_certificate_is_checked_through_a_proxy(authority: trustme.CA) -> None:
    async with behind_proxy(authority) as (through, _):
        error = await failure(triage("https://other.example"), READ, Network(through.url))
    assert (type(error), error.code) == (Blocked, "certificate_not_trusted")


async def test_plain_http_on_this_machine_may_go_through_a_proxy_on_it() -> None:
    async with tcp_server(says(PAGE)) as (url, _), proxy(int(url.rpartition(":")[2])) as through:
        await asked(url, Network(through.url))
        assert through.heads[0].startswith(f"GET {url}/v1/triage/".encode())
        through.refusal = "407 Proxy Authentication Required"
        error = await failure(triage(url), READ, Network(through.url))
    assert (type(error), "CALLTRIAGE_PROXY" in str(error)) == (Blocked, True)


@pytest.mark.parametrize(
    ("variables", "setting", "host", "proxy"),
    [
        ({"HTTPS_PROXY": "http://p:1"}, None, VENDOR, None),
        ({"HTTPS_PROXY": "http://p:1"}, "environment", VENDOR, "http://p:1"),
        ({"https_proxy": "p:1"}, "environment", VENDOR, "http://p:1"),
        ({"ALL_PROXY": "http://p:1"}, "environment", VENDOR, "http://p:1"),
        ({"HTTP_PROXY": "http://p:1"}, "environment", VENDOR, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "vendor.example"}, "environment", VENDOR, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, "environment", VENDOR, None),
        ({"HTTPS_PROXY": "http://p:1"}, "environment", "127.0.0.1", None),
        ({"NO_PROXY": "*"}, "http://p:1", VENDOR, "http://p:1"),
        ({}, "http://p:1", "::1", None),
        ({}, "http://localhost:1", "127.0.0.1", "http://localhost:1"),
        ({}, "environment", VENDOR, None),
    ],
)
def test_whose_proxy_counts(
    variables: dict[str, str], setting: str | None, host: str, proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Network(setting).proxy_to("https", host) == proxy


async def test_a_proxy_of_a_kind_that_is_not_known_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://user:canary@p:1")
    error = await failure(triage(f"https://{VENDOR}"), READ, Network("environment"))
    assert type(error) is Blocked
    assert "http://host:port" in str(error)
    assert "canary" not in str(error)


# The token endpoint and files' links


def attachments(port: int) -> dict[Api, Endpoint]:
    oauth = ClientCredentials(f"https://127.0.0.1:{port}/oauth/token", "id", SecretStr("secret"), ())
    url = f"https://127.0.0.1:{port}"
    return {Api.ATTACHMENTS: Endpoint(url, oauth, retry=RetryPolicy(sleep=no_sleep))}


async def test_the_token_endpoint_is_told_from_the_api(authority: trustme.CA) -> None:
    read = GetAttachment(attachment_id="a")
    async with tls_server(server_context(authority.issue_cert("127.0.0.1")), lambda _: PAGE) as (port, _):
        error = await failure(attachments(port), read)
    assert type(error) is Blocked
    assert "certificate of the token endpoint" in str(error)
    error = await failure(attachments(nobody()), read)
    assert type(error) is Unreachable
    assert "token endpoint refused" in str(error)


async def resolve(_host: str, _port: int) -> list[str]:
    return [PUBLIC]


async def private(_host: str, _port: int) -> list[str]:
    return ["10.0.0.7"]


async def bytes_of(links: Links, url: str) -> bytes:
    with anyio.fail_after(20):
        async with links.get(url) as fetch:
            return b"".join([piece async for piece in fetch.pieces])


@pytest.mark.usefixtures("trusts")
async def test_a_proxy_is_asked_for_the_address_that_was_looked_at(authority: trustme.CA) -> None:
    endpoint = attachments(443)[Api.ATTACHMENTS]
    answer = http_answer("200 OK", b"bytes")
    async with (
        tls_server(server_context(authority.issue_cert("files.example")), lambda _: answer) as (port, heads),
        proxy(port) as through,
    ):
        network = Network(through.url).transport(kept=0)
        links = Links(endpoint, 10, Guarded(network, resolve))
        assert await bytes_of(links, "https://files.example/key?signature=s") == b"bytes"
        assert through.targets == [f"{PUBLIC}:443"]
        assert b"host: files.example" in heads[0].lower()
        inside = Links(endpoint, 10, Guarded(network, private))
        with pytest.raises(CallError, match="private network"):
            await bytes_of(inside, "https://files.example/key")
        through.refusal = "403 Forbidden"
        with pytest.raises(Blocked, match="proxy refuses to connect to the store"):
            await bytes_of(links, "https://files.example/key")
        await links.aclose()
    assert len(through.heads) == 2


async def test_a_file_store_s_certificate_is_said(authority: trustme.CA) -> None:
    async with tls_server(server_context(authority.issue_cert("127.0.0.1")), lambda _: PAGE) as (port, _):
        links = Links(attachments(port)[Api.ATTACHMENTS], 10)
        with pytest.raises(Blocked, match="certificate of the store") as caught:
            await bytes_of(links, f"https://127.0.0.1:{port}/key")
        await links.aclose()
    assert caught.value.code == "certificate_not_trusted"
