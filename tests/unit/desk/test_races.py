"""Two servers on one store at once: constraints hold, ticket numbers have no gap, nothing is answered twice as new."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from conftest import DESK_URL, KEY, Clock
from pydantic import SecretStr

from calltriage.desk.app import Desk

ROUNDS = 24
ISSUE = {"title": "One", "severity": "high", "category": "Dialogue"}


@pytest.fixture
async def two(
    desk: httpx2.AsyncClient, tmp_path: Path, clock: Clock, database_url: SecretStr | None
) -> AsyncIterator[list[httpx2.AsyncClient]]:
    """HTTP to two desks that share one store."""
    async with AsyncExitStack() as stack:
        other = Desk(tmp_path / "desk", SecretStr(KEY), DESK_URL, clock=clock, database_url=database_url)
        stack.push_async_callback(other.close)
        transport = httpx2.ASGITransport(other, raise_app_exceptions=False)
        http = httpx2.AsyncClient(transport=transport, base_url=DESK_URL, headers={"authorization": KEY})
        yield [desk, await stack.enter_async_context(http)]


async def together(
    two: list[httpx2.AsyncClient], ask: Callable[[httpx2.AsyncClient, int], Awaitable[Any]]
) -> list[Any]:
    """What all answer when every second goes to the other desk."""
    answers: list[Any] = []

    async def one(number: int) -> None:
        answers.append(await ask(two[number % 2], number))

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            for number in range(ROUNDS):
                tasks.start_soon(one, number)
    return answers


async def filed(http: httpx2.AsyncClient) -> str:
    return (await http.post("/v1/triage/issues", json=ISSUE)).json()["data"]["id"]


async def test_ticket_numbers_are_given_once_and_without_a_gap(two: list[httpx2.AsyncClient]) -> None:
    answers = await together(two, lambda http, _: http.post("/v1/triage/issues", json=ISSUE))
    assert sorted(answer.json()["data"]["number"] for answer in answers) == list(range(1001, 1001 + ROUNDS))


async def test_one_link_comes_of_many_attaches(two: list[httpx2.AsyncClient]) -> None:
    issue = await filed(two[0])
    body = {"resource_type": "call", "resource_id": "call-card"}
    answers = await together(two, lambda http, _: http.post(f"/v1/triage/issues/{issue}/resources", json=body))
    assert Counter(answer.status_code for answer in answers) == {201: 1, 200: ROUNDS - 1}
    assert len({answer.json()["data"]["id"] for answer in answers}) == 1
    assert (await two[1].get(f"/v1/triage/issues/{issue}")).json()["data"]["resource_count"] == 1


async def test_one_relation_comes_of_many_links_in_both_directions(two: list[httpx2.AsyncClient]) -> None:
    ends = [await filed(two[0]), await filed(two[0])]

    def link(http: httpx2.AsyncClient, number: int) -> Awaitable[httpx2.Response]:
        source, target = ends if number % 4 < 2 else reversed(ends)
        body = {"related_issue_id": target, "relation_type": "blocks"}
        return http.post(f"/v1/triage/issues/{source}/relations", json=body)

    answers = await together(two, link)
    assert Counter(answer.status_code for answer in answers) == {201: 2, 200: ROUNDS - 2}


async def test_a_category_is_made_once(two: list[httpx2.AsyncClient]) -> None:
    answers = await together(
        two, lambda http, n: http.post("/v1/triage/categories", json={"name": ("New", "NEW")[n % 2]})
    )
    assert Counter(answer.status_code for answer in answers) == {201: 1, 200: ROUNDS - 1}


async def test_an_attachment_s_name_is_taken_once(two: list[httpx2.AsyncClient]) -> None:
    token = (await two[0].post("/oauth/token", data={"grant_type": "client_credentials"}, auth=("desk", KEY))).json()
    bearer = {"authorization": f"Bearer {token['access_token']}"}

    async def reserve() -> str:
        made = (await two[0].post("/attachments/2023-03/upload-link", json={}, headers=bearer)).json()
        upload = two[0].build_request("PUT", made["url"], content=b"x")
        del upload.headers["authorization"]
        assert (await two[0].send(upload)).status_code == 200
        return made["request_id"]

    reserved = [await reserve() for _ in range(ROUNDS)]
    answers = await together(
        two,
        lambda http, n: http.post(
            "/attachments/2023-03", json={"name": "a", "request_id": reserved[n]}, headers=bearer
        ),
    )
    assert Counter(answer.status_code for answer in answers) == {200: 1, 409: ROUNDS - 1}


async def test_no_flag_is_left_without_its_call(two: list[httpx2.AsyncClient]) -> None:
    issue = await filed(two[0])

    async def act(http: httpx2.AsyncClient, number: int) -> int:
        call = f"/v1/triage/issues/{issue}/calls/call-card"
        if number % 3 == 0:
            return (await http.put(call)).status_code
        if number % 3 == 1:
            body = {"call_id": "call-card", "type": "wrong_queue"}
            return (await http.post(f"/v1/triage/issues/{issue}/flags", json=body)).status_code
        return (await http.delete(call)).status_code

    assert set(await together(two, act)) <= {200, 201, 204, 404, 409}
    await two[0].delete(f"/v1/triage/issues/{issue}/calls/call-card")
    assert (await two[0].get(f"/v1/triage/issues/{issue}")).json()["data"]["flag_count"] == 0
