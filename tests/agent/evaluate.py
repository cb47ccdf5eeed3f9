"""Let a model do the tasks, and print what it got done and what that cost: with this server's default tools, with a plain
passthrough to the same desk's API, and with what FastMCP generates from the desk's OpenAPI document.

TRIAGE_EVAL_BASE_URL=https://api.example.com/v1 TRIAGE_EVAL_MODEL=some-model TRIAGE_EVAL_KEY=... \\
    uv run --group dev python tests/agent/evaluate.py [--surface calltriage] [--task flag_by_quote] [--log FILE]

Any endpoint that speaks OpenAI's chat completions with tools does. The key may be left out for one that asks for none.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TextIO

import anyio
import httpx2

sys.path.insert(0, str(Path(__file__).parents[1]))

from agent.chat import Chat, EndpointError, Sleep
from agent.conversation import STEPS, converse
from agent.seats import SURFACES, NotInstalled
from agent.stage import Stage, prepare
from agent.task import Task
from agent.tasks import TASKS

from calltriage.client.credentials import check_base_url
from calltriage.errors import SettingsError


@dataclass(frozen=True)
class Attempt:
    """What came of one task on one surface."""

    task: str
    surface: str
    checks: dict[str, bool]
    ended: str
    answer: str
    called: list[str]
    errors: int
    misspelt: int
    bytes_read: int
    tokens_in: int | None
    tokens_out: int | None

    @property
    def held(self) -> int:
        return sum(self.checks.values())


@dataclass
class Evaluation:
    """Attempts at tasks by the model behind `http`, printed to `out` as they come."""

    http: httpx2.AsyncClient
    model: str
    out: TextIO
    steps: int = STEPS
    sleep: Sleep = anyio.sleep
    log: TextIO | None = None
    attempts: list[Attempt] = field(default_factory=list[Attempt])
    left_out: dict[str, str] = field(default_factory=dict[str, str])
    """Surfaces that cannot be had here, and why."""

    async def run(self, tasks: Sequence[Task], surfaces: Sequence[str], folder: Path) -> None:
        """Try each task on each surface. Raises EndpointError where the endpoint cannot be used."""
        for task in tasks:
            stage = await prepare(task, folder)
            self._say(f"{task.name()}")
            for surface in surfaces:
                if surface not in self.left_out:
                    await self._try(stage, surface)

    async def _try(self, stage: Stage, surface: str) -> None:
        try:
            attempt = await self._attempt(stage, surface)
        except NotInstalled as error:
            self.left_out[surface] = str(error)
            self._say(f"  {surface}: left out, FastMCP could not be installed: {error}")
            return
        self.attempts.append(attempt)
        held = f"{attempt.held} of {len(attempt.checks)} checks"
        self._say(f"  {surface:<14}{held}, {len(attempt.called)} calls, {attempt.ended}")
        for check, holds in attempt.checks.items():
            if not holds:
                self._say(f"    failed: {check}")
        if self.log is not None:
            print(json.dumps(asdict(attempt), ensure_ascii=True), file=self.log, flush=True)

    async def _attempt(self, stage: Stage, surface: str) -> Attempt:
        chat = Chat(self.http, self.model, self.sleep)
        async with SURFACES[surface](stage) as (seat, start):
            try:
                told = await converse(chat, seat, stage.words, steps=self.steps)
            except EndpointError as error:  # raised outside, where no group of tasks wraps it
                told = error
            checks = {} if isinstance(told, EndpointError) else await stage.grade(start, told.answer)
        if isinstance(told, EndpointError):
            raise told
        return Attempt(
            task=stage.task.name(),
            surface=surface,
            checks=checks,
            ended=told.ended,
            answer=told.answer,
            called=[name for name, _ in seat.called],
            errors=seat.errors,
            misspelt=told.misspelt,
            bytes_read=seat.bytes_read,
            tokens_in=chat.tokens_in,
            tokens_out=chat.tokens_out,
        )

    def print_totals(self) -> None:
        """One line a surface."""
        columns = ("surface", "tasks", "checks", "calls", "errors", "misspelt", "kB read", "tokens in", "tokens out")
        self._say("\n" + "".join(f"{name:>13}" for name in columns))
        for surface in dict.fromkeys(attempt.surface for attempt in self.attempts):
            done = [attempt for attempt in self.attempts if attempt.surface == surface]
            whole = sum(attempt.held == len(attempt.checks) for attempt in done)
            cells = (
                surface,
                f"{whole}/{len(done)}",
                f"{sum(attempt.held for attempt in done)}/{sum(len(attempt.checks) for attempt in done)}",
                sum(len(attempt.called) for attempt in done),
                sum(attempt.errors for attempt in done),
                sum(attempt.misspelt for attempt in done),
                f"{sum(attempt.bytes_read for attempt in done) / 1000:.1f}",
                _total([attempt.tokens_in for attempt in done]),
                _total([attempt.tokens_out for attempt in done]),
            )
            self._say("".join(f"{cell:>13}" for cell in cells))
        if self.attempts and not any(attempt.called or attempt.misspelt for attempt in self.attempts):
            self._say("The model called no tool at all. It may not take any; choose one that does.")

    def _say(self, line: str) -> None:
        print(line, file=self.out, flush=True)


def _total(counts: list[int | None]) -> str:
    """A sum; a dash where the endpoint does not say what its replies cost."""
    known = [count for count in counts if count is not None]
    return str(sum(known)) if known else "-"


def endpoint(environment: Callable[[str], str | None] = os.environ.get) -> tuple[str, str, dict[str, str]]:
    """Base URL, model and headers, as the environment says. Raises SettingsError."""
    base_url, model, key = (environment(f"TRIAGE_EVAL_{name}") for name in ("BASE_URL", "MODEL", "KEY"))
    if not base_url or not model:
        raise SettingsError(
            "Set TRIAGE_EVAL_BASE_URL and TRIAGE_EVAL_MODEL, and TRIAGE_EVAL_KEY if the endpoint asks for one."
        )
    if not key:
        return base_url, model, {}
    check_base_url(base_url)  # a key goes nowhere in the clear
    return base_url, model, {"authorization": f"Bearer {key}"}


async def evaluate(arguments: argparse.Namespace) -> None:
    base_url, model, headers = endpoint()
    tasks = [task for task in TASKS if not arguments.task or task.name() in arguments.task]
    with TemporaryDirectory() as folder, ExitStack() as files:
        log = files.enter_context(arguments.log.open("w", encoding="utf-8")) if arguments.log else None
        async with httpx2.AsyncClient(base_url=base_url, headers=headers) as http:
            evaluation = Evaluation(http, model, sys.stdout, arguments.steps, log=log)
            try:
                await evaluation.run(tasks, arguments.surface or list(SURFACES), Path(folder))
            finally:
                evaluation.print_totals()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, choices in (("surface", list(SURFACES)), ("task", [task.name() for task in TASKS])):
        parser.add_argument(f"--{name}", action="append", choices=choices, help="only this one; may be repeated")
    parser.add_argument("--steps", type=int, default=STEPS, help="calls that the model may make for one task")
    parser.add_argument("--log", type=Path, help="write each attempt to this file, one JSON object a line")
    try:
        anyio.run(evaluate, parser.parse_args())
    except (EndpointError, SettingsError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
