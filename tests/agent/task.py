"""A task for an agent: words of a user, the desk that they meet, and a grader of the desk that is left."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from agent.seat import Seat
from agent.staging import Ending, Start

Policy = Callable[[Seat, str], Awaitable[str]]
"""An agent: it acts through a seat on what its user wrote, and answers."""


class Task(ABC):
    """One task. A class states it, and brings the scripted agents that do it right and wrong.

    Each method whose name begins with `mistake_` is a policy that does the task wrong.
    """

    words: ClassVar[str]
    """What the user writes. Names in braces stand for facts that `prepare` returns."""

    @classmethod
    def name(cls) -> str:
        return re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()

    @abstractmethod
    async def prepare(self, start: Start) -> dict[str, str] | None:
        """Fill the desk."""

    @abstractmethod
    def grade(self, end: Ending) -> dict[str, bool]:
        """The checks by what they state, each with whether it holds."""

    @abstractmethod
    async def script(self, seat: Seat, words: str) -> str:
        """Do the task with the default tools, and answer the user."""

    def written(self, facts: dict[str, str] | None) -> str:
        """The user's message."""
        return self.words.format(**facts or {})

    def is_asked_by(self, message: str) -> bool:
        """Whether a message is this task's."""
        pattern = re.sub(r"\\{\w+\\}", ".+", re.escape(self.words))
        return re.fullmatch(pattern, message, re.DOTALL) is not None

    def mistakes(self) -> dict[str, Policy]:
        """The policies that do this task wrong."""
        return {name: getattr(self, name) for name in dir(self) if name.startswith("mistake_")}


async def idle(_: Seat, __: str) -> str:
    """Does nothing and says that it is done."""
    return "Done."


async def wreck(seat: Seat, _: str) -> str:
    """Writes wherever it can, and understands nothing."""
    calls = [row["call_id"] for row in (await seat.ok("find_calls"))["items"]]
    for issue in (await seat.ok("list_issues"))["items"]:
        ticket = issue["triage_id"]
        for call_id in calls:
            everywhere: dict[str, Any] = {"call_id": call_id, "message_index": 0, "type": "wrong"}
            await seat.ok("add_flag", issue_id=ticket, attach_if_missing=True, **everywhere)
        await seat.ok("update_issue", issue_id=ticket, title="Wrecked", status="backlog", severity="low", category="X")
        await seat.ok("add_comment", issue_id=ticket, detail="Wrecked")
    await seat.ok("create_issue", title="Nobody asked for this", severity="low", category="X", on_duplicate="create")
    await seat.ok("create_attachment", name="wrecked.txt", text="Wrecked")
    return ""


CARELESS: dict[str, Policy] = {"idle": idle, "wreck": wreck}
"""Policies that do every task wrong."""
