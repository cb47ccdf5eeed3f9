"""Which issues hold a call, where an API cannot be asked that: the issues of latest activity are read, and remembered."""

from __future__ import annotations

from dataclasses import dataclass, field

import anyio

from calltriage.client.client import Client
from calltriage.client.side_by_side import at_once
from calltriage.errors import CallError
from calltriage.operations.issues import Issue, ListIssues
from calltriage.operations.resource_links import ListResources

MOST_ISSUES = 25
"""Issues that are looked through, those of latest activity."""
MOST_KEPT = 1_000
"""Issues whose calls are remembered."""
SECONDS = 6.0
"""Time that reading may take. What was read until then is remembered."""


@dataclass(frozen=True)
class Held:
    """Tickets by call id. `issues` is the number of issues that were read; `is_all` if no other issue holds a call."""

    tickets: dict[str, list[str]]
    issues: int
    is_all: bool


@dataclass
class Holders:
    """The calls of each issue that was read. An issue is read again once anything has happened to it."""

    _calls: dict[str, tuple[str, frozenset[str]]] = field(default_factory=dict[str, "tuple[str, frozenset[str]]"])
    """By the issue's id: its last activity, and the calls that it held then."""

    async def of(self, client: Client, seconds: float = SECONDS) -> Held | None:
        """Which issues hold which calls; None where that cannot be read in time."""
        try:
            with anyio.fail_after(min(SECONDS, seconds)):
                page = await client.send(ListIssues(resource_type="call", limit=MOST_ISSUES))
                issues = page.items[:MOST_ISSUES]
                await at_once(*(self._read(client, issue) for issue in issues if not self._knows(issue)))
        except (CallError, TimeoutError):
            return None
        tickets: dict[str, list[str]] = {}
        for issue in issues:
            for call_id in self._calls.get(issue.id, ("", frozenset[str]()))[1]:
                tickets.setdefault(call_id, []).append(issue.triage_id or issue.id)
        return Held(tickets, len(issues), page.is_last)

    def _knows(self, issue: Issue) -> bool:
        return bool(issue.last_activity_at) and self._calls.get(issue.id, ("",))[0] == _state(issue)

    async def _read(self, client: Client, issue: Issue) -> None:
        page = await client.send(ListResources(issue_id=issue.id, limit=100))
        held = frozenset(link.resource_id for link in page.items if link.resource_type == "call")
        self._calls.pop(issue.id, None)
        self._calls[issue.id] = (_state(issue), held)
        for old in list(self._calls)[:-MOST_KEPT]:
            del self._calls[old]


def _state(issue: Issue) -> str:
    return f"{issue.last_activity_at} {issue.updated_at} {issue.resource_count}"
