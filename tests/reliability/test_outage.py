"""What an API that fails or limits hears of us: retries that a budget bounds, a herd that disperses, a breaker. On a clock
that does not wait.

    uv run pytest tests/reliability/test_outage.py -m long -s      with figures
"""

from __future__ import annotations

import itertools
import random
from typing import Any

import anyio
import httpx2
import pytest
from faults import answers, fails
from reliability.seeds import seeded
from vendors import client_of
from virtual_time import VirtualLoop

from calltriage.client.client import Client
from calltriage.client.limits import Breaker
from calltriage.client.retries import RetryPolicy
from calltriage.errors import CallError
from calltriage.operations.flags import ListFlagTypes

EMPTY = answers(200, {"data": {"items": [], "next_cursor": None}, "errors": None})


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": VirtualLoop}


async def failure_of(client: Client) -> CallError:
    with pytest.raises(CallError) as caught:
        await client.send(ListFlagTypes())
    return caught.value


@pytest.mark.parametrize("calls", [100, pytest.param(1000, marks=pytest.mark.long)])
async def test_an_outage_costs_a_request_a_call_once_the_budget_is_drained(calls: int) -> None:
    """At most three tries a call; 500 tokens pay for 35 of the second and third."""
    seeded()
    each: list[int] = []
    async with client_of(answers(503)) as (client, vendor):
        for _ in range(calls):
            before = len(vendor.requests)
            await failure_of(client)
            each.append(len(vendor.requests) - before)
    drained = each[50:]
    print(f"outage: {calls} calls, {sum(each)} requests, {max(each)} a call at most, "
          f"{sum(drained) / len(drained):.2f} a call once the budget is drained")  # fmt: skip
    assert max(each) == 3
    assert sum(drained) / len(drained) <= 1.1


@pytest.mark.parametrize("seconds", [1, 7])
async def test_no_retry_comes_sooner_than_it_was_asked_to(seconds: int) -> None:
    seeded()
    came: list[float] = []

    async def limited(request: httpx2.Request, inner: Any) -> httpx2.Response:
        came.append(anyio.current_time())
        return await answers(429, headers={"retry-after": str(seconds)})(request, inner)

    async with client_of(limited) as (client, _):
        assert (await failure_of(client)).retry_after_s == seconds
    waits = [later - sooner for sooner, later in itertools.pairwise(came)]
    assert len(came) == 3
    assert all(seconds <= wait <= seconds + 1.01 for wait in waits)
    assert len(set(waits)) == 2  # jitter


@pytest.mark.parametrize("runs", [1, pytest.param(20, marks=pytest.mark.long)])
async def test_two_hundred_clients_at_a_limiter_are_served_soon_and_with_few_requests(runs: int) -> None:
    """200 clients at a limit of 10 a second: all served within 30 s, at most 5 requests a success."""
    seeded()
    found = [await a_herd() for _ in range(runs)]
    seconds, each = max(took for took, _ in found), max(asked for _, asked in found)
    print(f"herd: {runs} runs of 200 clients at 10 a second, all served within {seconds:.1f} s, "
          f"with at most {each:.1f} requests a success")  # fmt: skip
    assert seconds <= 30
    assert each <= 5


async def a_herd() -> tuple[float, float]:
    """Seconds until all were served, and requests a success."""
    tokens, filled, asked = 10.0, anyio.current_time(), 0

    async def limited(request: httpx2.Request, inner: Any) -> httpx2.Response:
        nonlocal tokens, filled, asked
        asked += 1
        tokens, filled = min(10.0, tokens + 10 * (anyio.current_time() - filled)), anyio.current_time()
        if tokens < 1:
            return await answers(429, headers={"retry-after": "1"})(request, inner)
        tokens -= 1
        return await EMPTY(request, inner)

    async def until_served() -> None:
        async with client_of(limited, retry=RetryPolicy(first_s=1.0, cap_s=30.0)) as (client, _):
            while True:
                try:
                    await client.send(ListFlagTypes())
                except CallError as error:  # as an agent does that is told to wait
                    await anyio.sleep((error.retry_after_s or 1) + random.uniform(0, 20))
                else:
                    return

    began = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        for _ in range(200):
            tasks.start_soon(until_served)
    return anyio.current_time() - began, asked / 200


@pytest.mark.parametrize("fault", ["silent", "half"])
@pytest.mark.parametrize("probes", [3, pytest.param(100, marks=pytest.mark.long)])
async def test_a_breaker_lets_one_probe_through_every_ten_seconds(fault: str, probes: int) -> None:
    """Five exchanges without an answer in a row open it, or more than half of twenty that failed."""
    numbers = iter(range(10**9))

    async def half(request: httpx2.Request, inner: Any) -> httpx2.Response:
        return await (answers(500) if next(numbers) % 5 < 3 else EMPTY)(request, inner)

    step = fails(httpx2.ReadError) if fault == "silent" else half
    async with client_of(step, breaker=Breaker(), retry=RetryPolicy(tries=1)) as (client, vendor):
        opened = 0
        while not opened:
            try:
                await client.send(ListFlagTypes())
            except CallError as error:
                opened = len(vendor.requests) if error.code == "circuit_open" else 0
        assert opened == (5 if fault == "silent" else 20)
        vendor.script(fails(httpx2.ReadError))
        for _ in range(probes):
            await anyio.sleep(10.01)
            errors = [await failure_of(client) for _ in range(10)]
            assert [error.code == "circuit_open" for error in errors] == [False] + [True] * 9
            assert all(0 < (error.retry_after_s or 0) <= 10 for error in errors[1:])
        sent = len(vendor.requests) - opened
        vendor.script(EMPTY)
        await anyio.sleep(10.01)
        for _ in range(20):
            await client.send(ListFlagTypes())
    print(f"breaker, {fault}: open after {opened} exchanges, {sent} requests in {probes} rests of 10 s, closed by the first "
          "that succeeds")  # fmt: skip
    assert sent == probes
