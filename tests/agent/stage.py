"""A desk that was prepared for a task once, and is copied for each agent that tries it."""

from __future__ import annotations

import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from agent.desk_state import DeskState, read_desk
from agent.staging import Ending, Start, open_desk
from agent.task import Task
from conftest import DESK_URL


@dataclass(frozen=True)
class Stage:
    """A prepared desk. `words`: what the user writes there."""

    task: Task
    words: str
    before: DeskState
    folder: Path

    @asynccontextmanager
    async def opened(self, name: str, public_url: str = DESK_URL) -> AsyncGenerator[Start]:
        """A copy of the desk, an hour later."""
        copy = self.folder.with_name(f"{self.folder.name}-{name}")
        shutil.copytree(self.folder, copy)
        async with open_desk(copy, public_url, hours_later=1) as start:
            yield start

    async def grade(self, start: Start, answer: str) -> dict[str, bool]:
        """The checks, after an agent has worked on a copy and answered."""
        return self.task.grade(Ending(self.before, await read_desk(start.client), answer))


async def prepare(task: Task, folder: Path) -> Stage:
    """Make the desk that a task begins with, in a new folder below this one."""
    place = folder / task.name()
    async with open_desk(place) as start:
        words = task.written(await task.prepare(start))
        return Stage(task, words, await read_desk(start.client), place)
