"""What a workflow is, and what it has at hand."""

from __future__ import annotations

import re
import unicodedata
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import anyio

from calltriage.client.client import Client
from calltriage.errors import CallError, NotFound, TryNext
from calltriage.operations.base import Tool
from calltriage.operations.calls import Turn
from calltriage.operations.issues import ListIssues
from calltriage.server.files import FileRoots

ISSUE = "UUID, ticket (T-1042) or dashboard URL."
PAGES_SEARCHED = 50
"""Pages of 100 issues that are looked through for a ticket number, where search does not know it."""


async def _no_progress(_done: float, _total: float | None, _message: str) -> None:
    """Nobody listens."""


@dataclass
class Work:
    """What a tool has at hand: the APIs, the local files it may read, whom to tell about progress."""

    client: Client
    files: FileRoots
    progress: Callable[[float, float | None, str], Awaitable[None]] = _no_progress
    tickets: dict[str, str] = field(default_factory=dict[str, str])
    """UUIDs of ticket numbers already looked up; a number never names another issue."""

    async def issue_id(self, ref: str, argument: str = "issue_id") -> str:
        """The UUID that an issue's reference stands for. Raises NotFound naming the argument that held it."""
        name = ref.rstrip("/").rpartition("/")[2]
        if name[:2].lower() != "t-":
            return name.lower()
        ticket = f"T-{int(name[2:])}"
        if ticket not in self.tickets:
            self.tickets[ticket] = await self._look_up(ticket, argument)
        return self.tickets[ticket]

    async def _look_up(self, ticket: str, argument: str) -> str:
        """Search knows ticket numbers in an unpublished draft only, so the list is the fallback (section 3)."""
        found = await self.client.send(ListIssues(search=ticket, limit=100))
        cursor: str | None = None
        for _ in range(PAGES_SEARCHED):
            for issue in found.items:
                if issue.triage_id == ticket:
                    return issue.id
            numbers = [issue.number for issue in found.items if issue.number is not None]
            if cursor and numbers and min(numbers) < int(ticket[2:]):
                break  # newest first: everything after is older still
            page = await self.client.send(ListIssues(sort="created_at", order="desc", limit=100, cursor=cursor))
            found, cursor = page, page.next_cursor
            if cursor is None and all(issue.triage_id != ticket for issue in found.items):
                break
        raise NotFound(
            "No issue has this ticket number.", field=argument, try_next=TryNext(tool="list_issues", arguments={})
        )


@contextmanager
def preparing() -> Generator[None]:
    """Around a step that comes before a workflow's own write: whatever becomes of it, that write was not made."""
    try:
        yield
    except CallError as error:
        error.outcome = "not_committed"
        raise


class Workflow(Tool):
    """A tool that is not one operation. `result` is the shape of what `run` returns."""

    result: ClassVar[Any]

    @abstractmethod
    async def run(self, work: Work) -> dict[str, Any]: ...


def folded(text: str) -> str:
    """A text as quotes are compared: Unicode-normalised, case and white space folded."""
    return re.sub(r"\s+", " ", unicodedata.normalize("NFKC", text).casefold()).strip()


def numbered(index: int, turn: Turn) -> dict[str, Any]:
    """A turn as tools show it, under the index that flags take."""
    return {"message_index": index, "user": turn.user, "text": turn.text}


async def at_once(*work: Awaitable[Any]) -> list[Any]:
    """Run awaitables side by side and return their results in order; the first failure is raised as itself."""
    results: list[Any] = [None] * len(work)

    async def keep(place: int, one: Awaitable[Any]) -> None:
        results[place] = await one

    try:
        async with anyio.create_task_group() as group:
            for place, one in enumerate(work):
                group.start_soon(keep, place, one)
    except* CallError as failures:
        raise failures.exceptions[0] from None
    return results
