"""The sections of an issue's evidence, as an answer shows them."""

from __future__ import annotations

from typing import Annotated, Required, TypeAlias, TypedDict

from calltriage.operations.attachments import Attachment
from calltriage.operations.flags import Flag
from calltriage.operations.issues import Issue
from calltriage.operations.relations import Relation
from calltriage.operations.resource_links import ResourceLink
from calltriage.server.answers.activity_entries import Entry
from calltriage.server.answers.shapes import Gap, SaidTurn, Shown


class Moment(TypedDict, total=False):
    """The beginning of the words that were flagged."""

    text: Required[str]


class AtFlag(TypedDict, total=False):
    """What was said at a flag, and which of its fields the transcript does not bear out."""

    turns: list[SaidTurn]
    unverified: list[str]
    moment: Moment


class OfFile(TypedDict, total=False):
    """What stands beside the link of a file: its attachment, or why its bytes are not to be had."""

    attachment: Annotated[Attachment, Shown(only=frozenset(Attachment.brief or ()))]
    no_bytes: str


FLAG_DROPS = frozenset({"org_id", "issue_id", "author_id"})
"""What the rest of an answer says already, or nobody asks for."""
RESOURCE_DROPS = frozenset({"org_id", "issue_id", "attached_by_id"})
RELATION_DROPS = frozenset({"org_id", "created_by_id"})


class OtherEntry(TypedDict, total=False):
    """What no API's object has: turns of a call that is shown from its beginning, a part of the issue's description."""

    turns_in_call: int
    description: str


ISSUE_PARTS = frozenset(Issue.model_fields) - {
    "org_id", "number", "author_id", "external_link", "source", "latest_agent_session", "is_processing", "agent_id",
    "agent_version_id",
}  # fmt: skip
"""What evidence says of the issue itself; get_issue says the rest."""

IssueShown: TypeAlias = Annotated[Issue, Shown(only=ISSUE_PARTS)]
FlagEntry: TypeAlias = Annotated[Flag, Shown(without=FLAG_DROPS, beside=(AtFlag,))]
ResourceEntry: TypeAlias = Annotated[ResourceLink, Shown(without=RESOURCE_DROPS, beside=(OfFile,))]
RelationEntry: TypeAlias = Annotated[Relation, Shown(without=RELATION_DROPS)]
AnyEntry: TypeAlias = Annotated[Entry, Shown(beside=(FlagEntry, ResourceEntry, RelationEntry, OtherEntry))]
"""One type for all sections, whose members have the same types wherever they stand: a type for each costs twice as much."""


class SectionShown(TypedDict, total=False):
    """Entries of a section."""

    items: Required[list[AnyEntry]]


class EvidenceGap(Gap, total=False):
    """What is left out of evidence; codes say why."""

    code: str
    codes: list[str]


class Evidence(TypedDict, total=False):
    """What an issue rests on: every section, or the one asked for. `evidence_count` counts what is attached, where that is
    known.

    `description` is a section only where it was asked for: otherwise it stands in the issue. `transcripts` are the
    beginnings of the calls, where no flag shows a word of them.
    """

    issue: Required[IssueShown]
    evidence_count: int
    description: SectionShown
    flags: SectionShown
    resources: SectionShown
    relations: SectionShown
    activity: SectionShown
    transcripts: SectionShown
    complete: Required[bool]
    omitted: list[EvidenceGap]
