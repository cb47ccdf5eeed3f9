"""Each task can be done on the default surface, and each of its checks can fail."""

from __future__ import annotations

from pathlib import Path

import pytest
from agent.seat import Seat
from agent.stage import Stage, prepare
from agent.task import CARELESS, Policy, Task
from agent.tasks import TASKS
from mcp.client import Client

from calltriage.server.app import build_server

EACH = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name())


async def outcome(stage: Stage, name: str, policy: Policy) -> dict[str, bool]:
    """The checks of a task that this policy was given."""
    async with stage.opened(name) as start:
        async with Client(build_server(start.client, version="0")) as connected:
            answer = await policy(Seat(connected), stage.words)
        return await stage.grade(start, answer)


@pytest.mark.slow
@EACH
async def test_a_task_can_be_done_with_the_default_tools(task: Task, tmp_path: Path) -> None:
    checks = await outcome(await prepare(task, tmp_path), "script", task.script)
    assert len(checks) >= 3
    assert [check for check, holds in checks.items() if not holds] == []


@pytest.mark.slow
@EACH
async def test_each_wrong_policy_fails_and_each_check_is_failed_by_one(task: Task, tmp_path: Path) -> None:
    failed, checks = set[str](), dict[str, bool]()
    stage = await prepare(task, tmp_path)
    for name, policy in (CARELESS | task.mistakes()).items():
        checks = await outcome(stage, name, policy)
        wrong = {check for check, holds in checks.items() if not holds}
        assert wrong, f"{name} was not noticed"
        failed |= wrong
    assert set(checks) - failed == set(), "no policy fails these checks"


def test_there_are_twenty_tasks() -> None:
    assert len(TASKS) == 20


def test_tasks_have_names_and_words_of_their_own() -> None:
    assert len({task.name() for task in TASKS}) == len(TASKS)
    for task in TASKS:
        asked = task.written(dict.fromkeys(["updated_at"], "2026-05-06T21:09:57.081Z"))
        assert [one for one in TASKS if one.is_asked_by(asked)] == [task]
