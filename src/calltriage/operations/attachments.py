"""Attachments: named files behind Talkdesk's Attachments API (talkdesk-attachments, sections 4 to 7)."""

from typing import Annotated, Any, ClassVar, Self
from urllib.parse import parse_qs, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from calltriage.leaves.strict_json import JsonObject, is_array, is_object
from calltriage.leaves.urls import without_secrets
from calltriage.operations.base import Api, Effect, Operation
from calltriage.operations.fields import TEXT, AttachmentId, AttachmentName, MediaType, Metadata
from calltriage.operations.results import Result
from calltriage.operations.traces import TakenName, Trace, Unreadable

RECORDING_OF = "recording_of"
"""Label of a file that is the recording of a call (our choice)."""


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


def _addresses(links: object) -> object:
    """The addresses of HAL links by name, without secrets in them. A link of another form is left out. Raises ValueError
    if `links` is no object."""
    if not is_object(links):
        raise ValueError("no object")
    first = {name: one[0] if is_array(one) and one else one for name, one in links.items() if name != "curies"}
    found = {name: one.get("href") if is_object(one) else one for name, one in first.items()}
    return {name: without_secrets(href) for name, href in found.items() if isinstance(href, str)}


class Attachment(Result, origin="the uploader"):
    """A stored file's record."""

    brief: ClassVar[set[str] | None] = {"id", "name", "state", "size", "type", "metadata"}
    """What a row of a list shows."""

    id: str
    name: str = ""
    state: str = ""
    """Open set; only `published` was ever shown."""
    size: int | None = None
    """Bytes."""
    type: str | None = None
    """Media type of the stored object."""
    metadata: JsonObject | None = None
    provider: Annotated[JsonObject, AfterValidator(without_secrets)] | None = None
    """Where the bytes are kept; its form is open."""
    links: Annotated[dict[str, str], BeforeValidator(_addresses)] | None = Field(default=None, alias="_links")
    """Addresses on the service's own pages: data, never to be called (talkdesk-attachments, section 6)."""


class CreateAttachment(
    Operation[Attachment],
    http="POST /attachments/2023-03",
    api=Api.ATTACHMENTS,
    effect=Effect.ADD,
    scope="attachments:write",
    refuses=(409,),
    envelope=False,
):
    """Turn uploaded bytes into a named attachment."""

    name: AttachmentName
    request_id: Annotated[str, StringConstraints(min_length=1, max_length=64), TEXT]
    metadata: Metadata | None = None

    def trace(self) -> Trace[Attachment]:
        return TakenName(ListAttachments(name=self.name, per_page=250), self.name)


class GetAttachment(
    Operation[Attachment],
    http="GET /attachments/2023-03/{attachment_id}",
    api=Api.ATTACHMENTS,
    effect=Effect.READ,
    scope="attachments:read",
    envelope=False,
):
    """Read the record of a stored file, what is known about the attachment: name, size, type, metadata; not its content."""

    attachment_id: AttachmentId = Field(description="The attachment.")


class HalLink(Result):
    """A link as the service writes it; data, never an address to call."""

    href: str


class AttachmentList(Result):
    """What `_embedded` holds."""

    items: list[Attachment] = Field(default_factory=list[Attachment], alias="list")


def _next_alone(links: object) -> object:
    """The `next` link of a page alone, as an object. The others are not used, and HAL allows them in several forms
    (`curies`, lists, nulls)."""
    if not is_object(links):
        return links
    following: Any = links.get("next")
    if is_array(following) and following:
        following = following[0]
    if isinstance(following, str):
        following = {"href": following}
    return {} if following is None else {"next": following}


