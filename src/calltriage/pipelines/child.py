"""Runs a user's detector or redactor in a process of its own, where it may hang, crash or print without harm.

The process gets no CALLTRIAGE_ variable of the environment. It starts when the function is opened, and again after it was
killed. It answers one question at a time. Question and answer are one line of JSON each; see `child_process`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Any, Literal

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream
from pydantic import TypeAdapter, ValidationError

from calltriage.errors import DetectorError, DetectorFailed, DetectorOff
from calltriage.leaves.strict_json import JsonObject, is_object
from calltriage.pipelines.calls import Call, Timing
from calltriage.pipelines.detecting import MOST_FINDINGS, Detector, Examined
from calltriage.pipelines.hangs import MOST_HANGS, Hangs, OwnHangs, tried
from calltriage.pipelines.patience import patiently
from calltriage.pipelines.references import Reference

START_S = 30.0
"""Seconds that a process may take to import the user's module."""
GRACE_S = 5.0
"""Seconds after a deadline at which the process ends itself, in case this one is gone and cannot kill it."""
MOST_ANSWER = 16 * 2**20
"""Most bytes of an answer."""
OURS = "CALLTRIAGE_"
"""Prefix of the variables that the process does not get: settings, some of them secret."""

_examined = TypeAdapter(Examined)


