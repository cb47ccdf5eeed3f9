"""Signed URLs: where bytes may go, what goes with them, and what their refusals mean."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import anyio
import httpx2
import pytest
from conftest import DESK_URL, endpoints_to
from faults import Scripted, answers, fails, hangs, loses_the_answer
from vendors import failure_of

from calltriage.client.client import open_client
from calltriage.client.public_addresses import Guarded
from calltriage.client.signed_links import Links
from calltriage.desk.app import Desk
from calltriage.errors import CallError, Forbidden, Rejected, Unreachable, UnreadableAnswer
from calltriage.operations.attachments import CreateAttachment, RequestUploadLink
from calltriage.operations.base import Api


def in_process(desk: Desk) -> httpx2.ASGITransport:
    return httpx2.ASGITransport(desk, raise_app_exceptions=False)


async def one_piece() -> AsyncGenerator[bytes]:
    yield b"hello"


PRIVATE = [
    "http://files.example.com/x", "ftp://files.example.com/x", "//files.example.com/x", "/x", "", "x", "https://",
    "https:///x", "file:///etc/passwd", "https://user@93.184.216.34/x", "https://user:pass@93.184.216.34/x",
    "https://127.0.0.1/x", "https://127.1.2.3/x", "https://localhost/x", "https://0.0.0.0/x", "https://[::1]/x",
    "https://[::]/x", "https://[::ffff:127.0.0.1]/x", "https://[::ffff:10.0.0.1]/x", "https://10.0.0.1/x",
    "https://172.16.0.1/x", "https://192.168.1.1/x", "https://169.254.169.254/latest/meta-data", "https://[fe80::1]/x",
    "https://[fc00::1]/x", "https://100.64.0.1/x", "https://2130706433/x", "https://0x7f000001/x",
    "https://0177.0.0.1/x", "https://127.1/x", "https://224.0.0.1/x", "https://255.255.255.255/x",
    "https://240.0.0.1/x",
    "https://[64:ff9b::7f00:1]/x", "https://[64:ff9b::a9fe:a9fe]/x", "https://[2002:7f00:1::]/x", "https://[ff02::1]/x",
    f"{DESK_URL}.evil.example/x", f"{DESK_URL}:81/x", "http://desk.test@evil.example/x",
]  # fmt: skip

BROKEN = [
    "https://[::1", "https://[nonsense]/x", "https://93.184.216.34:99999/x", "https://93.184.216.34:port/x",
    "https://93.184.216.34/\x00", "https://93.184.216.34/a b\r\nx: y", "https://a..b\u00fc/x", "https://\u2100/x",
    "https://93.184.216.34:-1/x",
]  # fmt: skip


def links_to(desk: httpx2.AsyncBaseTransport, store: httpx2.AsyncBaseTransport, deadline_s: float = 5.0) -> Links:
    """Links whose own API is `desk` and whose public internet is `store`."""
    return Links(endpoints_to(desk)[Api.ATTACHMENTS], deadline_s, Guarded(store))


async def upload_error(url: str, *steps: Any) -> tuple[BaseException, list[httpx2.Request]]:
    """The error of an upload to the URL, and every request that left."""
    vendor, store = Scripted(*(steps or (answers(200),))), Scripted(answers(200))
    with anyio.fail_after(20), pytest.raises(Exception) as caught:  # noqa: PT011  which one is the test's question
        await links_to(vendor, store, 1.0).put(url, one_piece, size=5, media_type="text/plain")
    return caught.value, vendor.requests + store.requests


@pytest.mark.parametrize("url", PRIVATE)
async def test_bytes_go_to_no_private_or_plain_address(url: str) -> None:
    error, requests = await upload_error(url)
    assert isinstance(error, CallError)
    assert error.outcome == "not_committed"
    assert requests == []


@pytest.mark.parametrize("url", BROKEN, ids=ascii)
async def test_an_upload_link_that_is_no_url_is_a_call_error(url: str) -> None:
    error, requests = await upload_error(url)
    assert isinstance(error, CallError), repr(error)
    assert error.outcome == "not_committed"
    assert requests == []


async def test_bytes_go_to_a_foreign_host_with_nothing_of_ours() -> None:
    vendor, store = Scripted(answers(200)), Scripted(answers(503), answers(200))
    url = "https://93.184.216.34/bucket/./key?X-Amz-Signature=a%2Fb&x=%7e&y=|\"'"
    with anyio.fail_after(10):
        await links_to(vendor, store).put(url, one_piece, size=5, media_type="text/plain")
    assert vendor.requests == []
    assert [request.method for request in store.requests] == ["PUT", "PUT"]
    for request in store.requests:
        assert request.extensions["target"] == b"/bucket/./key?X-Amz-Signature=a%2Fb&x=%7e&y=|\"'", "byte for byte"
        assert dict(request.headers) == {"host": "93.184.216.34", "content-length": "5", "content-type": "text/plain"}


async def test_bytes_come_from_a_foreign_host_with_nothing_of_ours() -> None:
    store = Scripted(answers(200, b"hello", {"set-cookie": "a=b", "etag": '"x"'}))
    links = links_to(Scripted(answers(200)), store)
    for _ in range(2):
        async with links.get("https://93.184.216.34/key?X-Amz-Signature=a") as fetch:
            assert b"".join([piece async for piece in fetch.pieces]) == b"hello"
    async with links.get("https://93.184.216.34/key", start=3, etag='"x"') as fetch:
        pass
    for request in store.requests[:2]:
        assert request.method == "GET"
        assert dict(request.headers) == {"host": "93.184.216.34", "accept-encoding": "identity"}
    assert (store.requests[2].headers["range"], store.requests[2].headers["if-range"]) == ("bytes=3-", '"x"')


@pytest.mark.parametrize("url", PRIVATE + BROKEN, ids=ascii)
async def test_bytes_come_from_no_private_or_plain_address(url: str) -> None:
    vendor, store = Scripted(answers(200)), Scripted(answers(200))
    with pytest.raises(UnreadableAnswer) as caught:
        async with links_to(vendor, store).get(url):
            raise AssertionError("fetched")
    assert caught.value.outcome is None
    assert vendor.requests + store.requests == []


@pytest.mark.parametrize("signed", ["host", "host;content-type", "content-length;host", "Host"])
async def test_a_link_signed_over_headers_that_we_send_is_used(signed: str) -> None:
    error, requests = await upload_error(f"{DESK_URL}/x?X-Amz-SignedHeaders={signed}", answers(403))
    assert type(error) is Forbidden
    assert len(requests) == 1


@pytest.mark.parametrize("signed", ["host;x-amz-acl", "host%3Bx-amz-canary", "authorization"])
async def test_a_link_signed_over_headers_that_we_cannot_know_is_not_used(signed: str) -> None:
    error, requests = await upload_error(f"https://93.184.216.34/x?X-Amz-SignedHeaders={signed}")
    assert isinstance(error, CallError)
    assert error.outcome == "not_committed"
    assert "canary" not in str(error)
    assert requests == []


@pytest.mark.parametrize("base", ["https://10.1.2.3", "https://desk.internal:8443"])
async def test_an_operator_s_own_desk_on_a_private_network_is_reached_at_its_origin_alone(base: str) -> None:
    own, store = Scripted(*[answers(200)] * 2), Scripted()
    endpoint = replace(endpoints_to(own)[Api.ATTACHMENTS], base_url=base)
    links = Links(endpoint, 5.0, Guarded(store))
    await links.put(f"{base}/x", one_piece, size=5, media_type="text/plain")
    assert [str(request.url) for request in own.requests] == [f"{base}/x"]
    for elsewhere in ("https://10.1.2.4/x", "https://10.1.2.3:444/x", "http://10.1.2.3/x", f"{base}.evil.example:1/x"):
        with pytest.raises(CallError):
            await links.put(elsewhere, one_piece, size=5, media_type="text/plain")
    assert len(own.requests) == 1
    assert store.requests == []


async def test_bytes_go_to_the_desk_s_own_address_without_authorization(the_desk: Desk) -> None:
    network = Scripted(inner=in_process(the_desk), only=lambda request: request.method == "PUT")
    async with open_client(endpoints_to(network)) as client:
        link = await client.send(RequestUploadLink())
        with anyio.fail_after(10):
            await client.links.put(link.url, one_piece, size=5, media_type="text/plain")
        kept = await client.send(CreateAttachment(name="n", request_id=link.request_id))
    assert (kept.size, kept.type) == (5, "text/plain")
    (request,) = network.requests
    assert "authorization" not in request.headers
    assert request.headers["content-length"] == "5"


@pytest.mark.parametrize(
    "failure", [answers(503), answers(429), fails(httpx2.ConnectError), loses_the_answer(), fails(httpx2.WriteError)]
)
async def test_bytes_are_sent_again_whole(the_desk: Desk, failure: Any) -> None:
    network = Scripted(failure, inner=in_process(the_desk), only=lambda request: request.method == "PUT")
    async with open_client(endpoints_to(network)) as client:
        link = await client.send(RequestUploadLink())
        with anyio.fail_after(10):
            await client.links.put(link.url, one_piece, size=5, media_type="text/plain")
        assert (await client.send(CreateAttachment(name="n", request_id=link.request_id))).size == 5
    assert len(network.requests) == 2


@pytest.mark.parametrize("status", [400, 403, 404, 409])
async def test_a_refused_upload_is_not_sent_again(status: int) -> None:
    error, requests = await upload_error(f"{DESK_URL}/blobs/x", answers(status))
    assert isinstance(error, CallError)
    assert error.outcome == "not_committed"
    assert len(requests) == 1


async def test_an_upload_that_hangs_ends() -> None:
    links = links_to(Scripted(hangs), Scripted(answers(200)), 0.02)
    with anyio.fail_after(10), pytest.raises(Unreachable) as caught:
        await links.put(f"{DESK_URL}/blobs/x", one_piece, size=5, media_type="text/plain")
    assert caught.value.outcome == "not_committed"


async def test_an_upload_that_is_redirected_is_not_followed() -> None:
    moved = answers(307, headers={"location": "https://93.184.216.34/x"})
    error, requests = await upload_error(f"{DESK_URL}/blobs/x", moved)
    assert type(error) is UnreadableAnswer
    assert len(requests) == 1


async def test_an_upload_shorter_than_announced_is_an_error(the_desk: Desk) -> None:
    async with open_client(endpoints_to(in_process(the_desk))) as client:
        link = await client.send(RequestUploadLink())
        with anyio.fail_after(10), pytest.raises(CallError):
            await client.links.put(link.url, one_piece, size=6, media_type="text/plain")
        assert type(await failure_of(client, CreateAttachment(name="n", request_id=link.request_id))) is Rejected


async def test_the_upload_link_is_not_in_an_error() -> None:
    error, _ = await upload_error("https://10.0.0.1/x?signature=canary")
    other, _ = await upload_error(f"{DESK_URL}/blobs/x?signature=canary", fails(httpx2.WriteError))
    assert "canary" not in "".join(str(found) + repr(found) for found in (error, other))


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (400, b"<Error><Code>EntityTooLarge</Code></Error>", "file_too_large"), (413, b"", "file_too_large"),
        (400, b"<Error><Code>BadDigest</Code><Message>canary</Message></Error>", "invalid_arguments"),
        (403, b"<Error><Code>AccessDenied</Code></Error>", "link_refused"),
    ],
)  # fmt: skip
async def test_the_store_s_refusal_says_what_to_do(status: int, body: bytes, code: str) -> None:
    error, _ = await upload_error(f"{DESK_URL}/blobs/x", answers(status, body))
    assert isinstance(error, CallError)
    assert (error.code, error.outcome) == (code, "not_committed")
    assert "canary" not in str(error.body())
