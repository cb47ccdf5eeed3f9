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


class FileLink(TypedDict, total=False):
    """What the link of a file says of it, and why its bytes are not to be had."""

    resource_id: str
    title: str
    status: str
    created_at: str
    no_bytes: str


FLAG_DROPS = frozenset({"org_id", "issue_id", "author_id"})
"""What the rest of an answer says already, or nobody asks for."""
RESOURCE_DROPS = frozenset({"org_id", "issue_id", "attached_by_id"})
RELATION_DROPS = frozenset({"org_id", "created_by_id"})

FlagEntry: TypeAlias = Annotated[Flag, Shown(without=FLAG_DROPS, beside=AtFlag)]
ResourceEntry: TypeAlias = Annotated[ResourceLink, Shown(without=RESOURCE_DROPS)]
RelationEntry: TypeAlias = Annotated[Relation, Shown(without=RELATION_DROPS)]
FileEntry: TypeAlias = Annotated[
    Attachment,
    Shown(only=frozenset({*(Attachment.brief or ()), "unreadable_fields"}), beside=FileLink, partly=True),
]


class FlagEntries(TypedDict, total=False):
    items: Required[list[FlagEntry]]


class ResourceEntries(TypedDict, total=False):
    items: Required[list[ResourceEntry]]


class RelationEntries(TypedDict, total=False):
    items: Required[list[RelationEntry]]


class FileEntries(TypedDict, total=False):
    items: Required[list[FileEntry]]


class ActivityEntries(TypedDict, total=False):
    items: Required[list[Entry]]


class DescriptionPart(TypedDict, total=False):
    """A part of an issue's description."""

    description: str


class DescriptionParts(TypedDict, total=False):
    items: Required[list[DescriptionPart]]


class CallBeginning(TypedDict, total=False):
    """How a call begins."""

    call_id: Required[str]
    turns_in_call: Required[int]
    turns: Required[list[SaidTurn]]


class CallBeginnings(TypedDict, total=False):
    items: Required[list[CallBeginning]]


class EvidenceGap(Gap, total=False):
    """What is left out of evidence; codes say why."""

    code: str
    codes: list[str]


class Evidence(TypedDict, total=False):
    """What an issue rests on: every section, or the one asked for.

    `description` is a section only where it was asked for: otherwise it stands in the issue. `transcripts` are the
    beginnings of the calls, where no flag shows a word of them.
    """

    issue: Required[Issue]
    description: DescriptionParts
    flags: FlagEntries
    resources: ResourceEntries
    relations: RelationEntries
    attachments: FileEntries
    activity: ActivityEntries
    transcripts: CallBeginnings
    complete: Required[bool]
    omitted: list[EvidenceGap]
