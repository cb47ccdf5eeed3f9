"""A desk in the state that a task begins with, and what becomes of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from agent.desk_state import DeskState
from conftest import DESK_URL, KEY, Clock, call_line, endpoints_to, enrol, load_lines
from pydantic import SecretStr

from calltriage.client.client import Client, open_client
from calltriage.desk.app import Desk
from calltriage.operations.activity import AddComment
from calltriage.operations.flags import AddFlag
from calltriage.operations.issues import CreateIssue, UpdateIssue
from calltriage.operations.resource_links import AttachResource


@dataclass
class Start:
    """An empty desk, to be filled before an agent comes."""

    desk: Desk
    client: Client
    ids: dict[str, str] = field(default_factory=dict[str, str])
    """Of the issues made here, by ticket."""

    async def call(self, call_id: str, *texts: str, **more: Any) -> None:
        """A call, said in turn by agent and caller."""
        await load_lines(self.desk, call_line(call_id, *texts, **more))

    async def issue(self, title: str, *, calls: tuple[str, ...] = (), **more: Any) -> str:
        """The ticket of an issue with these calls attached. The first one is T-1001."""
        fields = {"title": title, "severity": "medium", "category": "Dialogue"} | more
        made = await self.client.send(CreateIssue.model_validate(fields))
        for call_id in calls:
            await self.client.send(AttachResource(issue_id=made.id, resource_type="call", resource_id=call_id))
        self.ids[made.triage_id] = made.id
        return made.triage_id

    async def flag(self, ticket: str, call_id: str, turn: int, flag_type: str, note: str = "") -> None:
        await self.client.send(
            AddFlag(issue_id=self.ids[ticket], call_id=call_id, type=flag_type, message_index=turn, note=note or None)
        )

    async def update(self, ticket: str, **fields: Any) -> str:
        """Change an issue, as another person would; its new `updated_at`."""
        return (await self.client.send(UpdateIssue.model_validate({"issue_id": self.ids[ticket], **fields}))).updated_at

    async def comment(self, ticket: str, text: str) -> None:
        await self.client.send(AddComment(issue_id=self.ids[ticket], detail=text))

    async def member(self, user_id: str) -> None:
        await enrol(self.desk, user_id)


@dataclass(frozen=True)
class Ending:
    """What a task is graded by: the desk before and after, and what the agent told its user at the end."""

    before: DeskState
    now: DeskState
    answer: str

    @property
    def new(self) -> tuple[str, ...]:
        """Tickets that were filed."""
        return tuple(ticket for ticket in self.now.issues if ticket not in self.before.issues)

    def is_untouched(self, *but: str) -> bool:
        """Whether every issue that there was stands as it stood, except these, and nothing was filed or stored."""
        stood = {ticket: state for ticket, state in self.before.issues.items() if ticket not in but}
        now = {ticket: state for ticket, state in self.now.issues.items() if ticket not in but}
        return stood == now and self.before.files == self.now.files

    def kept(self, ticket: str, *fields: str) -> bool:
        """Whether an issue is still there with these fields as they were."""
        now = self.now.issues.get(ticket)
        return now is not None and all(
            getattr(now, name) == getattr(self.before.issues[ticket], name) for name in fields
        )


@asynccontextmanager
async def open_desk(folder: Path, public_url: str = DESK_URL, *, hours_later: int = 0) -> AsyncGenerator[Start]:
    """The desk on a folder. Its clock stands still but for a millisecond at each look."""
    clock = Clock()
    clock.advance(hours=hours_later)
    desk = Desk(folder, SecretStr(KEY), public_url, clock=clock)
    transport = httpx2.ASGITransport(desk, raise_app_exceptions=False)
    try:
        async with open_client(endpoints_to(transport, public_url)) as client:
            yield Start(desk, client)
    finally:
        await desk.close()
