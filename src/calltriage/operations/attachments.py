"""Attachments: named files behind Talkdesk's Attachments API (talkdesk-attachments, sections 4 to 7)."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, StringConstraints

from calltriage.operations.base import Api, Effect, Operation, Result
from calltriage.operations.fields import TEXT, AttachmentId, AttachmentName, MediaType, Metadata


class UploadLink(Result):
    """A reservation. `url` is a bearer capability: it is used once, at once, and shown to nobody."""

    request_id: str
    url: str


class RequestUploadLink(
    Operation[UploadLink],
    http="POST /attachments/2023-03/upload-link",
    api=Api.ATTACHMENTS,
    effect=Effect.ENSURE,
    scope="attachments:request",
    envelope=False,
):
    """Reserve a request_id and get a URL that accepts the bytes.

    An unused reservation does no harm and ends by itself, so that a repeat is safe.
    """

    allowed_mime_types: Annotated[list[MediaType], Field(max_length=50)] | None = Field(
        default=None, description="Media types the attachment may have; checked when it is created. Absent: any."
    )


class Attachment(Result, origin="the uploader"):
    """A stored file's record."""

    id: str
    name: str
    state: str
    """Open set; only `published` was ever shown."""
    size: int | None = None
    """Bytes."""
    type: str | None = None
    """Media type of the stored object."""
    metadata: dict[str, Any] | None = None


class CreateAttachment(
    Operation[Attachment],
    http="POST /attachments/2023-03",
    api=Api.ATTACHMENTS,
    effect=Effect.ADD,
    scope="attachments:write",
    envelope=False,
):
    """Turn uploaded bytes into a named attachment."""

    name: AttachmentName
    request_id: Annotated[str, StringConstraints(min_length=1, max_length=64), TEXT]
    metadata: Metadata | None = None


class GetAttachment(
    Operation[Attachment],
    http="GET /attachments/2023-03/{attachment_id}",
    api=Api.ATTACHMENTS,
    effect=Effect.READ,
    scope="attachments:read",
    envelope=False,
):
    """Read one attachment's record, not its bytes."""

    attachment_id: AttachmentId
