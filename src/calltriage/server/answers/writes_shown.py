"""What the tools that write answer besides the thing that they wrote, and its outcome."""

from __future__ import annotations

from typing import Annotated, Required, TypeAlias, TypedDict

from calltriage.operations.flags import Flag
from calltriage.operations.issues import Issue
from calltriage.operations.relations import Relation
from calltriage.server.answers.shapes import Advice, Part, Shown

BRIEF_FLAG = frozenset({"org_id", "issue_id", "author_id"})
"""What a flag among several does not say again."""


class Reasons(TypedDict, total=False):
    """Why an issue is like a draft, and why it may be another fault all the same."""

    title_words: list[str]
    description_words: list[str]
    same_category: Required[bool]
    shared_evidence: list[str]
    differs: list[str]


class Alike(TypedDict, total=False):
    """An issue that is like a draft: open, or closed not long ago."""

    id: Required[str]
    triage_id: Required[str]
    title: Required[str]
    status: Required[str]
    closed: bool
    score: Required[float]
    why: Required[Reasons]


class Similar(TypedDict, total=False):
    """Issues like a draft, best first; or the code of the error for which they are not known."""

    items: list[Alike]
    returned: int
    total: int
    complete: bool
    looked_at: int
    searched_for: list[str]
    unread: str


class FlagsAdded(TypedDict, total=False):
    """What became of each flag of a new issue."""

    items: Required[list[Annotated[Flag, Shown(without=BRIEF_FLAG, beside=Part, partly=True)]]]


class LinkMade(Part, total=False):
    """What became of the link of a new issue."""

    relation_id: str
    related_issue_id: str
    created_at: str


class Filing(TypedDict, total=False):
    similar: Similar
    flags: FlagsAdded
    link: LinkMade
    try_next: Advice


class Attached(TypedDict, total=False):
    """What became of attaching the call of a flag."""

    resource_link_id: Required[str]
    outcome: Required[str]


class FlagAdded(Part, total=False):
    """What became of one flag of several."""

    attached: Attached


class Flagging(TypedDict, total=False):
    attached: Attached
    unverified: list[str]
    also: list[Annotated[Flag, Shown(beside=FlagAdded, partly=True)]]
    explanation: str


class Replaced(TypedDict, total=False):
    """The flag that a correction took away, as it was."""

    flag: Required[
        Annotated[Flag, Shown(only=frozenset({"type", "note", "message_index", "message_text"}), partly=True)]
    ]
    removed_at: str


class Correcting(TypedDict, total=False):
    replaced_flag_id: str
    replaced: Replaced
    explanation: str


class Linking(TypedDict, total=False):
    links: list[Annotated[Relation, Shown(beside=Part, partly=True)]]


FiledIssue: TypeAlias = Annotated[Issue, Shown(beside=Filing)]
AddedFlag: TypeAlias = Annotated[Flag, Shown(beside=Flagging)]
CorrectedFlag: TypeAlias = Annotated[Flag, Shown(beside=Correcting)]
MadeLink: TypeAlias = Annotated[Relation, Shown(beside=Linking)]
