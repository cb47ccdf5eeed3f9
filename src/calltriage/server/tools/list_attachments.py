"""Listing attachments: exact filters of the API, and names as people write them."""

import base64
import binascii
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from calltriage.errors import Rejected, TryNext
from calltriage.leaves.gate import compact, fits, gate
from calltriage.leaves.strict_json import JsonObject
from calltriage.matching.folding import folded
from calltriage.operations import attachments as api
from calltriage.operations.attachments import Attachment, AttachmentPage, ListFollowingAttachments
from calltriage.operations.base import Effect, Operation
from calltriage.operations.fields import A_CURSOR, AttachmentName, Form, Metadata
from calltriage.server.answers.results import BUDGET, LOST, REPEATS, ended, row, unread, unreadable, untrusted
from calltriage.server.answers.stored_files import AttachmentRows
from calltriage.server.context import Invocation, Workflow

CURSOR = r"^[A-Za-z0-9_-]+$"
"""What our cursors look like."""
LONGEST_FILTER = 127
"""Characters of a filter by labels (talkdesk-attachments, section 6)."""
PAGES_OF_NAMES = 8
"""Pages of 250 files that are looked through for a name in other forms of its characters."""


class ListAttachmentsTool(Workflow, effect=Effect.READ):
    """List attachments, the files that were uploaded and stored, newest first. Find an attachment or file by name, type or
    labels; filters are exact and combine with AND."""

    result: ClassVar[object] = AttachmentRows

    name: AttachmentName | None = None
    types: Annotated[list[api.FilterWord], Field(max_length=20)] | None = Field(
        default=None, description="Media types, any of them."
    )
    labels: Metadata | None = Field(default=None, description='Metadata that it has, e.g. {"flow_id": "abc"}.')
    limit: Annotated[int, Field(ge=1, le=25)] | None = Field(default=None, description="Page size, default 25.")
    cursor: Annotated[str, StringConstraints(max_length=3000), Form(CURSOR, A_CURSOR)] | None = Field(
        default=None, description="next_cursor of the page before."
    )

    async def run(self, work: Invocation) -> JsonObject:
        labels, rows = _filter_of(self.labels), self.limit or 25
        asked = api.ListAttachments(name=self.name, types=self.types, metadata=labels, per_page=rows)
        operation: Operation[AttachmentPage] = asked
        if self.cursor is not None:
            operation = ListFollowingAttachments(query=_query_of(self.cursor))
        page = await work.server.client.send(operation)
        if self.name is not None and self.cursor is None and not page.items and not page.lost_rows:
            return await self._named_otherwise(work, labels)
        body = self._page(page)
        if work.goes_round(self, self.cursor, (item.id for item in page.items), body.get("next_cursor")):
            body = ended(body, REPEATS)
        if not fits(compact(gate(body)[0]), BUDGET):
            for item in body["items"]:
                item.pop("metadata", None)
            first = TryNext(api.GetAttachment.tool_name(), {"attachment_id": body["items"][0]["id"]})
            body["omitted"] = [{"field": "metadata", "try_next": first}]
        return body

    def _page(self, page: AttachmentPage) -> JsonObject:
        """A page with those of its rows that are wanted."""
        # An API may take a filter for less than exact, and pages may overlap while files come and go.
        items = {item.id: row(item) for item in page.items if self._wants(item)}
        body = untrusted(
            "the uploader",
            items=list(items.values()),
            returned=len(items),
            complete=page.is_last,
            **unread(page.lost_rows),
            **unreadable(page),
        )
        if page.lost_next:
            body["note"] = LOST
        if page.total is not None:
            body["total"] = page.total
        if page.following is not None:
            body["next_cursor"] = base64.urlsafe_b64encode(page.following.encode()).decode().rstrip("=")
        return body

    async def _named_otherwise(self, work: Invocation, labels: str | None) -> JsonObject:
        """The files whose name differs only in the form of its characters (case, accents composed or not), read from the
        list itself: the API's filter is exact."""
        operation: Operation[AttachmentPage] = api.ListAttachments(types=self.types, metadata=labels, per_page=250)
        items, is_whole = dict[str, JsonObject](), False
        for _ in range(PAGES_OF_NAMES):
            page = await work.server.client.send(operation)
            items |= {item.id: row(item) for item in page.items if self._wants(item)}
            is_whole = page.is_last
            if page.following is None:
                break
            operation = ListFollowingAttachments(query=page.following)
        shown = list(items.values())[: self.limit or 25]
        complete = is_whole and len(shown) == len(items)
        return untrusted("the uploader", items=shown, returned=len(shown), complete=complete)

    def _wants(self, item: Attachment) -> bool:
        types = {media_type.lower() for media_type in self.types or ()}
        is_named = self.name is None or folded(self.name) == folded(item.name)
        # A row may come without its labels. Then the API's own filter has to be enough.
        has = item.metadata is None or all(
            item.metadata.get(name) == value for name, value in (self.labels or {}).items()
        )
        return is_named and has and (not types or (item.type or "").lower() in types)


def _filter_of(labels: JsonObject | None) -> str | None:
    """Labels as the API filters by them: one JSON object in a text. Raises Rejected if that is too long."""
    if labels is None:
        return None
    text = compact(labels)
    if len(text) > LONGEST_FILTER:
        raise Rejected(
            f"The API filters by at most {LONGEST_FILTER} characters of labels. Pass fewer or shorter ones.",
            field="labels",
        )
    return text


def _query_of(cursor: str) -> str:
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        raise Rejected(f"cursor: {A_CURSOR}. Nothing was done.", field="cursor") from None
