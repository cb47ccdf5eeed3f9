from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable

import anyio
import httpx2
import pytest
from conftest import endpoints_to

from calltriage.client.client import open_client
from calltriage.client.common_reads import CommonReads
from calltriage.desk.app import Desk
from calltriage.errors import Unreachable
from calltriage.operations.activity import AddComment
from calltriage.operations.issues import CreateIssue, ListIssues


class Reads:
    """Reads that end when the test lets them, and count."""

    def __init__(self) -> None:
        self.made = 0
        self.begun, self.go = anyio.Event(), anyio.Event()

    async def __call__(self) -> int:
        self.made += 1
        number = self.made
        self.begun.set()
        await self.go.wait()
        return number


async def _asked(common: CommonReads, read: Callable[[], Awaitable[int]], found: list[int]) -> None:
    found.append(await common.one("list", read, anyio.current_time() + 60))


async def test_those_who_ask_while_a_read_is_under_way_share_the_next_one() -> None:
    common, read, early, late = CommonReads(), Reads(), list[int](), list[int]()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_asked, common, read, early)
        await read.begun.wait()
        for _ in range(5):
            tasks.start_soon(_asked, common, read, late)
        await anyio.wait_all_tasks_blocked()
        read.go.set()
    assert (early, late, read.made) == ([1], [2] * 5, 2)


async def test_names_are_read_apart_and_one_after_the_other_anew() -> None:
    common, read = CommonReads(), Reads()
    read.go.set()
    until = anyio.current_time() + 60
    found = [await common.one(name, read, until) for name in ("a", "a", "b")]
    assert found == [1, 2, 3]


async def test_the_next_who_waits_reads_when_the_reader_is_cancelled() -> None:
    common, read, cut, found = CommonReads(), Reads(), list[int](), list[int]()
    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as leaving:
            async with anyio.create_task_group() as first:
                first.start_soon(_asked, common, read, cut)
                await read.begun.wait()
                tasks.start_soon(_asked, common, read, found)
                await anyio.wait_all_tasks_blocked()
                leaving.cancel()
        read.go.set()
    assert (cut, found) == ([], [2])


async def test_a_failure_is_that_of_all_who_waited_for_the_read() -> None:
    common, failed = CommonReads(), list[Unreachable]()
    begun, go = anyio.Event(), anyio.Event()
    tries = 0

    async def fails() -> int:
        nonlocal tries
        tries += 1
        begun.set()
        await go.wait()
        raise Unreachable("No answer.")

    async def ask() -> None:
        with pytest.raises(Unreachable) as caught:
            await common.one("list", fails, anyio.current_time() + 60)
        failed.append(caught.value)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await begun.wait()
        for _ in range(3):
            tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        go.set()
    assert (len(failed), tries) == (4, 2)


async def test_a_wait_for_another_read_ends_in_time() -> None:
    common, read, found = CommonReads(), Reads(), list[int]()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_asked, common, read, found)
        await read.begun.wait()
        with pytest.raises(Unreachable, match="took too long"):
            await common.one("list", read, anyio.current_time() - 1)
        read.go.set()
    assert found == [1]
    assert await common.one("list", read, anyio.current_time() + 60) == 2


async def test_comments_that_are_asked_for_together_look_at_their_issue_once(the_desk: Desk) -> None:
    asked = list[str]()

    class Listening(httpx2.ASGITransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            asked.append(f"{request.method} {request.url.path.rpartition('/')[2]}")
            return await super().handle_async_request(request)

    async with open_client(endpoints_to(Listening(the_desk))) as client:
        issue = await client.send(CreateIssue(title="a", severity="low", category="Bug"))
        asked.clear()
        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(client.send, AddComment(issue_id=issue.id, detail=f"Comment {number}"))
    assert Counter(asked) == {"GET activity": 1, "POST comments": 20}


async def test_equal_reads_that_are_asked_for_together_and_shared_take_one_request(the_desk: Desk) -> None:
    asked = Counter[str]()

    class Listening(httpx2.ASGITransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            asked[request.url.params.get("search", "")] += 1
            return await super().handle_async_request(request)

    async with open_client(endpoints_to(Listening(the_desk))) as client, anyio.create_task_group() as tasks:
        for _ in range(10):
            for word in ("card", "loop"):
                tasks.start_soon(client.send_shared, ListIssues(search=word))
    assert asked == {"card": 1, "loop": 1}
