"""Answers of an ASGI app on the way to their clients, in pieces. What a client does not take waits on disk."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import IO, TYPE_CHECKING

import anyio
import anyio.to_thread

if TYPE_CHECKING:
    from anyio.abc import TaskGroup
    from starlette.types import Message, Send

PIECE = 16 * 1024
"""Bytes of a body that are given on at once."""
KEPT = 32 * 1024
"""Bytes of a body that may wait in memory. A longer one waits on disk."""


class Outflow:
    """The `send` of one request's app.

    The app is not held up by a client that reads nothing: else the app would hold the whole answer in memory. It waits
    only where it sends more while the rest of what it sent before is on disk.

    Args:
        send: gives a message to the connection, and waits as long as the connection is full.
        is_full: whether the connection is full.
        left: hears how many bytes have left, after each piece.
        grown: is called when more of an answer waits.
        tasks: runs what brings the bytes on disk to the connection.
    """

    def __init__(
        self,
        send: Send,
        *,
        is_full: Callable[[], bool],
        left: Callable[[int], None],
        grown: Callable[[], None],
        tasks: TaskGroup,
    ) -> None:
        self._send, self._is_full, self._left, self._grown, self._tasks = send, is_full, left, grown, tasks
        self._begin: Message | None = None
        """The start of the answer, where the connection was full when it came."""
        self._rest_is_gone: anyio.Event | None = None
        self.waiting = 0
        """Bytes of the body that have not left."""

    async def send(self, message: Message) -> None:
        while self._rest_is_gone is not None:
            await self._rest_is_gone.wait()
        if message["type"] == "http.response.start" and self._is_full():
            self._begin = message
            return
        body = memoryview(message.get("body", b""))
        self.waiting = len(body)
        while len(body) > PIECE and not self._is_full():
            await self._pass_on({**message, "body": bytes(body[:PIECE]), "more_body": True})
            body = body[PIECE:]
        if len(body) > KEPT:
            self._rest_is_gone = anyio.Event()
            self._grown()
            file = await anyio.to_thread.run_sync(_written, body)
            self._tasks.start_soon(self._bring, file, {**message, "body": b""})
        else:
            await self._pass_on({**message, "body": bytes(body)} if "body" in message else message)

    async def _bring(self, file: IO[bytes], message: Message) -> None:
        """Give on what is on disk: the body of a message that is here without it."""
        with file:
            while len(piece := await anyio.to_thread.run_sync(file.read, PIECE)) < self.waiting:
                await self._pass_on({**message, "body": piece, "more_body": True})
            await self._pass_on({**message, "body": piece})
        done, self._rest_is_gone = self._rest_is_gone, None
        if done is not None:
            done.set()

    async def _pass_on(self, message: Message) -> None:
        if self._begin is not None:
            begin, self._begin = self._begin, None
            await self._send(begin)
        await self._send(message)
        size = len(message.get("body", b""))
        self.waiting -= size
        self._left(size)


def _written(body: memoryview) -> IO[bytes]:
    """A file without a name that holds this, to be read from its start."""
    file = tempfile.TemporaryFile()  # noqa: SIM115  closed by who reads it
    try:
        file.write(body)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file
