"""The end of input on a pair of streams: what was read is answered before the server ends.

The SDK cancels every request under way as soon as its input ends. Here the end is kept from it until the last answer has
left. A client whose input has ended can answer nothing itself: questions to it fail at once, and its streams are ended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp_types import (
    CONNECTION_CLOSED,
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
    RequestId,
)

from calltriage.opening import ASKED_FIRST, Opening
from calltriage.server.call.answering import Answer

if TYPE_CHECKING:
    from mcp.shared._stream_protocols import ReadStream, WriteStream

PATIENCE = 630.0
"""Seconds without an answer after which the rest is given up. The longest call may take 600."""

Frame: TypeAlias = SessionMessage | Exception


@asynccontextmanager
async def draining(
    incoming: ReadStream[Frame],
    outgoing: WriteStream[SessionMessage],
    end_streams: Callable[[], None],
    answers: dict[str, Answer],
    opening: Opening | None = None,
) -> AsyncGenerator[tuple[MemoryObjectReceiveStream[Frame], MemoryObjectSendStream[SessionMessage]]]:
    """The streams to run a server on. `end_streams` ends its subscription streams, which do not end by themselves.

    `answers` gets an Answer for each request that was read, by id, until the answer has gone out. `opening` knows which
    answers went out before the server was there.
    """
    to_server, read = anyio.create_memory_object_stream[Frame](0)
    write, from_server = anyio.create_memory_object_stream[SessionMessage](0)
    relay = _Relay(to_server, end_streams, answers, opening)
    # All ends are closed here, too: a task that was cancelled before its first step closes none of its own.
    async with incoming, read, write, to_server, from_server, anyio.create_task_group() as tasks:
        tasks.start_soon(relay.carry_in, incoming)
        tasks.start_soon(relay.carry_out, from_server, outgoing)
        yield read, write


class _Relay:
    """Carries messages both ways, and knows which requests wait for an answer."""

    def __init__(
        self,
        to_server: MemoryObjectSendStream[Frame],
        end_streams: Callable[[], None],
        answers: dict[str, Answer],
        opening: Opening | None,
    ) -> None:
        self._to_server = to_server
        self._end_streams = end_streams
        self._answers = answers
        self._opening = opening
        self._unanswered = Counter[str]()
        self._questions = dict[str, RequestId]()
        """The server's own requests that the client has not answered."""
        self._moved = anyio.Event()
        """Set when the server answers, or asks."""
        self._ended = False

    async def carry_in(self, incoming: ReadStream[Frame]) -> None:
        async with self._to_server:
            try:
                async for frame in incoming:
                    self._note(frame)
                    await self._to_server.send(frame)
                self._ended = True
                await self._drain()
            except anyio.BrokenResourceError:  # the server has ended by itself
                return

    async def carry_out(
        self, from_server: MemoryObjectReceiveStream[SessionMessage], outgoing: WriteStream[SessionMessage]
    ) -> None:
        async with from_server, outgoing:
            async for sent in from_server:
                message = sent.message
                if isinstance(message, JSONRPCRequest):
                    self._questions[str(message.id)] = message.id
                if self._goes_out(message):
                    await outgoing.send(sent)
                if isinstance(message, JSONRPCResponse | JSONRPCError):
                    self._settle(message.id)
                if self._ended:
                    self._end_streams()  # one may have opened since
                    self._moved.set()

    def _goes_out(self, message: JSONRPCMessage) -> bool:
        """Whether a message of the server goes to the client: all but answers that the client has already."""
        if self._opening is None or not isinstance(message, JSONRPCResponse | JSONRPCError):
            return True
        return self._opening.goes_out(message.id, message.result if isinstance(message, JSONRPCResponse) else None)

    def _note(self, frame: Frame) -> None:
        message = None if isinstance(frame, Exception) else frame.message
        if isinstance(message, JSONRPCRequest):
            if self._opening is not None and message.method in ASKED_FIRST:
                self._opening.asked(message.model_dump(by_alias=True, exclude_unset=True))
            self._unanswered[str(message.id)] += 1
            self._answers.setdefault(str(message.id), Answer())
        elif isinstance(message, JSONRPCResponse | JSONRPCError):
            self._questions.pop(str(message.id), None)
        elif isinstance(message, JSONRPCNotification) and message.method == "notifications/cancelled":
            name = str((message.params or {}).get("requestId"))
            del self._unanswered[name]  # a cancelled request is never answered
            self._gone(name)

    def _settle(self, request_id: RequestId | None) -> None:
        name = str(request_id)
        self._unanswered[name] -= 1
        if self._unanswered[name] <= 0:
            del self._unanswered[name]
            self._gone(name)

    def _gone(self, name: str) -> None:
        if (answer := self._answers.pop(name, None)) is not None:
            answer.gone()

    async def _drain(self) -> None:
        """Wait until every request that was read is answered, or no answer comes for PATIENCE seconds."""
        self._end_streams()
        while self._unanswered:
            await self._refuse_questions()
            with anyio.move_on_after(PATIENCE) as waiting:
                await self._moved.wait()
                self._moved = anyio.Event()
            if waiting.cancelled_caught:
                return

    async def _refuse_questions(self) -> None:
        questions, self._questions = self._questions, {}
        for request_id in questions.values():
            error = ErrorData(code=CONNECTION_CLOSED, message="The client's output has ended.")
            await self._to_server.send(SessionMessage(JSONRPCError(jsonrpc="2.0", id=request_id, error=error)))
