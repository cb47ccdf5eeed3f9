"""Bodies stream both ways between a client and an app in the same process."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
import pytest

from calltriage.client.http import WHOLE, Http
from calltriage.client.in_process import App, InProcess, background

either = pytest.mark.parametrize("whole", [False, True], ids=["streamed", "whole"])


class Asking(httpx2.AsyncBaseTransport):
    """Wants each answer whole, or not."""

    def __init__(self, inner: InProcess, *, whole: bool) -> None:
        self._inner = inner
        self._whole = whole

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        request.extensions = {**request.extensions, **({WHOLE: True} if self._whole else {})}
        return await self._inner.handle_async_request(request)


@asynccontextmanager
async def client_of(app: App, *, whole: bool = False) -> AsyncGenerator[httpx2.AsyncClient]:
    async with (
        background() as tasks,
        httpx2.AsyncClient(transport=Asking(InProcess(app, tasks), whole=whole), base_url="http://app") as http,
    ):
        yield http


async def echo(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-path", scope["raw_path"])]})
    more = True
    while more:
        message = await receive()
        more = message["more_body"]
        await send({"type": "http.response.body", "body": message["body"], "more_body": more})


@either
async def test_a_body_goes_there_and_comes_back(*, whole: bool) -> None:
    async with client_of(echo, whole=whole) as http:
        answer = await http.post("/a%2Fb", content=b"hello")
    assert (answer.status_code, answer.content, answer.headers["x-path"]) == (200, b"hello", "/a%2Fb")


async def test_an_answer_that_is_wanted_whole_is_made_in_the_task_that_asks() -> None:
    made_in = list[int]()

    async def pieces(_scope: Any, _receive: Any, send: Any) -> None:
        made_in.append(anyio.get_current_task().id)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for more in (True, True, False):
            await send({"type": "http.response.body", "body": b"x" * 10, "more_body": more})

    async with background() as tasks:
        http = Http(InProcess(pieces, tasks), "http://app")
        async with http.stream("GET", "/", headers={}, whole=True) as answer:
            assert await answer.aread() == b"x" * 30
        async with http.stream("GET", "/", headers={}) as answer:
            assert await answer.aread() == b"x" * 30
    here = anyio.get_current_task().id
    assert made_in[0] == here != made_in[1]


async def test_no_more_than_a_few_pieces_are_held() -> None:
    sent = taken = most = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(100):
            sent += 1
            yield b"x" * 1000

    async with client_of(echo) as http, http.stream("POST", "/", content=pieces()) as answer:
        async for _ in answer.aiter_raw():
            taken += 1
            most = max(most, sent - taken)
    assert taken == 100
    assert most <= 4


@either
async def test_a_crash_before_the_answer_is_a_500(*, whole: bool) -> None:
    async def crashes(*_: Any) -> None:
        raise ZeroDivisionError

    async with client_of(crashes, whole=whole) as http:
        assert (await http.get("/")).status_code == 500


@either
async def test_a_crash_inside_the_answer_breaks_it_off(*, whole: bool) -> None:
    async def crashes(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})
        await send({"type": "http.response.body", "body": b"12345", "more_body": True})
        raise ZeroDivisionError

    async with client_of(crashes, whole=whole) as http:
        with pytest.raises(httpx2.ReadError):
            await http.get("/")


async def test_an_answer_that_is_left_ends_what_makes_it() -> None:
    ended = anyio.Event()

    async def endless(_scope: Any, _receive: Any, send: Any) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while True:
                await send({"type": "http.response.body", "body": b"x", "more_body": True})
        finally:
            ended.set()

    with anyio.fail_after(10):
        async with client_of(endless) as http:
            async with http.stream("GET", "/") as answer:
                assert await anext(answer.aiter_raw()) == b"x"
            assert ended.is_set()


@either
async def test_a_request_that_is_cancelled_cancels_the_app(*, whole: bool) -> None:
    begun, ended = anyio.Event(), anyio.Event()

    async def hangs(*_: Any) -> None:
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    with anyio.fail_after(10):
        async with client_of(hangs, whole=whole) as http, anyio.create_task_group() as tasks:
            tasks.start_soon(http.get, "/")
            await begun.wait()
            tasks.cancel_scope.cancel()
    assert ended.is_set()


@either
async def test_an_app_hears_that_its_client_has_left(*, whole: bool) -> None:
    heard = list[str]()

    async def listens(_scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        for _ in range(2):
            heard.append((await receive())["type"])

    async with client_of(listens, whole=whole) as http:
        await http.get("/")
    assert heard[:1] == ["http.request"]


async def test_an_app_that_listens_while_it_answers_hears_when_a_whole_answer_is_there() -> None:
    heard = list[str]()

    async def listens(_scope: Any, receive: Any, send: Any) -> None:
        async def listen() -> None:
            while heard[-1:] != ["http.disconnect"]:
                heard.append((await receive())["type"])

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listen)
            await anyio.wait_all_tasks_blocked()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            heard.append("answered")
            await send({"type": "http.response.body", "body": b"x", "more_body": False})

    with anyio.fail_after(10):
        async with client_of(listens, whole=True) as http:
            assert (await http.get("/")).content == b"x"
    assert heard == ["http.request", "answered", "http.disconnect"]


@either
@pytest.mark.parametrize("answered", [False, True])
async def test_what_the_content_of_a_request_raises_is_raised_to_its_sender(answered: bool, whole: bool) -> None:
    heard = list[str]()

    async def listens(_scope: Any, receive: Any, send: Any) -> None:
        if answered:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"b")]})
        while not heard or heard[-1] == "http.request":
            heard.append((await receive())["type"])

    async def pieces() -> AsyncIterator[bytes]:
        yield b"123"
        raise KeyError("changed")

    with anyio.fail_after(10):
        async with client_of(listens, whole=whole) as http:
            with pytest.raises(KeyError):
                await http.post("/", content=pieces())
    assert heard == ["http.request", "http.disconnect"]


async def test_what_a_block_raises_is_raised_as_itself() -> None:
    async def block() -> None:
        async with background() as tasks:
            tasks.start_soon(anyio.sleep_forever)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await block()


async def test_an_app_whose_client_has_left_is_cancelled_and_hears_of_no_error() -> None:
    """It would take an error for a fault of its own, and log it."""
    began, heard = anyio.Event(), list[type[BaseException]]()

    async def late(_scope: Any, _receive: Any, send: Any) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"x", b"y")]})
            with anyio.CancelScope(shield=True):  # as a commit is
                began.set()
                await anyio.wait_all_tasks_blocked()
            await send({"type": "http.response.body", "body": b"too late"})
        except BaseException as error:
            heard.append(type(error))
            raise

    async with client_of(late) as http:
        with anyio.CancelScope() as left:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(http.get, "/")
                await began.wait()
                left.cancel()
    assert heard == [anyio.get_cancelled_exc_class()]
