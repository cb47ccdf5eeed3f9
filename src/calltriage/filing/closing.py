"""When an issue was closed: a fault that comes back after that is another matter than one that was there before."""

from __future__ import annotations

from datetime import datetime

from calltriage.client.client import Client
from calltriage.client.pages import pages
from calltriage.leaves.instants import instant
from calltriage.operations.activity import ListActivity
from calltriage.operations.fields import Status
from calltriage.operations.issues import Issue

CLOSED: tuple[Status, ...] = ("done", "closed")
"""Statuses of an issue that nobody works on any more."""
PAGES = 5
"""Pages of its history that are read, newest first."""


async def closed_at(issue: Issue, client: Client) -> datetime | None:
    """When a closed issue was closed last, by its history; where that does not say, when it was changed last."""
    async for page in pages(client.send, ListActivity(issue_id=issue.id, limit=100), PAGES):
        for entry in page.items:
            if entry.type == "status_changed" and entry.to_status in CLOSED:
                return instant(entry.created_at)
    return instant(issue.updated_at)
