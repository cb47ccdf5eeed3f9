"""What the client asks of an API at most, and when it leaves it alone. On a clock that does not wait."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import anyio
import httpx2
import pytest
from faults import answers, fails, hangs
from vendors import client_of
from virtual_time import VirtualLoop

from calltriage.client.client import Client
from calltriage.client.limits import Breaker, Rate, RetryBudget, within
from calltriage.client.retries import RetryPolicy
from calltriage.errors import CallError, ServerFailure, Unreachable
from calltriage.operations.base import Operation
from calltriage.operations.flags import ListFlagTypes
from calltriage.operations.issues import GetIssue
from calltriage.operations.resource_links import AttachResource

UUID = "0b7f6a54-6f0e-4a57-9d2f-3f2f1c8c9a10"
READ = GetIssue(issue_id=UUID)
EMPTY = answers(200, {"data": {"items": [], "next_cursor": None}, "errors": None})


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": VirtualLoop}


async def failure_of(client: Client, operation: Operation[Any] = READ) -> CallError:
    with pytest.raises(CallError) as caught:
        await client.send(operation)
    return caught.value


# The retry budget


async def test_a_full_outage_is_not_answered_with_retries_for_ever() -> None:
    async with client_of(answers(503)) as (client, vendor):
        for _ in range(100):
            await failure_of(client)
        drained = len(vendor.requests)
        for _ in range(100):
            await failure_of(client)
    assert drained == 100 + 500 // 14
    assert len(vendor.requests) - drained == 100  # one request a call


async def test_a_call_that_succeeds_pays_its_retry_back() -> None:
    budget = RetryBudget(capacity=20, cost=14)
    assert budget.take()
    assert not budget.take()
    budget.succeeded(retried=True)
    assert budget.left == 20
    assert budget.take()
    for _ in range(8):
        budget.succeeded(retried=False)
    assert budget.take()


# The rate


async def test_requests_come_in_a_burst_and_then_at_the_rate() -> None:
    came: list[float] = []

    async def note(request: httpx2.Request, inner: Any) -> httpx2.Response:
        came.append(anyio.current_time())
        return await EMPTY(request, inner)

    began = anyio.current_time()
    async with client_of(note, rate=Rate(5, 10), in_flight=50) as (client, _), anyio.create_task_group() as tasks:
        for _ in range(40):
            tasks.start_soon(client.send, ListFlagTypes())
    assert sum(at - began < 0.01 for at in came) == 10
    assert 5.9 < came[-1] - began < 6.1


async def test_a_turn_that_would_come_after_the_deadline_is_told_and_nothing_is_sent() -> None:
    async with client_of(EMPTY, rate=Rate(0.1, 1)) as (client, vendor):
        await client.send(ListFlagTypes())
        with within(5):
            error = await failure_of(client, ListFlagTypes())
    assert (error.code, error.retryable) == ("overloaded", True)
    assert len(vendor.requests) == 1


# The breaker

NO_ANSWER = Unreachable("no answer", code="unreachable")


async def test_five_exchanges_without_an_answer_open_it_and_it_says_how_long_to_wait() -> None:
    async with client_of(
        fails(httpx2.ReadError), breaker=Breaker(), retry=RetryPolicy(tries=1)
    ) as (client, vendor):  # fmt: skip
        for _ in range(5):
            assert (await failure_of(client)).code == "unreachable"
        began, error = anyio.current_time(), await failure_of(client)
        attach = await failure_of(client, AttachResource(issue_id=UUID, resource_type="call", resource_id="c"))
        assert anyio.current_time() - began < 0.01  # at once
    assert (error.code, error.outcome, attach.outcome) == ("circuit_open", None, "not_committed")
    assert error.retry_after_s == 10
    assert len(vendor.requests) == 5


def test_it_says_ten_seconds_whatever_the_clock_stands_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anyio.current_time", lambda: 12.372600247635424)  # as a float, ten seconds later is 2e-15 more
    breaker = Breaker()
    for _ in range(5):
        ends(breaker, NO_ANSWER)
    with pytest.raises(Unreachable) as raised:
        ends(breaker)
    assert raised.value.retry_after_s == 10


def ends(breaker: Breaker, error: BaseException | None = None) -> None:
    """An exchange, and how it ends."""
    with suppress(*([type(error)] if error else [])), breaker.around(is_write=False):
        if error is not None:
            raise error


@pytest.mark.parametrize("late", [NO_ANSWER, KeyboardInterrupt(), None])
def test_an_exchange_from_before_the_rest_says_nothing_of_the_probe(
    monkeypatch: pytest.MonkeyPatch, late: BaseException | None
) -> None:
    now, breaker = [0.0], Breaker()
    monkeypatch.setattr("anyio.current_time", lambda: now[0])
    probe = breaker.around(is_write=False)
    with suppress(*([type(late)] if late else [])), breaker.around(is_write=False):
        for _ in range(5):
            ends(breaker, NO_ANSWER)
        now[0] = 11.0
        probe.__enter__()
        if late is not None:
            raise late
    with pytest.raises(Unreachable, match="left alone"):
        ends(breaker)  # the probe is out still
    probe.__exit__(None, None, None)
    ends(breaker)


async def test_more_than_half_of_twenty_failed_opens_it() -> None:
    good, bad = EMPTY, answers(500)
    script = [good, bad] * 9 + [bad, bad]
    async with client_of(*script, EMPTY, breaker=Breaker(), retry=RetryPolicy(tries=1)) as (client, vendor):
        for _ in range(20):
            with suppress(ServerFailure):
                await client.send(ListFlagTypes())
        assert (await failure_of(client, ListFlagTypes())).code == "circuit_open"
    assert len(vendor.requests) == 20


async def test_after_the_rest_one_probe_goes_out_and_decides() -> None:
    refuse = fails(httpx2.ConnectError)
    async with client_of(*[refuse] * 6, EMPTY, breaker=Breaker(), retry=RetryPolicy(tries=1)) as (client, vendor):
        for _ in range(5):
            await failure_of(client)
        await anyio.sleep(10.1)
        assert (await failure_of(client)).code == "unreachable"  # the probe
        assert (await failure_of(client)).code == "circuit_open"
        await anyio.sleep(10.1)
        await client.send(ListFlagTypes())
        await client.send(ListFlagTypes())
    assert len(vendor.requests) == 8


async def test_only_one_probe_goes_out_at_a_time_and_a_cancelled_one_makes_room() -> None:
    async with client_of(*[fails(httpx2.ConnectError)] * 5, hangs, EMPTY, breaker=Breaker(),
                         retry=RetryPolicy(tries=1)) as (client, vendor):  # fmt: skip
        for _ in range(5):
            await failure_of(client)
        await anyio.sleep(10.1)
        errors: list[CallError] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.send, READ)
            await anyio.sleep(1)
            errors.append(await failure_of(client))
            tasks.cancel_scope.cancel()
        assert [(error.code, error.retry_after_s) for error in errors] == [("circuit_open", 1)]
        await client.send(ListFlagTypes())
    assert len(vendor.requests) == 7


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 429])
async def test_refusals_open_nothing(status: int) -> None:
    async with client_of(answers(status), breaker=Breaker(), retry=RetryPolicy(tries=1)) as (client, vendor):
        for _ in range(40):
            await failure_of(client)
    assert len(vendor.requests) == 40


async def test_the_breaker_of_one_client_is_not_another_s() -> None:
    limits = {"retry": RetryPolicy(tries=1)}
    async with client_of(fails(httpx2.ReadError), breaker=Breaker(), **limits) as (bad, _):
        assert [(await failure_of(bad)).code for _ in range(6)][-1] == "circuit_open"
        async with client_of(EMPTY, breaker=Breaker(), **limits) as (good, _):
            await good.send(ListFlagTypes())


# The deadline that several calls share


async def test_calls_in_a_block_share_its_deadline() -> None:
    async with client_of(hangs) as (client, _):
        began = anyio.current_time()
        with within(4):
            await failure_of(client)
        assert anyio.current_time() - began == pytest.approx(4)
        with within(60), within(3):
            await failure_of(client)
        assert anyio.current_time() - began == pytest.approx(7)
        await failure_of(client)
        assert anyio.current_time() - began == pytest.approx(37)
