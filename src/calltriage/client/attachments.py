"""Whole files through the attachments API: upload in the vendor's steps, create exactly once, download to the last byte.

What the operations cannot say by themselves: the order of the steps, what a lost answer means, where a download goes on.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from pydantic import ValidationError

from calltriage.client.client import Client, Receipt
from calltriage.client.limits import deadline_in, within
from calltriage.client.signed_links import SLOWEST, Fetch
from calltriage.errors import (
    CallError,
    Conflict,
    Forbidden,
    RateLimited,
    Rejected,
    ServerFailure,
    Unreachable,
    UnreadableAnswer,
)
from calltriage.operations.attachments import (
    Attachment,
    AttachmentPage,
    CreateAttachment,
    DownloadLink,
    GetAttachmentDownloadLink,
    ListAttachments,
    ListFollowingAttachments,
    RequestUploadLink,
)
from calltriage.operations.base import Operation
from calltriage.operations.fields import MAX_LABELS

T = TypeVar("T")

REFERENCE, HASH = "client_ref", "sha256"
"""Labels that a created attachment carries: whose call made it, and what its bytes are."""
PAGES_SEARCHED = 20
"""Pages of 250 that are looked through for a name, where the API does not narrow by it."""
RESUMES = 5
"""Most times that one download is continued after a break."""


@dataclass(frozen=True)
class Content:
    """`size` bytes to store. Each call of `chunks` starts at the first byte."""

    media_type: str
    size: int
    chunks: Callable[[], AsyncIterator[bytes]]


@dataclass(frozen=True)
class Uploaded:
    """Bytes that wait at the API for their attachment; `sha256` in hex where it is known."""

    request_id: str
    media_type: str | None = None
    size: int | None = None
    sha256: str | None = None


async def _unheard(_: int) -> None:
    """Ignores progress."""


async def upload(client: Client, content: Content, on_sent: Callable[[int], Awaitable[None]] = _unheard) -> Uploaded:
    """Reserve and send the bytes (steps 1 and 2 of section 4). A link that ended meanwhile is replaced once.

    `on_sent` hears how many bytes have gone. Raises a CallError; there is no attachment then.
    """
    digest = hashlib.sha256()

    async def hashed() -> AsyncGenerator[bytes]:
        nonlocal digest
        digest, sent = hashlib.sha256(), 0
        async for chunk in content.chunks():
            await anyio.to_thread.run_sync(digest.update, chunk)
            yield chunk
            sent += len(chunk)
            await on_sent(sent)

    for last in (False, True):
        link = await client.send(RequestUploadLink())
        try:
            await client.links.put(link.url, hashed, size=content.size, media_type=content.media_type)
            break
        except Forbidden:
            if last:
                raise
    return Uploaded(link.request_id, content.media_type, content.size, digest.hexdigest())


async def create(
    client: Client, name: str, uploaded: Uploaded, labels: Mapping[str, Any] | None = None, *, limit: int = 2**63
) -> Receipt[Attachment]:
    """Make the attachment of uploaded bytes (step 3), once. An answer that got lost is looked up before anything is sent
    again (section 11).

    The outcome is `replayed` when the name is taken by a file with the same bytes. They are read to know that, up to
    `limit` of them: anybody may have written a label.

    Raises:
        Rejected: with the call's own two there are more labels than an attachment may have.
        Conflict: the name is taken by another file. `details` has its id, where it can be found; the upload stays usable. A
            `retryable` one says that the other file could not be read for the moment, so that it may be equal.
        CallError: with what became of it; `unknown` when even looking did not tell.
    """
    known = {HASH: uploaded.sha256} if uploaded.sha256 else {}
    marked = {REFERENCE: secrets.token_hex(16), **known, **(labels or {})}
    if len(marked) > MAX_LABELS:
        room = MAX_LABELS - len({REFERENCE, *known} - set(labels or {}))
        raise Rejected(
            f"At most {room} labels: {' and '.join([REFERENCE, *known])} are added. Give fewer.",
            field="metadata",
            outcome="not_committed",
        )
    mark = None if REFERENCE in (labels or {}) else marked[REFERENCE]
    call = CreateAttachment(name=name, request_id=uploaded.request_id, metadata=marked)
    with within(client.deadline_s):
        made = await _created(client, call, uploaded, mark)
    if isinstance(made, Receipt):
        return made
    for twin in made.twins:  # without the deadline: reading may take long
        made.conflict.details |= {"attachment_id": twin.id[:64]}
        try:
            if await _is_equal(client, twin, uploaded, limit):
                return Receipt(twin, "replayed")
        except CallError as unread:
            raise _not_compared(made.conflict, unread) from unread
    raise made.conflict


UNKEPT = (
    "An equal file of the name was there already and has not these labels: no request changes those of a stored file."
)


def unkept(receipt: Receipt[Attachment], labels: Mapping[str, Any] | None) -> list[str]:
    """Names of the labels that were given and that the file of a replayed write does not show."""
    kept = receipt.result.metadata or {}
    given = labels.items() if labels and receipt.outcome == "replayed" else ()
    return [name for name, value in given if name not in kept or kept[name] != value]


@dataclass(frozen=True)
class _Taken:
    """A name that others have: what the API said, and the attachments of that name."""

    conflict: Conflict
    twins: list[Attachment]


async def _created(
    client: Client, call: CreateAttachment, uploaded: Uploaded, mark: str | None
) -> Receipt[Attachment] | _Taken:
    for first in (True, False):
        try:
            return await client.deliver(call)
        except Conflict as taken:
            twins = await _named(client, call.name, taken)
            ours = next((twin for twin in twins if _is_ours(twin, mark, uploaded, lost=not first)), None)
            return _Taken(taken, twins) if ours is None else Receipt(ours, "committed")
        except CallError as lost:
            if not first and lost.field == "request_id":  # the try with the lost answer may have used it up
                lost.outcome = "unknown"
            if lost.outcome not in {"unknown", "committed"}:
                raise
            lost.details |= {"request_id_of_upload": uploaded.request_id}
            twins = await _named(client, call.name, lost)
            ours = next((twin for twin in twins if _is_ours(twin, mark, uploaded, lost=True)), None)
            if ours is not None:
                return Receipt(ours, "committed")
            if lost.outcome == "committed" or not first:
                raise
    raise AssertionError("unreachable")


async def _named(client: Client, name: str, failed: CallError) -> list[Attachment]:
    """All attachments of this very name. What `failed` says stands when they cannot be listed, or when none is found in a
    list that was not read to its end."""
    found, is_whole = dict[str, Attachment](), True
    operation: Operation[AttachmentPage] = ListAttachments(name=name, per_page=250)
    try:
        for _ in range(PAGES_SEARCHED):
            page = await client.send(operation)
            found |= {item.id: item for item in page.items if item.name == name}
            is_whole = is_whole and not page.lost_rows
            if page.following is None:
                is_whole = is_whole and page.is_last
                break
            operation = ListFollowingAttachments(query=page.following)
        else:
            is_whole = False
    except CallError as error:
        raise failed from error
    if not found and not is_whole:
        raise failed
    return list(found.values())


def _is_ours(twin: Attachment, mark: str | None, uploaded: Uploaded, *, lost: bool) -> bool:
    """Whether this call made it: it carries the mark that was drawn for this call (None where the caller set one, which
    others may carry). From an API that keeps no marks, size and type tell, but only after an answer was `lost`."""
    theirs = (twin.metadata or {}).get(REFERENCE)
    if theirs is not None or (twin.metadata or {}).get(HASH) is not None:
        return mark is not None and theirs == mark
    return lost and uploaded.size is not None and (twin.size, twin.type) == (uploaded.size, uploaded.media_type)


async def _is_equal(client: Client, twin: Attachment, uploaded: Uploaded, limit: int) -> bool:
    """Whether an attachment has the same bytes, by reading them unless its size or label says already that it has not.

    Raises a CallError when they cannot be read.
    """
    label = (twin.metadata or {}).get(HASH, uploaded.sha256)
    if uploaded.sha256 is None or label != uploaded.sha256 or twin.size not in {None, uploaded.size}:
        return False
    digest = hashlib.sha256()
    try:
        async with aclosing(download(client, twin.id, limit=limit, size=uploaded.size)) as pieces:
            async for piece in pieces:
                await anyio.to_thread.run_sync(digest.update, piece)
    except ValidationError:  # an id that we would not send
        return False
    return digest.hexdigest() == uploaded.sha256


def _not_compared(taken: Conflict, unread: CallError) -> Conflict:
    """The conflict with a file that could not be read, and so may be an equal one."""
    again = unread.retryable
    what = "Call again with the same name to compare them, or choose another." if again else "Choose another name."
    told = Conflict(
        f"The name is taken by a file that may be equal but cannot be read{' now' if again else ''}. {what}",
        code=taken.code,
        status=taken.status,
        field=taken.field,
        outcome="not_committed",
        details={**taken.details, "compared": False},
    )
    told.retryable, told.retry_after_s = again, unread.retry_after_s
    return told


async def download(client: Client, attachment_id: str, *, limit: int, size: int | None = None) -> AsyncGenerator[bytes]:
    """The bytes of an attachment, from first to last. What breaks off goes on where it was; an ended link is replaced once.

    `size` is how many there are by the attachment's record, if it says so.

    Raises:
        Rejected: there are more than `limit` bytes.
        CallError: they cannot be had, or not whole; what came until then is not the file.
    """
    minting = GetAttachmentDownloadLink(attachment_id=attachment_id)
    link: DownloadLink | None = None
    state = Progress(limit, client.deadline_s, record=size)
    resumes, renewed = 0, False
    while not state.whole:
        link = link or await client.send(minting)
        try:
            async with aclosing(_fetched(client, link, state)) as pieces:
                async for piece in pieces:
                    yield piece
        except Forbidden as error:
            if renewed or error.code != "link_refused":
                raise
            link, renewed = None, True
        except (Unreachable, ServerFailure, RateLimited) as error:
            if state.is_complete():  # the connection broke after the last byte
                state.ended()
                continue
            resumes += 1
            if resumes > RESUMES or not state.may_go_on(error):
                raise
            await state.waiting(client.links.retry.pause(resumes, error))


async def _fetched(client: Client, link: DownloadLink, state: Progress) -> AsyncGenerator[bytes]:
    """The bytes of one answer, from the place where the download stands."""
    async with AsyncExitStack() as stack:
        opening = client.links.get(link.url, start=state.got, etag=state.etag)
        fetch = await state.waiting(stack.enter_async_context(opening))
        async for piece in state.taken(fetch):
            yield piece


@dataclass
class Progress:
    """How far a download is. `field` is the argument that names the file."""

    limit: int
    deadline_s: float
    record: int | None = None
    field: str = "attachment_id"
    got: int = 0
    total: int | None = None
    etag: str | None = None
    whole: bool = False
    waited: float = 0.0

    def time_left(self) -> float:
        """Seconds left for waiting for the API. Work on the bytes does not count."""
        return self.deadline_s + self.got / SLOWEST - self.waited

    async def waiting(self, step: Awaitable[T]) -> T:
        """What the step gives. Raises Unreachable when no time is left for it."""
        began = anyio.current_time()
        with anyio.CancelScope(deadline=deadline_in(self.time_left())):
            try:
                return await step
            finally:
                self.waited += anyio.current_time() - began
        raise Unreachable("The download took too long. Call again later.")

    async def taken(self, fetch: Fetch) -> AsyncGenerator[bytes]:
        """The bytes of an answer, to its end."""
        self.continues(fetch.status, fetch.headers)
        while (piece := await self.waiting(anext(fetch.pieces, None))) is not None:
            self.got += len(piece)
            if self.got > self.limit:
                raise self._too_large()
            yield piece
        self.ended()

    def continues(self, status: int, headers: Mapping[str, str]) -> None:
        """Take in the head of an answer. Raises when it does not go on from where the last one broke off."""
        length = headers.get("content-length", "")
        rest = int(length) if length.isascii() and length.isdigit() and len(length) < 16 else None
        begins = headers.get("content-range", f"bytes {self.got}-").startswith(f"bytes {self.got}-")
        goes_on = status == 206 and begins and headers.get("etag", self.etag) == self.etag
        if not goes_on if self.got else status == 206:
            raise UnreadableAnswer("The file is not the one that the download began with. Download it again.")
        if not self.got:
            self.etag = headers.get("etag")
            self.total = rest
        if self.total is not None and self.total > self.limit:
            raise self._too_large()

    def is_complete(self) -> bool:
        """Whether there are as many bytes as there are to be, as far as that is known."""
        return self.got == (self.record if self.total is None else self.total)

    def may_go_on(self, error: CallError) -> bool:
        """Whether there is time for another try after a failure. A part that came needs an ETag to be gone on from."""
        too_long = (error.retry_after_s or 0) > self.deadline_s or self.time_left() <= 0
        return not too_long and (not self.got or self.etag is not None)

    def ended(self) -> None:
        """Take in the end of an answer. Raises when it is not that of the file."""
        if self.total is not None and self.got != self.total:
            raise Unreachable("The download broke off. Call again.")
        if self.record not in {None, self.got}:
            raise UnreadableAnswer(
                "The bytes are not as many as the attachment's record says. They are not to be trusted."
            )
        self.whole = True

    def _too_large(self) -> Rejected:
        return Rejected(f"The file is larger than {self.limit} bytes.", code="file_too_large", field=self.field)
