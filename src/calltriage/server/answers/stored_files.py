"""Stored files, as answers show them."""

from __future__ import annotations

from typing import Annotated, Required, TypeAlias, TypedDict

from calltriage.operations.attachments import Attachment
from calltriage.server.answers.shapes import Page, Part, Saved, Shown, TimedLink


class Upload(TypedDict, total=False):
    """Where a file can be PUT, or the handle of one that waits; it is passed back as `upload`."""

    handle: Required[str]
    method: str
    url: str
    max_bytes: int
    good_for_s: int


class HungOn(Part, total=False):
    """What became of hanging a file on an issue."""

    resource_link_id: str
    created_at: str


FILE_SHOWN = frozenset(Attachment.brief or ())


class Storing(TypedDict, total=False):
    """What is said of storing a file, besides what the API says of the file."""

    sha256: str
    size_by_api: int
    labels_not_stored: list[str]
    grew_while_read: bool
    upload: Upload
    evidence: HungOn


class AttachmentRows(Page, total=False):
    """A page of attachments as it is shown."""

    items: Required[list[Annotated[Attachment, Shown(only=FILE_SHOWN)]]]


class Downloaded(Saved, total=False):
    """What is in a file, or where it was saved or can be had."""

    id: Required[str]
    name: Required[str]
    size: int
    type: str
    looks_like: str
    shown: str
    text: str
    characters: int
    decoded_from: str
    complete: bool
    link: TimedLink


StoredFile: TypeAlias = Annotated[Attachment, Shown(only=FILE_SHOWN, beside=(Storing,))]
