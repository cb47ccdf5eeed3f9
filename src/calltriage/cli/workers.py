"""Several processes on one port: the first one listens, starts the others with its socket, and serves nothing itself.

The operating system gives each connection to one of them. One that ends by itself is started again. A signal to the first
process ends all. They end, too, when the first one is gone: each reads a pipe from it.
"""

from __future__ import annotations

import logging
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import anyio
from anyio.abc import Process, TaskStatus

from calltriage.errors import SettingsError
from calltriage.leaves.shutdown import Ending

READY = b"ready\n"
"""What a process says on its standard output once it serves."""
PAUSE_SECONDS = 1.0
"""From a process's end to its next start."""
log = logging.getLogger(__name__)


class FirstStartFailedError(Exception):
    """A process ended before it served for the first time. It has said why on standard error."""

    def __init__(self, status: int) -> None:
        super().__init__(f"a process ended with status {status}")
        self.status = status


@dataclass
class Workers:
    """The processes that serve what one socket takes.

    Attributes:
        command: starts one, given the number of its listening socket behind it.
        listening: the socket.
        on_ready: called once all serve.
    """

    command: Sequence[str]
    listening: socket.socket
    on_ready: Callable[[], None]
    _running: set[Process] = field(default_factory=set[Process], init=False)
    _ending: bool = field(default=False, init=False)

    async def serve(self, count: int, ending: Ending, within_s: float) -> None:
        """Have so many processes serve until `ending` is asked. Raises FirstStartFailedError."""
        if ending.asked:
            return
        ending.then(self._end, within_s)
        async with anyio.create_task_group() as tasks:
            # What the first one makes in an empty folder, the others find.
            for _ in range(count):
                await tasks.start(self._keep)
                if self._ending:
                    return
            self.on_ready()

    def _end(self) -> None:
        self._ending = True
        for process in self._running:
            _ask_to_end(process)

    async def _keep(self, *, task_status: TaskStatus[None]) -> None:
        """Have one process serve, again and again."""
        has_served = False
        while not self._ending:
            async with await self._started() as process:
                self._running.add(process)
                try:
                    if self._ending:  # the signal came while it was started
                        _ask_to_end(process)
                    serves = await _says_ready(process)
                    if serves and not has_served:
                        has_served = True
                        task_status.started()
                    status = await process.wait()
                finally:
                    self._running.discard(process)
            if self._ending:
                break
            if not has_served:
                raise FirstStartFailedError(status)
            log.warning("a process of the desk ended with status %d and is started again", status)
            await anyio.sleep(PAUSE_SECONDS)
        if not has_served:
            task_status.started()

    async def _started(self) -> Process:
        number = self.listening.fileno()
        return await anyio.open_process(
            [*self.command, str(number)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=None, pass_fds=[number]
        )


def _ask_to_end(process: Process) -> None:
    with suppress(ProcessLookupError):  # it has ended, and was not waited for yet
        process.send_signal(signal.SIGTERM)


async def _says_ready(process: Process) -> bool:
    try:
        return process.stdout is not None and await process.stdout.receive() == READY
    except anyio.EndOfStream:
        return False


def inherited(number: int) -> socket.socket:
    """The listening socket that the first process handed over. Raises SettingsError where there is none."""
    try:
        found = socket.socket(fileno=number)
    except OSError:
        raise SettingsError("--inherited is for processes that `desk serve --workers` starts itself.") from None
    return socket.socket(found.family, found.type, socket.IPPROTO_TCP, fileno=found.detach())


def say_ready(_address: str) -> None:
    """Tell the first process that this one serves; it knows where."""
    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()


async def end_with_first(ending: Ending) -> None:
    """Ask for the end when the first process is gone: then the pipe from it has an end."""
    await anyio.wait_readable(sys.stdin.fileno())
    ending.ask()
