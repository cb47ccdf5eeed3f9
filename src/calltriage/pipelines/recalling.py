"""What an earlier ledger wrote on an issue that is found again: nothing of it is written twice.

A flag's note ends with its finding's id. Anybody may write such a note, so a flag counts only if its author is the one who
wrote for the pipeline, where the API names authors. A wrong match hides a flag and does nothing else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from calltriage.client.pages import pages
from calltriage.operations.activity import ListActivity, TimelineEntry
from calltriage.operations.flags import AddFlag, Flag, ListFlags
from calltriage.pipelines import issue_texts
from calltriage.pipelines.ledger import effects
from calltriage.pipelines.ledger.effects import Recalled, flag_of

if TYPE_CHECKING:
    from calltriage.client.client import Client
    from calltriage.operations.issues import Issue
    from calltriage.pipelines.issue_writes import IssueWrites
    from calltriage.pipelines.ledger.ledger import Ledger

ROWS, PAGES = 100, 100
"""Rows of a page, and pages of an issue's flags or feed that are read at most."""
FINDING = re.compile(r"\[finding ([0-9a-f]{32})\]\Z")


@dataclass(frozen=True)
class Recall:
    """Reads from an issue what was written for an incident before this ledger was made. Raises CallError."""

    client: Client
    ledger: Ledger
    writes: IssueWrites

    async def found_again(self, issue: Issue, fingerprint: str) -> None:
        """Record the flags of an issue that the line in its description led back to."""
        await self._record_flags(issue, fingerprint, issue.author_id)

    async def join(self, issue: Issue, fingerprint: str, title: str) -> None:
        """Comment on an issue of others that an incident joins, unless its feed has the comment. Then an earlier ledger's
        incident joined it, and its flags are recorded."""
        told = issue_texts.joined(title, fingerprint)
        entry = await self._comment(issue, told)
        if entry is None:
            await self.writes.comment(f"{fingerprint}:joined:{issue.id}", issue.id, told, fingerprint)
            return
        by = (entry.actor or {}).get("id")
        await self._record_flags(issue, fingerprint, by if isinstance(by, str) else None)

    async def _comment(self, issue: Issue, text: str) -> TimelineEntry | None:
        async for page in pages(self.client.send, ListActivity(issue_id=issue.id, limit=ROWS), PAGES):
            for entry in page.items:
                if entry.type == "comment" and (entry.detail or "").split() == text.split():
                    return entry
        return None

    async def _record_flags(self, issue: Issue, fingerprint: str, author: str | None) -> None:
        """Record the flags that name findings as made. `author`: who wrote them; None if that is not known."""
        found = list[Recalled]()
        async for page in pages(self.client.send, ListFlags(issue_id=issue.id, limit=ROWS), PAGES):
            for flag in page.items:
                named = FINDING.search(flag.note.rstrip())
                if named and _is_by(flag, author):
                    key = flag_of(named[1], issue.id)
                    found.append(Recalled(key, AddFlag.tool_name(), fingerprint, named[1], flag.id))
        await self.ledger.write(partial(effects.recall, ledger=self.ledger, issue_id=issue.id, several=found))


def _is_by(flag: Flag, author: str | None) -> bool:
    """Whether a flag's author is this one. An API that names no authors cannot tell."""
    return author is None or flag.author_id is None or flag.author_id == author
