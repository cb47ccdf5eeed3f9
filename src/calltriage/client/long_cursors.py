"""Places in an API's lists that are too long to be handed out: a short name goes instead, and the place is kept.

The name is a digest of the place, so that it stays the same, and a kept file that was changed is told. All servers on the
data folder know it.
"""

from __future__ import annotations

import hashlib
import logging
import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar, cast
from urllib.parse import quote

from anyio import to_thread

from calltriage.errors import Rejected, StoreError
from calltriage.operations.attachments import LONGEST_QUERY, AttachmentPage, HalLink, ListFollowingAttachments
from calltriage.operations.base import Operation
from calltriage.operations.fields import LONGEST_CURSOR
from calltriage.operations.results import Page
from calltriage.storage.kept_files import KeptFiles

logger = logging.getLogger(__name__)

FOLDER = "cursors"
"""Name of their folder in the data folder."""
KEPT = timedelta(days=1)
"""How long a place is kept at most (our choice)."""
MOST_BYTES = 64 * 2**20
"""Bytes that all of them may take (our choice)."""
LONGEST_SENT = 60_000
"""Characters of a place as a URL has it: the HTTP library refuses URLs of more than 65,536."""
FIELDS: dict[object, str] = {ListFollowingAttachments: "query"}
"""Fields that hold a place, where it is not `cursor`."""
NAME = re.compile(r"kept-([0-9a-f]{64})")

R = TypeVar("R")


def cursors_in(data_folder: Path) -> LongCursors:
    """The long cursors of the servers on a data folder."""
    return LongCursors(KeptFiles(data_folder / FOLDER, KEPT, MOST_BYTES))


@dataclass(frozen=True)
class LongCursors:
    """Short names for long places. Without files there are none: the place then counts as one that cannot be read, like one
    that no URL can hold."""

    files: KeptFiles | None = None

    async def meant(self, operation: Operation[R]) -> Operation[R]:
        """An operation as the API takes it. Raises Rejected for a name whose place is not kept any more."""
        field = FIELDS.get(type(operation), "cursor")
        given = getattr(operation, field, None)
        named = NAME.fullmatch(given) if isinstance(given, str) else None
        if named is None:
            return operation
        place = await to_thread.run_sync(self._read, named[1])
        if place is None:
            raise Rejected("The cursor has ended; it is kept for a day. Begin without it.", field="cursor")
        return operation.model_copy(update={field: place})

    async def named(self, result: R) -> R:
        """A result whose next place is short enough to be handed out."""
        short: object = result
        if isinstance(result, AttachmentPage) and result.following and len(result.following) > LONGEST_QUERY:
            name = await to_thread.run_sync(self._keep, result.following)
            short = result.model_copy(update={"links": {**result.links, "next": HalLink(href=f"?{name or ''}")}})
        elif isinstance(result, Page):
            short = await self._named(cast("Page[object]", result))
        return cast("R", short)

    async def _named(self, page: Page[object]) -> Page[object]:
        if page.next_cursor is None or len(page.next_cursor) <= LONGEST_CURSOR:
            return page
        name = await to_thread.run_sync(self._keep, page.next_cursor)
        return page.without_cursor() if name is None else page.model_copy(update={"next_cursor": name})

    def _keep(self, place: str) -> str | None:
        """The name of a place that is kept now; None for one that cannot be kept or sent."""
        if self.files is None or len(quote(place)) > LONGEST_SENT:
            return None
        data = place.encode()
        digest = hashlib.sha256(data).hexdigest()
        try:
            self.files.keep(digest, data)
        except (OSError, StoreError) as error:
            logger.warning("a long cursor cannot be kept (%s); its list cannot be read on", type(error).__name__)
            return None
        return f"kept-{digest}"

    def _read(self, digest: str) -> str | None:
        try:
            data = None if self.files is None else self.files.read(digest)
        except OSError:
            return None
        return data.decode() if data is not None and hashlib.sha256(data).hexdigest() == digest else None
