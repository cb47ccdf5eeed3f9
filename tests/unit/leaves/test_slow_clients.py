"""What leaves an app for a client that takes nothing, or little by little."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from calltriage.leaves.slow_clients import KEPT, PIECE, Outflow

BODY = bytes(range(256)) * 1000


class Connection:
    """Takes messages while it is not full."""

    def __init__(self) -> None:
        self.is_full, self.room, self.taken, self.left, self.grown = False, anyio.Event(), list[Any](), 0, 0

    async def take(self, message: Any) -> None:
        if self.is_full:
            await self.room.wait()
        self.taken.append(message)

    def fill(self) -> None:
        self.is_full, self.room = True, anyio.Event()

    def empty(self) -> None:
        self.is_full = False
        self.room.set()

    def has_left(self, size: int) -> None:
        self.left += size

    def has_grown(self) -> None:
        self.grown += 1

    def outflow(self, tasks: Any) -> Outflow:
        return Outflow(self.take, is_full=lambda: self.is_full, left=self.has_left, grown=self.has_grown, tasks=tasks)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.taken)


@pytest.mark.parametrize("full_from", ["never", "the start", "the body"])
async def test_the_app_goes_on_at_once_and_all_arrives_in_order(full_from: str) -> None:
    connection = Connection()
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            outflow = connection.outflow(tasks)
            if full_from == "the start":
                connection.fill()
            await outflow.send({"type": "http.response.start", "status": 200, "headers": []})
            if full_from == "the body":
                connection.fill()
            await outflow.send({"type": "http.response.body", "body": BODY, "more_body": True})
            if full_from != "never":
                assert outflow.waiting == len(BODY)
                assert connection.grown == 1
            connection.empty()
            await outflow.send({"type": "http.response.body", "body": b"end"})
            assert (connection.left, outflow.waiting) == (len(BODY) + 3, 0)
    assert [message["type"] for message in connection.taken[:2]] == ["http.response.start", "http.response.body"]
    assert connection.body == BODY + b"end"
    assert [message.get("more_body", False) for message in connection.taken[1:]] == [
        *[True] * (len(connection.taken) - 2),
        False,
    ]
    assert max(len(message.get("body", b"")) for message in connection.taken) <= PIECE


async def test_a_short_body_waits_for_its_client_in_memory() -> None:
    connection = Connection()
    async with anyio.create_task_group() as tasks:
        outflow = connection.outflow(tasks)
        await outflow.send({"type": "http.response.start", "status": 200, "headers": []})
        connection.fill()
        tasks.start_soon(outflow.send, {"type": "http.response.body", "body": bytes(KEPT)})
        await anyio.wait_all_tasks_blocked()
        assert (outflow.waiting, connection.grown) == (KEPT, 0)
        connection.empty()
    assert connection.body == bytes(KEPT)
