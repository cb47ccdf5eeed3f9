"""The rows of a search of calls, as an answer shows them."""

from __future__ import annotations

from typing import Required, TypedDict

from calltriage.server.answers.shapes import Page


class SaidWords(TypedDict, total=False):
    """A turn that holds the words of a search; of a long text the part around them."""

    message_index: int
    user: str | None
    offset: int
    text: str


CallFacts = TypedDict(
    "CallFacts",
    {
        "call_id": str,
        "created_at": str,
        "call_length": float,
        "status": str,
        "completed": bool,
        "inbound": bool,
        "answered_by": str,
        "call_ended_by": str,
        "from": str,
        "to": str,
        "batch_id": str,
        "pathway_id": str,
        "queue_status": str,
        "error_message": str,
        "summary": str,
        "issues": list[str],
        "matches": int,
    },
    total=False,
)
"""What a row says of a call, of what an API says."""


class CallRow(CallFacts, total=False):
    """A call in brief."""

    turns: list[SaidWords]


class Searched(TypedDict, total=False):
    """What was looked through: a scope, or so many calls, of which `of_these_kept_here` were read before. `near_words` were
    said where those of the search were not."""

    scope: str

    calls_read: int
    calls_listed: int
    of_these_kept_here: int
    unreadable: int
    near_words: list[str]


class CallRows(Page, total=False):
    """A page of calls. `unreadable` counts calls of two lists that cannot be read."""

    items: Required[list[CallRow]]
    searched: Searched
    days: str
    unreadable: int