class AttachmentPage(Result):
    """One page of the account's attachments. `total` counts all pages."""

    total: int | None = None
    page: int | None = None
    per_page: int | None = None
    embedded: AttachmentList = Field(default_factory=AttachmentList, alias="_embedded")
    links: Annotated[dict[str, HalLink], BeforeValidator(_next_alone)] = Field(
        default_factory=dict[str, HalLink], alias="_links"
    )

    @model_validator(mode="after")
    def _has_a_list(self) -> Self:
        """Refuse a page without a list, unless it is empty: its `total` is 0, or it is a later page without a next one."""
        is_past_the_end = (self.page or 1) > 1 and "next" not in self.links
        if "items" not in self.embedded.model_fields_set and self.total != 0 and not is_past_the_end:
            raise ValueError("a page needs its list")
        return self

    @property
    def items(self) -> list[Attachment]:
        return self.embedded.items

    @property
    def lost_rows(self) -> list[int]:
        """Places of the rows that cannot be read."""
        return self.embedded.unreadable_rows("list")

    @property
    def lost_next(self) -> bool:
        """Whether the next page is unknown: its link cannot be read, or there is none although `total` counts more
        attachments."""
        if self.following is not None:
            return False
        named = any(name.partition(".")[0] == "_links" for name in self.unreadable_fields or ())
        return named or ("next" in self.links and bool(self.items)) or self._up_to_here() < (self.total or 0)

    def _up_to_here(self) -> int:
        """How many attachments this page and those before it hold."""
        rows = len(self.items) + len(self.lost_rows)
        return max((self.page or 1) - 1, 0) * (self.per_page or rows) + rows

    @property
    def is_last(self) -> bool:
        """Whether it is the last page, with every row of it read."""
        return self.following is None and not self.lost_next and not self.lost_rows

    @property
    def following(self) -> str | None:
        """Query string of the next page; None on the last one, or if the link cannot be read.

        Only the query of the link is taken: its host and path are not this API's (talkdesk-attachments, section 6).
        """
        link = self.links.get("next")
        if link is None or not (self.items or self.lost_rows):
            return None
        try:
            return urlsplit(link.href).query or None
        except ValueError:
            return None


LONGEST_QUERY = 2048
"""Characters of a next page's query that are handed out."""
FilterWord = Annotated[str, StringConstraints(min_length=1, max_length=127), TEXT]


class ListAttachments(
    Operation[AttachmentPage],
    http="GET /attachments/2023-03",
    api=Api.ATTACHMENTS,
    effect=Effect.READ,
    scope="attachments:read",
    envelope=False,
):
    """Page through the account's attachments, newest first. Filters combine with AND."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=512), TEXT] | None = None
    types: Annotated[list[FilterWord], Field(max_length=50)] | None = None
    metadata: FilterWord | None = None
    """A flat JSON object; each of its keys must be there with an equal value."""
    state: FilterWord | None = None
    page: Annotated[int, Field(ge=1, le=2**62)] | None = None
    """From 1."""
    per_page: Annotated[int, Field(ge=1, le=250)] | None = None
    """50 unless given."""


class ListFollowingAttachments(
    Operation[AttachmentPage],
    http="GET /attachments/2023-03",
    api=Api.ATTACHMENTS,
    effect=Effect.READ,
    scope="attachments:read",
    envelope=False,
):
    """The page of an `AttachmentPage.following`. Not in the catalogue: the contract has one list."""

    query: Annotated[str, StringConstraints(min_length=1)]

    def payload(self) -> JsonObject:
        return dict(parse_qs(self.query, keep_blank_values=True))


class DownloadLink(Result):
    """Where the bytes are for `expire_time` seconds from now. `url` is a bearer capability, like an upload's."""

    url: str
    expire_time: Annotated[int, Field(ge=1)] = 600


class GetAttachmentDownloadLink(
    Operation[DownloadLink],
    http="GET /attachments/2023-03/{attachment_id}/download-link",
    api=Api.ATTACHMENTS,
    effect=Effect.READ,
    scope="attachments:download",
    envelope=False,
):
    """Mint a URL that serves the bytes for ten minutes."""

    attachment_id: AttachmentId


class DeleteAttachment(
    Operation[None],
    http="DELETE /attachments/2023-03/{attachment_id}",
    api=Api.ATTACHMENTS,
    effect=Effect.REMOVE,
    success=(204,),
    scope="attachments:delete",
    envelope=False,
    also_changes=("issue",),  # issues that have it as evidence
):
    """Remove an uploaded file for good: get rid of the attachment, erase its bytes. Its name becomes free again."""

    attachment_id: AttachmentId = Field(description="The attachment.")

    def trace(self) -> Trace[None]:
        return Unreadable(GetAttachment(attachment_id=self.attachment_id))
