"""An event loop whose clock does not wait: when nothing is left to do but to wait for a timer, it is that time already.

    @pytest.fixture
    def anyio_backend():
        return "asyncio", {"loop_factory": VirtualLoop}

Only what waits on the loop is skipped. Work in threads takes the time it takes, and the clock stands still meanwhile.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Mapping
from typing import Any

import anyio.to_thread

PATIENCE_S = 30
"""Real seconds that work in a thread may take."""


class _Jumping(selectors.DefaultSelector):
    """Instead of waiting for `timeout`, moves the loop's clock by it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        self.now += 1e-6  # as on a real clock, no two turns of the loop are at one instant
        if ready or timeout == 0:
            return ready
        if timeout is None or _at_work():
            return super().select(PATIENCE_S)
        self.now += max(timeout, 0)
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return super().get_map()


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


_running = 0
_run_sync = anyio.to_thread.run_sync


async def _counted(*args: Any, **kwargs: Any) -> Any:
    global _running  # noqa: PLW0603
    _running += 1
    try:
        return await _run_sync(*args, **kwargs)
    finally:
        _running -= 1


anyio.to_thread.run_sync = _counted  # so that the clock can stand still while a thread is at work


def _at_work() -> bool:
    return _running > 0
