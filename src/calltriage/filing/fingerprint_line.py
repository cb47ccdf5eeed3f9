"""The line in an issue's description that says which incident the issue is of. It outlives our database.

    calltriage-fp: v1:9f2c… seal:Zm9v…

A line counts only on an issue of the source `automated`, and only with a seal of our own: anybody may write a description.
"""

from __future__ import annotations

import re

from calltriage.client.client import Client
from calltriage.filing.closing import CLOSED
from calltriage.leaves.seals import Seals
from calltriage.operations.issues import Issue, ListIssues

LINE = re.compile(r"^calltriage-fp: (v[0-9]{1,3}:[0-9a-f]{64}) seal:([A-Za-z0-9_-]{22})\s*\Z", re.MULTILINE)
KIND = "fingerprint of an incident"


def line_of(fingerprint: str, seals: Seals) -> str:
    """The line for an issue that is filed for an incident."""
    return f"calltriage-fp: {fingerprint} seal:{seals.mark(KIND, fingerprint)}"


def fingerprint_of(issue: Issue, seals: Seals) -> str | None:
    """The incident whose issue this is; None where nothing says so that can be trusted."""
    found = LINE.search(issue.description) if issue.source == "automated" else None
    return found[1] if found and seals.is_marked(KIND, found[1], found[2]) else None


async def issue_of(fingerprint: str, client: Client, seals: Seals) -> Issue | None:
    """The issue that was filed for an incident: an open one, else a closed one. Of several the first: a copy of its line
    elsewhere is younger."""
    page = await client.send(ListIssues(search=fingerprint, sort="created_at", order="asc", limit=100))
    found = [issue for issue in page.items if fingerprint_of(issue, seals) == fingerprint]
    return min(found, key=lambda one: (one.status in CLOSED, one.created_at, one.number or 0), default=None)


async def described(description: str, client: Client) -> Issue | None:
    """An issue with this description, whose line makes it the only one of its kind; None where there is none, or where
    nobody can say. An API may trim the text."""
    found = LINE.search(description)
    if found is None:
        return None
    for listing in (
        ListIssues(search=found[1], limit=100),
        ListIssues(sort="created_at", order="desc", limit=100),  # where a search does not know new issues yet
    ):
        for issue in (await client.send(listing)).items:
            if issue.description.split() == description.split():
                return issue
    return None
