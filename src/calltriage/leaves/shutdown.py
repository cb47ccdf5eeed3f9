"""SIGINT, SIGTERM and SIGHUP, from the first moment of a process to its last.

Until the command line is read nobody knows what a signal means: it is kept. A server that has made nothing yet ends at
once. From then on its `Ending` hears signals. No stage shows a traceback, and a server that a signal ends leaves with
status 0.

Until this module is imported a signal shows Python's own traceback. So the module, and what is imported before it, import
only what the interpreter has loaded by itself.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # the name that type checkers know; typing itself takes a while to import
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

    from anyio.abc import TaskStatus
else:
    import _signal  # `signal` is this and its enumerations, which take milliseconds to import

NUMBERS: tuple[int, ...] = tuple(
    getattr(_signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(_signal, name)
)
"""Those that end a server. Windows has no SIGHUP."""
START_SECONDS = 2.0
"""Time from a signal to the end of a server that is still starting, at most. Nobody was answered yet."""


class _Kept:
    """The signals of a process whose command is not known yet. Without `keep` the other methods change nothing."""

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._came: list[int] = []

    def keep(self) -> None:
        """Keep signals until it is said what they mean. For the first moment of a process."""
        self._before = {number: _signal.signal(number, self._note) for number in heard()}

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  Python's names
        self._came.append(number)

    def let_go(self) -> None:
        """The command serves nothing: signals do what they do to any program, and so does one that was kept."""
        before, self._before = self._before, {}
        for number, handler in before.items():
            _signal.signal(number, handler)
        for number in self._came[:1]:
            _signal.raise_signal(number)

    def end_at_once(self) -> None:
        """The command is a server that has made nothing yet: a signal ends it at once, and so does one that was kept."""
        for number in self._before:
            _signal.signal(number, _leave)
        if self._came:
            os._exit(0)


def heard() -> list[int]:
    """The signals that count here. One that is ignored stays so: SIGHUP under `nohup`, SIGINT in a script's background."""
    return [number for number in NUMBERS if _signal.getsignal(number) != _signal.SIG_IGN]


def _leave(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  Python's names
    os._exit(0)


KEPT = _Kept()


class Ending:
    """How a server ends when a signal comes: at most START_SECONDS later while it starts, then as `then` said.

    Only the first signal counts; further ones change nothing.
    """

    def __init__(self) -> None:
        self.asked = False
        self._act: Callable[[], None] = lambda: None
        self._within_s = START_SECONDS

    def then(self, act: Callable[[], None], within_s: float) -> None:
        """From now on a signal calls `act`. The process is gone `within_s` seconds later, at most."""
        self._act, self._within_s = act, within_s

    def ask(self) -> None:
        """What a signal does."""
        if self.asked:
            return
        self.asked = True
        import threading  # noqa: PLC0415  the first moment of a process has no time for it

        last = threading.Timer(self._within_s, os._exit, (0,))
        last.daemon = True
        last.start()
        self._act()

    async def listen(self, *, task_status: TaskStatus[None]) -> None:
        """Hear signals until this is cancelled; nothing off the main thread, where a program has its own."""
        import threading  # noqa: PLC0415  as in `ask`

        import anyio  # noqa: PLC0415

        if threading.current_thread() is not threading.main_thread():
            task_status.started()
        elif sys.platform == "win32":  # its event loop has no handlers of its own, and wakes up for Python's
            for number in heard():
                _signal.signal(number, lambda *_: self.ask())
            task_status.started()
        else:
            from signal import Signals  # noqa: PLC0415  as in `ask`

            with anyio.open_signal_receiver(*map(Signals, heard())) as signals:
                task_status.started()
                async for _ in signals:
                    self.ask()
