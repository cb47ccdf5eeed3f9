"""The end of input on a pair of streams: what was read is answered before the server ends.

The SDK cancels every request under way as soon as its input ends. Here the end is kept from it until the last answer has
left. A client whose input has ended can answer nothing itself: questions to it fail at once, and its streams are ended.
Messages pass through in the tasks of those who read and write them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Protocol, TypeAlias

import anyio
from anyio.abc import ObjectReceiveStream, ObjectSendStream
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

PATIENCE = 630.0
"""Seconds without an answer after which the rest is given up. The longest call may take 600."""

Frame: TypeAlias = SessionMessage | Exception


class Source(Protocol):
    async def receive(self) -> Frame:
        """What the client sent next. Raises EndOfStream after the last."""
        ...


class Target(Protocol):
    async def send(self, item: SessionMessage, /) -> None:
        """Give a message to the client."""
        ...


def draining(
    source: Source,
    target: Target,
    end_streams: Callable[[], None],
    answers: dict[str, Answer],
    opening: Opening | None = None,
) -> tuple[ObjectReceiveStream[Frame], ObjectSendStream[SessionMessage]]:
    """The streams to run a server on. `end_streams` ends its subscription streams, which do not end by themselves.

    `answers` gets an Answer for each request that was read, by id, until the answer has gone out. `opening` knows which
    answers went out before the server was there.
    """
    traffic = _Traffic(end_streams, answers, opening)
    return _Incoming(source, traffic), _Outgoing(target, traffic)


class _Traffic:
    """What has gone both ways: which requests wait for an answer, the client's and the server's own."""

    def __init__(self, end_streams: Callable[[], None], answers: dict[str, Answer], opening: Opening | None) -> None:
        self._end_streams = end_streams
        self._answers = answers
        self._opening = opening
        self._unanswered = Counter[str]()
        self._questions = dict[str, RequestId]()
        """The server's own requests that the client has not answered."""
        self._moved = anyio.Event()
        """Set when the server answers, or asks."""
        self._moved_at = 0.0
        self.ended = False

    def came(self, frame: Frame) -> None:
        """The client sent something."""
        message = None if isinstance(frame, Exception) else frame.message
        if isinstance(message, JSONRPCRequest):
            if self._opening is not None and message.method in ASKED_FIRST:
                self._opening.asked(message.model_dump(by_alias=True, exclude_unset=True))
            self._unanswered[str(message.id)] += 1
            self._answers.setdefault(str(message.id), Answer(None if self._opening is None else self._opening.came))
        elif isinstance(message, JSONRPCResponse | JSONRPCError):
            self._questions.pop(str(message.id), None)
        elif isinstance(message, JSONRPCNotification) and message.method == "notifications/cancelled":
            name = str((message.params or {}).get("requestId"))
            del self._unanswered[name]  # a cancelled request is never answered
            self._gone(name)

    def goes_out(self, message: JSONRPCMessage) -> bool:
        """Whether a message of the server goes to the client: all but answers that the client has already."""
        if isinstance(message, JSONRPCRequest):
            self._questions[str(message.id)] = message.id
        if self._opening is None or not isinstance(message, JSONRPCResponse | JSONRPCError):
            return True
        return self._opening.goes_out(message.id, message.result if isinstance(message, JSONRPCResponse) else None)

    def went(self, message: JSONRPCMessage) -> None:
        """A message of the server has gone."""
        if isinstance(message, JSONRPCResponse | JSONRPCError):
            self._settle(str(message.id))
        if self.ended:
            self._end_streams()  # one may have opened since
            self._move()

    def _settle(self, name: str) -> None:
        self._unanswered[name] -= 1
        if self._unanswered[name] <= 0:
            del self._unanswered[name]
            self._gone(name)

    def _gone(self, name: str) -> None:
        if (answer := self._answers.pop(name, None)) is not None:
            answer.gone()

    def _move(self) -> None:
        self._moved_at = anyio.current_time()
        self._moved.set()

    def end(self) -> None:
        """The client's output has ended."""
        self.ended = True
        self._end_streams()
        self._move()

    async def refusal(self) -> SessionMessage | None:
        """After the end: the answer to a question of the server's. None once every request that was read is answered, or no
        answer came for PATIENCE seconds."""
        while self._unanswered:
            if self._questions:
                _, request_id = self._questions.popitem()
                error = ErrorData(code=CONNECTION_CLOSED, message="The client's output has ended.")
                return SessionMessage(JSONRPCError(jsonrpc="2.0", id=request_id, error=error))
            self._moved = anyio.Event()
            with anyio.CancelScope(deadline=self._moved_at + PATIENCE) as waiting:
                await self._moved.wait()
            if waiting.cancelled_caught:
                return None
        return None


class _Incoming(ObjectReceiveStream[Frame]):
    def __init__(self, source: Source, traffic: _Traffic) -> None:
        self._source = source
        self._traffic = traffic

    async def receive(self) -> Frame:
        if not self._traffic.ended:
            try:
                frame = await self._source.receive()
            except anyio.EndOfStream:
                self._traffic.end()
            else:
                self._traffic.came(frame)
                return frame
        refusal = await self._traffic.refusal()
        if refusal is None:
            raise anyio.EndOfStream
        return refusal

    async def aclose(self) -> None:
        """The client's output stays open: it is not the server's to close."""


class _Outgoing(ObjectSendStream[SessionMessage]):
    def __init__(self, target: Target, traffic: _Traffic) -> None:
        self._target = target
        self._traffic = traffic
        self._closed = False

    async def send(self, item: SessionMessage) -> None:
        if self._closed:
            raise anyio.ClosedResourceError
        if self._traffic.goes_out(item.message):
            await self._target.send(item)
        self._traffic.went(item.message)

    async def aclose(self) -> None:
        self._closed = True
