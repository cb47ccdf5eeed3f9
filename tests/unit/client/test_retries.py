"""When a request is sent again, and how long is waited first."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import anyio
import httpx2
import pytest
from conftest import DESK_URL, KEY
from faults import Scripted, Step, Waits, answers, breaks_off, fails
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from calltriage.client.client import Client, open_client
from calltriage.client.credentials import ApiKey, Endpoint
from calltriage.client.retries import RetryPolicy, may_repeat, retry_after_seconds
from calltriage.errors import (
    CallError,
    Conflict,
    Forbidden,
    NotFound,
    RateLimited,
    Rejected,
    ServerFailure,
    Unauthenticated,
    Unreachable,
    UnreadableAnswer,
)
from calltriage.operations.base import Api, Effect, Operation
from calltriage.operations.flags import AddFlag
from calltriage.operations.issues import DeleteIssue, GetIssue, UpdateIssue
from calltriage.operations.resource_links import AttachResource

UUID = "0b7f6a54-6f0e-4a57-9d2f-3f2f1c8c9a10"

CALLS: dict[Effect, Operation[Any]] = {
    Effect.READ: GetIssue(issue_id=UUID),
    Effect.ADD: AddFlag(issue_id=UUID, call_id="call-card", type="x"),
    Effect.ENSURE: AttachResource(issue_id=UUID, resource_type="call", resource_id="call-card"),
    Effect.CHANGE: UpdateIssue(issue_id=UUID, status="done"),
    Effect.REMOVE: DeleteIssue(issue_id=UUID),
}

EVERY = set(Effect)
REPEATABLE = {Effect.READ, Effect.ENSURE, Effect.REMOVE}

FAILURES: dict[str, tuple[Step, set[Effect], type[CallError]]] = {
    "refused": (fails(httpx2.ConnectError), EVERY, Unreachable),
    "connect timeout": (fails(httpx2.ConnectTimeout), EVERY, Unreachable),
    "no free connection": (fails(httpx2.PoolTimeout), EVERY, Unreachable),
    "429": (answers(429), EVERY, RateLimited),
    "reset": (fails(httpx2.ReadError), REPEATABLE, Unreachable),
    "write reset": (fails(httpx2.WriteError), REPEATABLE, Unreachable),
    "read timeout": (fails(httpx2.ReadTimeout), REPEATABLE, Unreachable),
    "write timeout": (fails(httpx2.WriteTimeout), REPEATABLE, Unreachable),
    "not HTTP": (fails(httpx2.RemoteProtocolError), REPEATABLE, Unreachable),
    "500": (answers(500), REPEATABLE, ServerFailure),
    "502": (answers(502, b"<html>"), REPEATABLE, ServerFailure),
    "503": (answers(503), REPEATABLE, ServerFailure),
    "504": (answers(504), REPEATABLE, ServerFailure),
    "500, cut short": (breaks_off(500, b"{"), REPEATABLE, ServerFailure),
    "400": (answers(400), set(), Rejected),
    "401": (answers(401), set(), Unauthenticated),
    "403": (answers(403), set(), Forbidden),
    "404": (answers(404), set(), NotFound),
    "409": (answers(409), set(), Conflict),
    "413": (answers(413), set(), Rejected),
    "422": (answers(422), set(), Rejected),
    "418": (answers(418), set(), Rejected),
    "302": (answers(302, headers={"location": "/elsewhere"}), set(), UnreadableAnswer),
}


def endpoint(transport: httpx2.AsyncBaseTransport, waits: Waits, **policy: float) -> dict[Api, Endpoint]:
    retry = RetryPolicy(
        first_s=policy.get("first_s", 0.5),
        cap_s=policy.get("cap_s", 8.0),
        tries=int(policy.get("tries", 4)),
        sleep=waits,
    )
    return {Api.TRIAGE: Endpoint(DESK_URL, ApiKey(SecretStr(KEY)), transport, retry=retry)}


async def failure_of(client: Client, operation: Operation[Any]) -> CallError:
    with anyio.fail_after(10), pytest.raises(CallError) as caught:
        await client.send(operation)
    return caught.value


@pytest.mark.parametrize("effect", list(Effect))
@pytest.mark.parametrize("name", FAILURES)
async def test_a_failure_is_repeated_only_where_that_is_safe(name: str, effect: Effect) -> None:
    step, repeated_for, kind = FAILURES[name]
    vendor, waits = Scripted(step), Waits()
    async with open_client(endpoint(vendor, waits)) as client:
        error = await failure_of(client, CALLS[effect])
    assert type(error) is kind
    own = [request for request in vendor.requests if request.method == CALLS[effect].method]
    assert len(own) == (4 if effect in repeated_for else 1)
    looks_first = effect in {Effect.ADD, Effect.CHANGE}  # at the list of such rows; at what it changes
    reads = len(vendor.requests) - len(own) - looks_first
    in_doubt = effect is not Effect.READ and error.outcome == "unknown"
    is_there = effect is Effect.ENSURE and type(error) is Conflict  # it says that there is one already
    assert (reads > 0) is (in_doubt or is_there)  # a write in doubt is looked for
    assert reads > 0 or len(waits.seconds) == len(own) - 1
    assert may_repeat(effect, error) is (effect in repeated_for)


@pytest.mark.parametrize("effect", list(Effect))
def test_a_success_that_cannot_be_read_is_not_asked_for_again(effect: Effect) -> None:
    assert not may_repeat(effect, UnreadableAnswer("Unreadable.", status=200, outcome="committed"))


@pytest.mark.parametrize("effect", list(Effect))
def test_errors_of_the_program_are_not_repeated(effect: Effect) -> None:
    assert not may_repeat(effect, ValueError())
    assert not may_repeat(effect, KeyboardInterrupt())


async def test_a_call_that_succeeds_at_the_last_try_succeeds() -> None:
    row = {"id": "l", "issue_id": UUID, "resource_type": "call", "resource_id": "call-card", "created_at": "now"}
    lost = fails(httpx2.ReadError)
    found = answers(201, {"data": row, "errors": None})
    waits, vendor = Waits(), Scripted(answers(503), lost, lost, found, only=lambda request: request.method == "POST",
                                      inner=Scripted(answers(404)))  # fmt: skip
    async with open_client(endpoint(vendor, waits)) as client:
        link = await client.send(AttachResource(issue_id=UUID, resource_type="call", resource_id="call-card"))
    assert link.id == "l"
    assert len(vendor.requests) == 4


async def test_a_repeat_is_the_same_request() -> None:
    vendor, waits = Scripted(answers(503)), Waits()
    async with open_client(endpoint(vendor, waits)) as client:
        await failure_of(client, CALLS[Effect.ENSURE])
    sent = [request for request in vendor.requests if request.method == "POST"]
    assert len(sent) == 4
    assert len({(r.method, str(r.url), r.content, r.headers["authorization"]) for r in sent}) == 1


@pytest.mark.parametrize("tries", [1, 2, 7])
async def test_the_number_of_tries_is_the_policy_s(tries: int) -> None:
    vendor, waits = Scripted(answers(500)), Waits()
    async with open_client(endpoint(vendor, waits, tries=tries)) as client:
        await failure_of(client, CALLS[Effect.READ])
    assert len(vendor.requests) == tries


async def test_waits_are_random_between_nothing_and_a_doubling_limit() -> None:
    waits = Waits()
    for _ in range(40):  # each with a budget of its own, which all tries together would exhaust
        async with open_client(endpoint(Scripted(answers(500)), waits, tries=6), deadline_s=600) as client:
            await failure_of(client, CALLS[Effect.READ])
    limits = [0.5, 1, 2, 4, 8]
    by_try = [waits.seconds[n::5] for n in range(5)]
    assert len(waits.seconds) == 200
    assert all(0 <= wait <= limit for limit, tried in zip(limits, by_try, strict=True) for wait in tried)
    assert all(min(tried) < limit / 2 < max(tried) for limit, tried in zip(limits, by_try, strict=True))


async def test_no_wait_is_longer_than_the_cap() -> None:
    waits = Waits()
    async with open_client(endpoint(Scripted(answers(500)), waits, tries=12, cap_s=2), deadline_s=600) as client:
        await failure_of(client, CALLS[Effect.READ])
    assert len(waits.seconds) == 11
    assert max(waits.seconds) <= 2


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_the_least_that_is_waited(status: int) -> None:
    waits = Waits()
    vendor = Scripted(answers(status, headers={"retry-after": "3"}))
    async with open_client(endpoint(vendor, waits)) as client:
        error = await failure_of(client, CALLS[Effect.READ])
    assert error.retry_after_s == 3
    assert [3 <= wait <= 3 + limit for wait, limit in zip(waits.seconds, (0.5, 1, 2), strict=True)] == [True] * 3


@pytest.mark.parametrize("value", ["31", "3600", "999999999999999999999"])
async def test_a_retry_after_past_the_deadline_is_told_and_not_waited_for(value: str) -> None:
    waits = Waits()
    vendor = Scripted(answers(429, headers={"retry-after": value}))
    async with open_client(endpoint(vendor, waits), deadline_s=30) as client:
        error = await failure_of(client, CALLS[Effect.READ])
    assert waits.seconds == []
    assert len(vendor.requests) == 1
    assert error.retry_after_s is not None
    assert error.retry_after_s > 30
    assert error.body()["retry_after_s"] == error.retry_after_s


async def test_a_retry_after_that_cannot_be_read_counts_as_none() -> None:
    waits = Waits()
    vendor = Scripted(answers(429, headers={"retry-after": "soon"}))
    async with open_client(endpoint(vendor, waits)) as client:
        error = await failure_of(client, CALLS[Effect.READ])
    assert error.retry_after_s is None
    assert len(vendor.requests) == 4


async def test_talkdesk_s_other_way_to_say_retry_after_is_read() -> None:
    body = {"code": "9232429", "message": "x", "fields": [{"name": "retry-after", "description": "45"}]}
    async with open_client(endpoint(Scripted(answers(429, body)), Waits())) as client:
        error = await failure_of(client, CALLS[Effect.READ])
    assert error.retry_after_s == 45


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0),
        ("7", 7),
        (" 7 ", 7),
        ("007", 7),
        ("-1", None),
        ("1.5", None),
        ("1e9", None),
        ("", None),
        ("soon", None),
        ("٣", None),
        ("²", None),
        ("NaN", None),
        ("99 Foo 99999 99:99:99", None),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Mon, 01 Jan 0001 00:00:00 GMT", 0),
        ("Mon, 01 Jan 99999 00:00:00 GMT", None),
        ("Mon, 01 Jan 2030 00:00:00 +9999999999", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_or_nothing(value: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(value) == seconds


@pytest.mark.parametrize("value", ["86401", "1777629600", "9" * 400, "Mon, 01 Jan 9999 00:00:00 GMT"])
def test_a_wait_of_more_than_a_day_is_a_day(value: str) -> None:
    assert retry_after_seconds(value) == 86_400


def test_a_date_is_counted_from_now() -> None:
    in_an_hour = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    assert 3000 < (retry_after_seconds(in_an_hour) or 0) <= 3600


@pytest.fixture
def in_tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("in_tokyo")
@pytest.mark.parametrize("form", ["%a, %d %b %Y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y", "%A, %d-%b-%y %H:%M:%S GMT"])
def test_every_http_date_is_utc_wherever_this_runs(form: str) -> None:
    in_an_hour = (datetime.now(UTC) + timedelta(hours=1)).strftime(form)
    assert 3000 < (retry_after_seconds(in_an_hour) or 0) <= 3600


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.text(max_size=60) | st.from_regex(r"\A[A-Z][a-z]{2}, [0-9]{1,3} [A-Z][a-z]{2} [0-9]{1,7} [0-9:+-]{0,12}\Z"))
def test_no_retry_after_is_a_crash_or_negative(value: str) -> None:
    seconds = retry_after_seconds(value)
    assert seconds is None or 0 <= seconds <= 86_400
