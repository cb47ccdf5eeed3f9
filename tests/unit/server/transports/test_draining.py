"""The end of input, with messages instead of a process: what is waited for, and what is not."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import pytest
from anyio.abc import ObjectReceiveStream, ObjectSendStream
from anyio.streams.memory import MemoryObjectReceiveStream
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCError, JSONRPCMessage, JSONRPCNotification, JSONRPCRequest, JSONRPCResponse
from virtual_time import VirtualLoop

from calltriage.server.call.answering import Answer
from calltriage.server.transports import draining
from calltriage.server.transports.draining import Frame


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Callable[[], VirtualLoop]]]:
    return "asyncio", {"loop_factory": VirtualLoop}


@dataclass
class Ends:
    """The ends of a connection that still move: what the client hears, and the server's two."""

    heard: MemoryObjectReceiveStream[SessionMessage]
    read: ObjectReceiveStream[Frame]
    write: ObjectSendStream[SessionMessage]
    ended: list[float] = field(default_factory=list[float])
    answers: dict[str, Answer] = field(default_factory=dict[str, Answer])

    async def answer(self, *ids: int | str) -> None:
        for one in ids:
            await self.write.send(SessionMessage(JSONRPCResponse(jsonrpc="2.0", id=one, result={})))

    async def next_frame(self) -> JSONRPCMessage:
        frame = await self.read.receive()
        assert not isinstance(frame, Exception)
        return frame.message


def request(number: int | str, method: str = "tools/call") -> SessionMessage:
    return SessionMessage(JSONRPCRequest(jsonrpc="2.0", id=number, method=method, params={}))


@asynccontextmanager
async def connected(*said: SessionMessage) -> AsyncGenerator[Ends]:
    """A client that has said this and whose output has ended; the server has read all of it."""
    into, incoming = anyio.create_memory_object_stream[Frame](100)
    outgoing, heard = anyio.create_memory_object_stream[SessionMessage](100)
    ended: list[float] = []
    answers: dict[str, Answer] = {}
    with anyio.fail_after(7200):
        read, write = draining.draining(incoming, outgoing, lambda: ended.append(anyio.current_time()), answers)
        for one in said:
            await into.send(one)
        await into.aclose()
        for _ in said:
            await read.receive()
        yield Ends(heard, read, write, ended, answers)
    for end in (incoming, outgoing, heard):
        end.close()


async def test_an_answer_has_gone_once_it_is_on_its_way_to_the_client_or_nobody_waits_for_it() -> None:
    params = {"requestId": 2}
    cancelled = SessionMessage(JSONRPCNotification(jsonrpc="2.0", method="notifications/cancelled", params=params))
    async with connected(request(1), request(2), request(3), cancelled) as ends:
        assert set(ends.answers) == {"1", "3"}
        gone = list[str]()
        ends.answers["1"].when_gone(lambda: gone.append("1"))
        await ends.answer(1)
        await ends.heard.receive()
        await anyio.wait_all_tasks_blocked()
        assert (gone, set(ends.answers)) == (["1"], {"3"})
        await ends.answer(3)


async def has_ended(ends: Ends) -> None:
    with pytest.raises(anyio.EndOfStream):
        await ends.read.receive()


async def is_held(ends: Ends, seconds: float = 60) -> None:
    with anyio.move_on_after(seconds) as waiting:
        await ends.read.receive()
    assert waiting.cancelled_caught


async def test_the_end_comes_after_the_last_answer() -> None:
    async with connected(request(1), request("two"), request(3)) as ends:
        await is_held(ends)
        await ends.answer("two", 1)
        await is_held(ends)
        await ends.answer(3)
        await has_ended(ends)


async def test_an_error_is_an_answer_and_an_id_that_came_twice_is_answered_twice() -> None:
    async with connected(request(1), request(1)) as ends:
        await ends.answer(1)
        await is_held(ends)
        wrong = {"code": -32602, "message": "no"}
        await ends.write.send(SessionMessage(JSONRPCError.model_validate({"jsonrpc": "2.0", "id": 1, "error": wrong})))
        await has_ended(ends)


async def test_notifications_and_what_was_cancelled_hold_nothing_up() -> None:
    told = JSONRPCNotification(jsonrpc="2.0", method="notifications/initialized")
    cancelled = JSONRPCNotification(jsonrpc="2.0", method="notifications/cancelled", params={"requestId": 1})
    async with connected(request(1), SessionMessage(told), SessionMessage(cancelled)) as ends:
        await has_ended(ends)


async def test_a_question_to_the_client_fails_at_once_whether_it_was_asked_before_the_end_or_after() -> None:
    async with connected(request(1)) as ends:
        for number in (7, 8):
            await ends.write.send(request(number, "elicitation/create"))
            refused = await ends.next_frame()
            assert isinstance(refused, JSONRPCError)
            assert refused.id == number
        await ends.answer(1)
        await has_ended(ends)


async def test_streams_are_ended_and_so_is_one_that_opens_later() -> None:
    async with connected(request(1, "subscriptions/listen")) as ends:
        await is_held(ends)
        assert len(ends.ended) == 1
        opened = JSONRPCNotification(jsonrpc="2.0", method="notifications/subscriptions/acknowledged")
        await ends.write.send(SessionMessage(opened))
        await is_held(ends)
        assert len(ends.ended) == 2


async def test_what_is_never_answered_is_given_up_and_each_answer_gives_the_rest_more_time() -> None:
    async with connected(request(1), request(2)) as ends:
        began = anyio.current_time()
        await is_held(ends, draining.PATIENCE - 1)
        await ends.answer(1)
        await is_held(ends, draining.PATIENCE - 1)
        await has_ended(ends)
        assert anyio.current_time() - began < 2 * draining.PATIENCE + 1