@dataclass
class Child:
    """The process of one detector or redactor.

    Attributes:
        reference: the function.
        options: its options, as written in the pipeline's file.
        folder: the folder of the pipeline's file, from which modules are imported, too.
        deadline_s: seconds that one call may take.
        most: findings of one call that count; the rest is left out.
        name: a detector's name in findings.
        hangs: counts the calls that took too long, and keeps a version off for a day that did so MOST_HANGS times.
        what: what the function is.
    """

    reference: Reference
    options: Mapping[str, object]
    folder: Path
    deadline_s: float
    most: int = MOST_FINDINGS
    name: str = ""
    hangs: Hangs = field(default_factory=OwnHangs)
    what: Literal["detector", "redactor"] = "detector"
    _version: str = field(default="", init=False)
    _process: Process | None = field(default=None, init=False)
    _answers: BufferedByteReceiveStream | None = field(default=None, init=False)
    _one: anyio.Lock = field(default_factory=anyio.Lock, init=False)

    async def describe(self) -> JsonObject:
        """Start the process. Returns what the function declares, as `_detector` reads it. Raises DetectorError."""
        async with self._one:
            return await self._start()

    async def examine(self, call: Call) -> Examined:
        """What the function finds in a call. Raises DetectorFailed, and DetectorOff after MOST_HANGS timeouts."""
        answer = await self.ask({"call": asdict(call)})
        try:
            return _examined.validate_python(answer.get("examined"))
        except ValidationError as error:
            raise DetectorFailed(f"{self._title} answered with something that is no {self._answer}.") from error

    async def ask(self, question: JsonObject) -> JsonObject:
        """The answer to a question. Raises DetectorFailed, and DetectorOff after MOST_HANGS timeouts."""
        async with self._one:
            if await patiently(lambda: self.hangs.count(self.name, self._tried)) >= MOST_HANGS:
                raise DetectorOff(f"{self._title} is switched off: {self._why_off}")
            answer = await self._asked(question)
        if (told := answer.get("failed")) is not None:
            raise DetectorFailed(str(told)[:300])
        return answer

    @property
    def _title(self) -> str:
        return f"{self.what.capitalize()} {self.reference}"

    @property
    def _answer(self) -> str:
        return "finding" if self.what == "detector" else "text"

    async def _asked(self, question: JsonObject) -> JsonObject:
        try:
            if self._process is None:
                await self._start()
            return await self._exchange(question, self.deadline_s)
        except TimeoutError:
            count = await patiently(lambda: self.hangs.add(self.name, self._tried, self._why_off))
            raise DetectorFailed(
                f"{self._title} took longer than {self.deadline_s:g} s on this call and was stopped "
                f"({count} of {MOST_HANGS} times before it is switched off)."
            ) from None
        except DetectorError as error:
            raise DetectorFailed(f"{self._title} does not start again: {error}") from error

    @property
    def _why_off(self) -> str:
        again = "a new version or limit is tried at once" if self.what == "detector" else "then run again"
        return (
            f"it took longer than {self.deadline_s:g} s on {MOST_HANGS} calls. Mend it or raise limits.seconds_per_call: "
            f"{again}. As it is, it is tried again a day later."
        )

    @property
    def _tried(self) -> str:
        return tried(self._version, self.deadline_s)

    async def _start(self) -> JsonObject:
        environment = {name: value for name, value in os.environ.items() if not name.upper().startswith(OURS)}
        program = [sys.executable, "-m", "calltriage.pipelines.child_process"]
        self._process = await anyio.open_process(
            program, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=environment, start_new_session=True
        )
        assert self._process.stdout is not None  # noqa: S101  a pipe was asked for
        self._answers = BufferedByteReceiveStream(self._process.stdout)
        about = {
            "module": self.reference.module,
            "function": self.reference.function,
            "options": dict(self.options),
            "folder": str(self.folder.absolute()),
            "start_s": START_S + GRACE_S,
            "deadline_s": self.deadline_s + GRACE_S,
            "most": self.most,
            "what": self.what,
        }
        try:
            answer = await self._exchange(about, START_S)
        except TimeoutError:
            raise DetectorError(f"The module {self.reference.module!r} is not imported within {START_S:g} s.") from None
        except DetectorFailed as error:
            raise DetectorError(f"The process of {self.reference} ended while it was imported.") from error
        if (told := answer.get("refused")) is not None:
            await self.close()
            path = tuple(part for part in answer.get("path", ()) if isinstance(part, str | int))
            raise DetectorError(str(told)[:500], path=path)
        self._version = str(answer.get("version_hash"))
        return answer

    async def _exchange(self, question: JsonObject, seconds: float) -> JsonObject:
        """Send one line and read one. Kills the process on any failure. Raises TimeoutError or DetectorFailed."""
        whole = False
        try:
            with anyio.fail_after(seconds):
                answer = await self._sent(question)
            whole = True
            return answer
        finally:
            if not whole:
                with anyio.CancelScope(shield=True):
                    await self.close()

    async def _sent(self, question: JsonObject) -> JsonObject:
        process, answers = self._process, self._answers
        assert process is not None  # noqa: S101
        assert process.stdin is not None  # noqa: S101
        assert answers is not None  # noqa: S101
        try:
            await process.stdin.send(json.dumps(question, default=str).encode() + b"\n")
            answer = json.loads(await answers.receive_until(b"\n", MOST_ANSWER))
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, anyio.IncompleteRead) as error:
            raise DetectorFailed(f"The process of {self.what} {self.reference} ended on this call.") from error
        except anyio.DelimiterNotFound as error:
            raise DetectorFailed(
                f"{self._title} answered with more than {MOST_ANSWER // 2**20} MiB on this call."
            ) from error
        except (ValueError, RecursionError) as error:
            raise DetectorFailed(f"{self._title} answered with something that is no {self._answer}.") from error
        if not is_object(answer):
            raise DetectorFailed(f"{self._title} answered with something that is no {self._answer}.")
        return answer

    async def close(self) -> None:
        """Kill the process and all processes that it started."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            if sys.platform == "win32":
                process.kill()
            else:
                os.killpg(process.pid, signal.SIGKILL)
        await process.aclose()


@asynccontextmanager
async def opened(
    reference: Reference,
    options: Mapping[str, object],
    *,
    name: str,
    folder: Path,
    deadline_s: float,
    most: int,
    hangs: Hangs | None = None,
) -> AsyncGenerator[Detector]:
    """A user's detector while the block runs. `hangs`: by default those of this process. Raises DetectorError."""
    child = Child(reference, options, folder, deadline_s, most, name, hangs or OwnHangs())
    try:
        yield _detector(name, await child.describe(), child)
    finally:
        with anyio.CancelScope(shield=True):
            await child.close()


def _detector(name: str, about: Mapping[str, Any], child: Child) -> Detector:
    try:
        return Detector(
            name=name,
            kinds=tuple(str(kind) for kind in about["kinds"]),
            version=str(about["version"]),
            version_hash=str(about["version_hash"]),
            run=child.examine,
            needs=Timing(about["needs"]),
            needs_corrected=about["needs_corrected"] is True,
            review_only=about["review_only"] is True,
            states_facts=about["states_facts"] is True,
        )
    except (KeyError, ValueError, TypeError) as error:
        raise DetectorError(f"{child.reference} does not say what it is.") from error
