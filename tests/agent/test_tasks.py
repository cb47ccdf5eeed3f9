"""Each task can be done on the default surface, and each of its checks can fail."""

from __future__ import annotations

from pathlib import Path

import pytest
from agent.desk_state import read_desk
from agent.seat import Seat
from agent.staging import Ending, default_surface, empty_desk
from agent.task import CARELESS, Policy, Task
from agent.tasks import TASKS

EACH = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name())


async def outcome(task: Task, policy: Policy, folder: Path) -> dict[str, bool]:
    """The checks of a task that this policy was given."""
    async with empty_desk(folder) as start:
        words = task.written(await task.prepare(start))
        before = await read_desk(start.client)
        async with default_surface(start) as connected:
            answer = await policy(Seat(connected), words)
        return task.grade(Ending(before, await read_desk(start.client), answer))


@EACH
async def test_a_task_can_be_done_with_the_default_tools(task: Task, tmp_path: Path) -> None:
    checks = await outcome(task, task.script, tmp_path)
    assert len(checks) >= 3
    assert [check for check, holds in checks.items() if not holds] == []


@EACH
async def test_each_wrong_policy_fails_and_each_check_is_failed_by_one(task: Task, tmp_path: Path) -> None:
    failed, checks = set[str](), dict[str, bool]()
    for name, policy in (CARELESS | task.mistakes()).items():
        checks = await outcome(task, policy, tmp_path / name)
        wrong = {check for check, holds in checks.items() if not holds}
        assert wrong, f"{name} was not noticed"
        failed |= wrong
    assert set(checks) - failed == set(), "no policy fails these checks"


def test_tasks_have_names_and_words_of_their_own() -> None:
    assert len({task.name() for task in TASKS}) == len(TASKS)
    for task in TASKS:
        asked = task.written(dict.fromkeys(["updated_at"], "2026-05-06T21:09:57.081Z"))
        assert [one for one in TASKS if one.is_asked_by(asked)] == [task]
