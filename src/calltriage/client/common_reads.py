"""One read for all that ask for the same thing while another such read is under way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio

from calltriage.client.lost_answers import unreachable
from calltriage.errors import CallError

T = TypeVar("T")


@dataclass(eq=False)
class _Read:
    """A read that one of those who wait for it makes.

    Attributes:
        is_over: whether it has a result or an error; neither when who made it was cancelled.
    """

    is_over: bool = False
    result: Any = None
    error: CallError | None = None


class CommonReads:
    """Shares reads. One that has begun is never shared with who asks later: it may have looked before."""

    def __init__(self) -> None:
        self._turns: dict[str, anyio.Lock] = {}
        self._next: dict[str, _Read] = {}

    async def one(self, name: str, read: Callable[[], Awaitable[T]], until: float) -> T:
        """What `read` gives, made by the first of those who wait for this name. It begins after each of them has asked.

        Raises a CallError: what the read raises, or Unreachable where it has not begun by `until` on the loop's clock.
        """
        shared = self._next.setdefault(name, _Read())
        turn = self._turns.setdefault(name, anyio.Lock())  # acquired a turn of the event loop later: others will come
        try:
            with anyio.CancelScope(deadline=until) as waiting:
                await turn.acquire()
            if waiting.cancelled_caught:
                raise unreachable("Another read of the same list took too long.", is_write=False, maybe_applied=False)
            try:
                if not shared.is_over:
                    self._leave(name, shared)
                    await self._make(shared, read)
            finally:
                turn.release()
        finally:
            if not turn.locked():  # else who waited has it now
                self._turns.pop(name, None)
                self._next.pop(name, None)
        if shared.error is not None:
            raise shared.error
        return shared.result

    def _leave(self, name: str, shared: _Read) -> None:
        """Let who asks from now on wait for another read."""
        if self._next.get(name) is shared:
            del self._next[name]

    async def _make(self, shared: _Read, read: Callable[[], Awaitable[Any]]) -> None:
        try:
            shared.result = await read()
        except CallError as error:
            shared.error = error
        shared.is_over = True
