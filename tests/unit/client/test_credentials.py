"""Where the vendors are and how access is asked for."""

from __future__ import annotations

import base64
import json
import traceback
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import anyio
import httpx2
import pytest
from conftest import DESK_URL, no_sleep
from faults import Gate, Scripted, Step, answers, fails
from pydantic import SecretStr

from calltriage.client.client import Client, open_client
from calltriage.client.credentials import ApiKey, ClientCredentials, Endpoint, check_base_url
from calltriage.client.http import Http
from calltriage.client.retries import RetryPolicy
from calltriage.errors import (
    CallError,
    Forbidden,
    NotFound,
    RateLimited,
    ServerFailure,
    SettingsError,
    Unauthenticated,
    Unreachable,
    UnreadableAnswer,
)
from calltriage.operations.attachments import Attachment, CreateAttachment, GetAttachment
from calltriage.operations.base import Api, Operation

SECRET = "canary-secret"
READ = GetAttachment(attachment_id="a")
ADD = CreateAttachment(name="n", request_id="r")
RECORD = {"id": "a", "name": "n", "state": "published"}


class Seconds:
    """A monotonic clock, moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Vendor(httpx2.AsyncBaseTransport):
    """A token endpoint that counts its tokens (`token-1`, …) and an API that asks `accepts` of each.

    `token_step` and `api_step` replace an answer with a scripted one.
    """

    def __init__(
        self, *, accepts: Callable[[str], bool] = lambda _: True, token: Step | None = None, lifetime: Any = 599
    ) -> None:
        self._accepts, self._token, self._lifetime = accepts, token, lifetime
        self.token_requests: list[httpx2.Request] = []
        self.api_requests: list[httpx2.Request] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        await request.aread()
        if request.url.path == "/oauth/token":
            self.token_requests.append(request)
            if self._token is not None:
                return await self._token(request, None)
            await anyio.lowlevel.checkpoint()
            token = f"token-{len(self.token_requests)}"
            return httpx2.Response(200, json={"access_token": token, "expires_in": self._lifetime}, request=request)
        self.api_requests.append(request)
        good = self._accepts(request.headers["authorization"].removeprefix("Bearer "))
        return httpx2.Response(200 if good else 401, json=RECORD if good else {}, request=request)

    def tokens_used(self) -> list[str]:
        return [request.headers["authorization"] for request in self.api_requests]


def endpoints(
    vendor: httpx2.AsyncBaseTransport, clock: Callable[[], float] = anyio.current_time
) -> dict[Api, Endpoint]:
    oauth = ClientCredentials(f"{DESK_URL}/oauth/token", "canary-id", SecretStr(SECRET), ("one", "two"), clock)
    return {Api.ATTACHMENTS: Endpoint(DESK_URL, oauth, vendor, retry=RetryPolicy(sleep=no_sleep))}


async def failure_of(client: Client, operation: Operation[Any] = READ) -> CallError:
    with anyio.fail_after(10), pytest.raises(CallError) as caught:
        await client.send(operation)
    return caught.value


async def refused_token(token: Step, operation: Operation[Any] = READ) -> tuple[CallError, Vendor]:
    vendor = Vendor(token=token)
    async with open_client(endpoints(vendor)) as client:
        return await failure_of(client, operation), vendor


# API keys


@pytest.mark.parametrize(("scheme", "header"), [("raw", "k-1"), ("bearer", "Bearer k-1")])
async def test_a_key_is_sent_bare_or_as_a_bearer(scheme: str, header: str) -> None:
    assert await ApiKey(SecretStr("k-1"), scheme).header(Http(Scripted(), DESK_URL)) == header


# Tokens


async def test_the_token_request_is_the_contract_s() -> None:
    vendor = Vendor()
    async with open_client(endpoints(vendor)) as client:
        await client.send(READ)
    (request,) = vendor.token_requests
    assert request.method == "POST"
    assert request.headers["authorization"] == "Basic " + base64.b64encode(b"canary-id:canary-secret").decode()
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert parse_qs(request.content.decode()) == {"grant_type": ["client_credentials"], "scope": ["one two"]}
    assert vendor.tokens_used() == ["Bearer token-1"]


async def test_many_calls_at_once_ask_for_one_token() -> None:
    vendor, done = Vendor(), list[Attachment]()

    async def call(client: Client) -> None:
        done.append(await client.send(READ))

    async with open_client(endpoints(vendor)) as client:
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                for _ in range(50):
                    tasks.start_soon(call, client)
    assert len(done) == len(vendor.api_requests) == 50
    assert len(vendor.token_requests) == 1


@pytest.mark.parametrize(("passed", "renewed"), [(0, False), (538, False), (539, True), (600, True)])
async def test_a_token_is_renewed_60_seconds_before_its_end(passed: float, renewed: bool) -> None:
    vendor, clock = Vendor(), Seconds()
    async with open_client(endpoints(vendor, clock)) as client:
        await client.send(READ)
        clock.now += passed
        await client.send(READ)
    assert vendor.tokens_used()[1] == ("Bearer token-2" if renewed else "Bearer token-1")
    assert len(vendor.token_requests) == 1 + renewed


@pytest.mark.parametrize("operation", [READ, ADD], ids=["a read", "an add"])
async def test_a_token_that_is_refused_is_replaced_once_and_the_call_repeated(operation: Operation[Any]) -> None:
    vendor = Vendor(accepts=lambda token: token != "token-1")
    async with open_client(endpoints(vendor)) as client:
        receipt = await client.deliver(operation)
        await client.send(READ)
    assert receipt.result.id == "a"
    assert vendor.tokens_used() == ["Bearer token-1", "Bearer token-2", "Bearer token-2"]
    assert len(vendor.token_requests) == 2


@pytest.mark.parametrize(("operation", "outcome"), [(READ, None), (ADD, "not_committed")], ids=["a read", "an add"])
async def test_a_second_refusal_is_final(operation: Operation[Any], outcome: str | None) -> None:
    vendor = Vendor(accepts=lambda _: False)
    async with open_client(endpoints(vendor)) as client:
        error = await failure_of(client, operation)
    assert (type(error), error.outcome) == (Unauthenticated, outcome)
    assert vendor.tokens_used() == ["Bearer token-1", "Bearer token-2"]


async def test_calls_refused_together_share_the_new_token() -> None:
    gate = Gate()
    inner = Vendor(accepts=lambda token: token != "token-1")
    api = Scripted(*[gate.holds()] * 4, inner=inner, only=lambda request: request.url.path != "/oauth/token")
    async with open_client(endpoints(api)) as client:
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                for _ in range(4):
                    tasks.start_soon(client.send, READ)
                while gate.inside < 4:
                    await anyio.lowlevel.checkpoint()
                gate.opened.set()
    assert len(inner.token_requests) == 2


async def test_a_call_refused_after_the_renewal_takes_the_new_token() -> None:
    """Both were sent with the first token; the second refusal comes when the first one was mended already."""
    gate = Gate()
    inner = Vendor(accepts=lambda token: token != "token-1")
    api = Scripted(gate.holds(), inner=inner, only=lambda request: request.url.path != "/oauth/token")
    async with open_client(endpoints(api)) as client:
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.send, READ)
                while gate.inside < 1:
                    await anyio.lowlevel.checkpoint()
                await client.send(READ)
                gate.opened.set()
    assert len(inner.token_requests) == 2


TOKEN_FAILURES: dict[str, tuple[Step, type[CallError]]] = {
    "400": (answers(400, {"error": "invalid_request"}), Unauthenticated),
    "401": (answers(401, {"error": "invalid_client"}), Unauthenticated),
    "403": (answers(403), Forbidden),
    "429": (answers(429), RateLimited),
    "500": (answers(500), ServerFailure),
    "302": (answers(302, headers={"location": "/login"}), UnreadableAnswer),
    "html": (answers(200, b"<html>Sign in</html>"), UnreadableAnswer),
    "nothing": (answers(200), UnreadableAnswer),
    "a list": (answers(200, []), UnreadableAnswer),
    "no token": (answers(200, {"expires_in": 599}), UnreadableAnswer),
    "null token": (answers(200, {"access_token": None, "expires_in": 599}), UnreadableAnswer),
    "empty token": (answers(200, {"access_token": "", "expires_in": 599}), UnreadableAnswer),
    "token with a line feed": (answers(200, {"access_token": "t\r\nx: y", "expires_in": 599}), UnreadableAnswer),
    "token with a NUL": (answers(200, {"access_token": "t\x00", "expires_in": 599}), UnreadableAnswer),
    "token with an accent": (answers(200, {"access_token": "té", "expires_in": 599}), UnreadableAnswer),
    "unreachable": (fails(httpx2.ConnectError), Unreachable),
    "reset": (fails(httpx2.ReadError), Unreachable),
}


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ({}, 300),
        ({"expires_in": None}, 300),
        ({"expires_in": ""}, 300),
        ({"expires_in": "soon"}, 300),
        ({"expires_in": "nan"}, 300),
        ({"expires_in": [599]}, 300),
        ({"expires_in": -1}, 300),
        ({"expires_in": "599"}, 599),
        ({"expires_in": "inf"}, 86_400),
        ({"expires_in": 1_777_629_600}, 86_400),
    ],
)
async def test_a_token_whose_lifetime_is_not_said_is_renewed_in_time(said: dict[str, Any], seconds: float) -> None:
    clock = [0.0]
    vendor = Vendor(token=answers(200, {"access_token": "t", **said}))
    async with open_client(endpoints(vendor, lambda: clock[0])) as client:
        for now in (0, seconds - 61, seconds - 59):
            clock[0] = now
            await client.send(READ)
    assert len(vendor.token_requests) == 2


@pytest.mark.parametrize("name", TOKEN_FAILURES)
async def test_without_a_token_no_call_is_made(name: str) -> None:
    step, kind = TOKEN_FAILURES[name]
    error, vendor = await refused_token(step)
    assert type(error) is kind
    assert vendor.api_requests == []


@pytest.mark.parametrize("name", TOKEN_FAILURES)
async def test_without_a_token_a_write_was_not_committed(name: str) -> None:
    step, kind = TOKEN_FAILURES[name]
    error, vendor = await refused_token(step, ADD)
    assert (type(error), error.outcome) == (kind, "not_committed")
    assert vendor.api_requests == []


async def test_a_token_endpoint_that_is_not_there_is_not_the_caller_s_id() -> None:
    error, _ = await refused_token(answers(404))
    assert not isinstance(error, NotFound)


@pytest.mark.parametrize("operation", [READ, ADD], ids=["a read", "an add"])
async def test_a_failing_token_endpoint_is_asked_again(operation: Operation[Any]) -> None:
    inner = Vendor()
    network = Scripted(answers(503), inner=inner, only=lambda request: request.url.path == "/oauth/token")
    async with open_client(endpoints(network)) as client:
        await client.send(operation)
    assert (len(network.requests), len(inner.api_requests)) == (2, 1)


async def test_a_write_whose_second_token_request_is_cut_was_not_committed() -> None:
    inner = Vendor(accepts=lambda _: False)
    token = Scripted(
        answers(200, {"access_token": "t", "expires_in": 599}),
        fails(httpx2.ReadError),
        inner=inner,
        only=lambda request: request.url.path == "/oauth/token",
    )
    async with open_client({**endpoints(token)}) as client:
        error = await failure_of(client, ADD)
    assert error.outcome == "not_committed"


async def test_a_failed_renewal_does_not_bring_the_old_token_back() -> None:
    clock = Seconds()
    inner = Vendor()
    token = Scripted(
        answers(200, {"access_token": "old", "expires_in": 599}),
        answers(400),
        inner=inner,
        only=lambda request: request.url.path == "/oauth/token",
    )
    async with open_client(endpoints(token, clock)) as client:
        await client.send(READ)
        clock.now += 600
        assert type(await failure_of(client)) is Unauthenticated
        await client.send(READ)
    assert inner.tokens_used() == ["Bearer old", "Bearer token-1"]


async def test_the_token_goes_to_the_api_alone() -> None:
    vendor = Vendor()
    async with open_client(endpoints(vendor)) as client:
        await client.send(READ)
    (request,) = vendor.api_requests
    assert SECRET not in str(request.headers.raw) + str(request.url)
    assert "token-1" not in str(request.url)


# Secrets


async def test_no_secret_is_in_what_is_printed() -> None:
    oauth = ClientCredentials(f"{DESK_URL}/oauth/token", "id", SecretStr(SECRET), ())
    key = ApiKey(SecretStr(SECRET))
    await oauth.header(Http(Vendor(), DESK_URL))
    for thing in (oauth, key, Endpoint(DESK_URL, oauth, Vendor()), Endpoint(DESK_URL, key, Vendor())):
        assert SECRET not in repr(thing) + str(thing)
        assert "token-1" not in repr(thing) + str(thing)


@pytest.mark.parametrize("name", TOKEN_FAILURES)
async def test_no_secret_is_in_an_error_about_tokens(name: str) -> None:
    error, _ = await refused_token(TOKEN_FAILURES[name][0])
    story = repr(error) + json.dumps(error.body()) + "".join(traceback.format_exception(error))
    assert SECRET not in story
    assert base64.b64encode(f"canary-id:{SECRET}".encode()).decode() not in story


# Base URLs


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.com", "https://api.example.com/", "https://api.example.com/v1",
        "https://api.example.com:8443", "http://127.0.0.1:8000", "http://localhost", "http://[::1]:8000",
        "https://[2001:db8::1]/x",
        "HTTPS://API.EXAMPLE.COM",
    ],
)  # fmt: skip
def test_https_and_this_machine_are_good_base_urls(url: str) -> None:
    check_base_url(url)
    Endpoint(url, ApiKey(SecretStr("k")))


@pytest.mark.parametrize(
    "url",
    [
        "", "api.example.com", "/v1", "//api.example.com", "https://", "https:///v1", "http://api.example.com",
        "http://10.0.0.1", "http://127.0.0.1.evil.example", "http://localhost.evil.example",
        "http://127.0.0.1@evil.example", "ftp://api.example.com", "file:///etc/passwd", "javascript:alert(1)",
        "ws://localhost",
        "https://user@api.example.com", "https://user:canary@api.example.com", "https://:canary@api.example.com",
        "https://api.example.com?x=1", "https://api.example.com/#x", "https://[::1", "https://[nonsense]",
        "https://api.example.com:99999", "https://api.example.com:port", "https://api example.com",
        "https://api.example.com/\x00", "https://api.example.com/a\nb",
    ],
    ids=ascii,
)  # fmt: skip
def test_any_other_base_url_is_a_settings_error(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Endpoint(url, ApiKey(SecretStr("k")))
    assert "canary" not in str(caught.value)


def test_a_base_url_behind_a_transport_of_its_own_needs_no_check() -> None:
    assert Endpoint(DESK_URL, ApiKey(SecretStr("k")), Scripted()).base_url == DESK_URL
