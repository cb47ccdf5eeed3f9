"""What the tools that write answer besides the thing that they wrote, and its outcome."""

from __future__ import annotations

from typing import Annotated, Required, TypeAlias, TypedDict

from calltriage.operations.activity import TimelineEntry
from calltriage.operations.flags import Flag
from calltriage.operations.issues import Issue
from calltriage.operations.relations import Relation
from calltriage.server.answers.shapes import Part, Shown

ISSUE_SHOWN = frozenset({
    "id", "triage_id", "title", "description", "status", "severity", "category", "owner_id", "assignee_id", "created_at",
    "updated_at", "resource_count",
})  # fmt: skip
"""What is shown of an issue that was written."""
FLAG_SHOWN = frozenset(Flag.model_fields) - {"org_id", "author_id"}
LINK_SHOWN = frozenset(Relation.model_fields) - {"org_id", "created_by_id"}
COMMENT = frozenset({"id", "issue_id", "type", "detail", "created_at"})
ONE_FLAG = frozenset({"id", "call_id", "type", "message_index", "created_at"})
"""What is shown of a flag among several: what tells them apart."""
ONE_LINK = frozenset({"id", "related_issue_id", "related_triage_id", "related_title", "created_at"})


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


class Added(Part, total=False):
    """What became of a flag of a new issue, or of its link."""

    id: str
    call_id: str
    type: str
    message_index: int
    relation_id: str
    related_issue_id: str
    created_at: str


class FlagsAdded(TypedDict, total=False):
    """What became of each flag of a new issue."""

    items: Required[list[Added]]


class Filing(TypedDict, total=False):
    similar: Similar
    flags: FlagsAdded
    link: Added


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
    also: list[Annotated[Flag, Shown(only=ONE_FLAG, beside=(FlagAdded,))]]
    explanation: str


class Replaced(TypedDict, total=False):
    """The flag that a correction took away, as it was."""

    flag: Required[Annotated[Flag, Shown(only=frozenset({"type", "note", "message_index", "message_text"}))]]
    removed_at: str


class Correcting(TypedDict, total=False):
    replaced_flag_id: str
    replaced: Replaced
    explanation: str


class Linking(TypedDict, total=False):
    links: list[Annotated[Relation, Shown(only=ONE_LINK, beside=(Part,))]]


WrittenIssue: TypeAlias = Annotated[Issue, Shown(only=ISSUE_SHOWN)]
FiledIssue: TypeAlias = Annotated[Issue, Shown(only=ISSUE_SHOWN, beside=(Filing,))]
AddedFlag: TypeAlias = Annotated[Flag, Shown(only=FLAG_SHOWN, beside=(Flagging,))]
CorrectedFlag: TypeAlias = Annotated[Flag, Shown(only=FLAG_SHOWN, beside=(Correcting,))]
MadeLink: TypeAlias = Annotated[Relation, Shown(only=LINK_SHOWN, beside=(Linking,))]
MadeComment: TypeAlias = Annotated[TimelineEntry, Shown(only=COMMENT)]
