"""Storing a file as an attachment, in one call whatever steps that takes, without the model carrying its bytes."""

import base64
import binascii
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, nullcontext
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field, StringConstraints, ValidationError

from calltriage.client import attachments as over_api
from calltriage.client.attachments import Uploaded
from calltriage.client.limits import within
from calltriage.errors import CallError, Conflict, Rejected, TryNext, UnreadableAnswer
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations import attachments as api
from calltriage.operations.base import Effect
from calltriage.operations.fields import MAX_LABELS, TEXT, AttachmentName, Form, IssueRef, Metadata
from calltriage.operations.issues import GetIssue
from calltriage.operations.resource_links import AttachResource
from calltriage.server.answers.advice import same_call
from calltriage.server.answers.results import shown
from calltriage.server.answers.stored_files import FILE_SHOWN, StoredFile
from calltriage.server.context import ISSUE, Invocation, Workflow, preparing
from calltriage.server.files.local import attachment_name
from calltriage.server.files.media_types import HEAD, UNKNOWN, checked_type, family, named

KEPT_SECONDS = 23 * 3600
"""Life of an upload whose name was taken: an hour less than its reservation (talkdesk-attachments, section 4)."""
KEPT = "kept"
"""Kind of the seal on such an upload's handle."""
OURS = frozenset({over_api.REFERENCE, over_api.HASH, api.RECORDING_OF})
"""Labels that say what a file is: a caller who sets them could pass one file off as another."""
SHA256 = re.compile(r"[0-9a-f]{64}")
NEW = "new"
MOST_LABELS = MAX_LABELS - 2
"""Labels that a file can be given: two more are the client's own."""
WORD = r"^[A-Za-z0-9_-]+$"
"""What our handles look like."""


class CreateAttachmentTool(Workflow, effect=Effect.ADD):
    """Save or store a report, a recording or another file as an attachment, and hang it on an issue as evidence with
    attach_to.

    Pass exactly one of path (a local file below an allowed folder; its bytes never pass through you), text, base64, or
    upload. Names are unique in the account: an equal file of the name is replayed, another one is a conflict that keeps
    the upload. Returns id, size and SHA-256.
    """

    result: ClassVar[object] = StoredFile
    local: ClassVar[str | None] = "path"
    bounded: ClassVar[bool] = False  # bytes take the time they take

    name: AttachmentName | None = Field(default=None, description="Default: the path's last part.")
    path: Annotated[str, StringConstraints(min_length=1, max_length=4096), TEXT] | None = None
    text: Annotated[str, StringConstraints(max_length=60_000), TEXT] | None = None
    base64: Annotated[str, StringConstraints(max_length=60_000)] | None = Field(default=None, description="Small only.")
    upload: (
        Annotated[str, StringConstraints(max_length=600), Form(WORD, "must be new, or a handle as it was answered")]
        | None
    ) = Field(default=None, description="'new' answers a URL to PUT a file to over HTTP; then pass its handle.")
    metadata: Annotated[Metadata, Field(max_length=MOST_LABELS)] | None = Field(
        default=None, description='Labels, e.g. {"flow_id": "abc"}.'
    )
    attach_to: IssueRef | None = Field(default=None, description=f"Issue: {ISSUE}")

    async def run(self, work: Invocation) -> JsonObject:
        given = [name for name in ("path", "text", "base64", "upload") if getattr(self, name) is not None]
        if len(given) != 1:
            raise _refused("Pass exactly one of path, text, base64 and upload.", "path")
        if taken := sorted(OURS & (self.metadata or {}).keys()):
            raise _refused(
                f"The labels {', '.join(taken)} are written by calltriage alone. Leave them out.", "metadata"
            )
        if self.attach_to is not None:
            self._check_attachable(work)
        if self.upload == NEW:
            return self._offer(work)
        if self.path is not None and work.files.closed is not None and work.server.handover is not None:
            raise Rejected(
                work.files.closed,
                code="path_not_allowed",
                field="path",
                try_next=self._again(NEW, self._name_of_path()),
            )
        came_along = self.text is not None or self.base64 is not None  # so it is small
        with within(work.server.client.deadline_s) if came_along else nullcontext():
            return await self._stored_and_attached(work)

    async def _stored_and_attached(self, work: Invocation) -> JsonObject:
        issue_id = None if self.attach_to is None else await work.server.issue_id(self.attach_to, "attach_to")
        if issue_id is not None:  # an unknown issue is found out before a file is stored for it
            with preparing("attach_to"):
                await work.server.client.send(GetIssue(issue_id=issue_id))
        try:
            body = await self._stored(work)
        except UnreadableAnswer as error:
            if issue_id is None or error.outcome != "committed":
                raise
            # Stored, but under an id that nobody could read: it cannot be hung on the issue.
            return {"outcome": "committed", "note": str(error), "evidence": {"outcome": "not_committed"}}
        if issue_id is not None:
            body["evidence"] = await self._attach(work, issue_id, body)
        return body

    def _check_attachable(self, work: Invocation) -> None:
        """Raise Rejected where no stored file can be hung on an issue."""
        work.server.allow(AttachResource, "attach_to")
        if not work.server.client.shares_ids:
            given = self.model_dump(mode="json", exclude={"attach_to"}, exclude_unset=True)
            raise Rejected(
                "Files and issues are kept by two services here, and the issues' service knows no id of the files': a file "
                "cannot be evidence. Nothing was stored. Store it without attach_to, and name its id in a comment.",
                code="ids_not_shared",
                field="attach_to",
                try_next=same_call(CreateAttachmentTool, given),
            )

    def _offer(self, work: Invocation) -> JsonObject:
        if work.server.handover is None:
            raise _refused(
                "Uploads go over a server's HTTP side, and this one has none. Pass path, text or base64.", "upload"
            )
        offer = work.server.handover.offer(work.who)
        return {"outcome": "not_committed", "upload": offer, "try_next": self._again(offer["handle"], self.name)}

    def _again(self, upload: str, name: str | None) -> TryNext:
        """The same call with the bytes from an upload."""
        kept = self.model_dump(mode="json", include={"metadata", "attach_to"}, exclude_none=True)
        named = {} if name is None else {"name": name}
        return TryNext(tool=self.tool_name(), arguments={**named, **kept, "upload": upload})

    def _name_of_path(self) -> str | None:
        """The name, or the last part of a path of another machine; None where that can be no attachment's name."""
        last = attachment_name(re.split(r"[\\/]", self.path or "")[-1])
        return self.name or (last if 0 < len(last) <= 64 else None)

    async def _stored(self, work: Invocation) -> JsonObject:
        """Store the file; its bytes are sent unless they wait at the API already. Raises Conflict if the name is taken."""
        kept = None if self.upload is None else _of_kept(work.server.seals.opened(KEPT, self.upload))
        async with AsyncExitStack() as stack:
            if kept is None:
                content = await self._content(work, stack)
                uploaded, name = await self._sent(work, content), content.name
            else:
                content, uploaded = None, kept
                name = self._name_of_kept(kept.media_type or UNKNOWN)
            try:
                made = await over_api.create(work.server.client, name, uploaded, self.metadata, limit=work.files.limit)
            except Conflict as taken:
                raise self._kept(work, name, uploaded, taken) from taken
            except Rejected as refused:
                if not kept or refused.field != "request_id":
                    raise
                raise Rejected(
                    "The API does not have the upload any more, or it was used. Store the file anew.",
                    code="upload_not_found",
                    status=refused.status,
                    field="upload",
                    outcome=refused.outcome,
                    request_id=refused.request_id,
                ) from refused
            facts: JsonObject = {"size": uploaded.size, "sha256": uploaded.sha256, "outcome": made.outcome}
            # A figure alone: advice must not stand among the API's words.
            if made.result.size not in {None, uploaded.size}:
                facts["size_by_api"] = made.result.size
            if labels := over_api.unkept(made, self.metadata):
                facts |= {"labels_not_stored": labels, "note": over_api.UNKEPT}
            grew = {"grew_while_read": True} if content is not None and content.grew() else {}
            return {**shown(made.result, FILE_SHOWN), **facts, **grew}

    def _name_of_kept(self, media_type: str) -> str:
        """The name for bytes that wait at the API already, whose kind was seen when they were sent."""
        name = _sound(attachment_name(self.name or ""))
        said, seen = family(named(name) or UNKNOWN), family(media_type)
        if said not in {seen, "other"} or (said == "other" and seen == "program"):
            raise _refused("The name's ending says another kind of file than was uploaded. Keep the ending.", "name")
        return name

    async def _content(self, work: Invocation, stack: AsyncExitStack) -> "_Content":
        if self.path is not None or self.upload is not None:
            opened = await stack.enter_async_context(self._opened(work))
            name = attachment_name(self.name or opened.name)
            head, size, chunks, grew = await opened.head(HEAD), opened.size, opened.chunks, opened.grew
        else:
            data = (self.text or "").encode() if self.base64 is None else _decoded(self.base64)
            name = attachment_name(self.name or "")
            head, size, chunks, grew = data[:HEAD], len(data), lambda: _pieces(data), _never
        media_type = checked_type(_sound(name), head)
        if self.text is not None and media_type == "application/octet-stream":
            media_type = "text/plain"
        return _Content(name, media_type, size, chunks, grew)

    def _opened(self, work: Invocation) -> Any:
        if self.path is not None:
            return work.files.open(self.path)
        if work.server.handover is None:
            raise _refused("The handle is none of this server's, or its time is over. Begin again.", "upload")
        return work.server.handover.taken(self.upload or "")

    async def _sent(self, work: Invocation, content: "_Content") -> Uploaded:
        """Send the bytes to the API: steps 1 and 2 of storing a file."""
        stored = over_api.Content(content.media_type, content.size, content.chunks)
        with preparing():
            return await over_api.upload(work.server.client, stored, work.meter(content.size, "uploading"))

    def _kept(self, work: Invocation, name: str, uploaded: Uploaded, taken: Conflict) -> Conflict:
        """The conflict of a name that is taken, with a handle under which the upload can be stored by another name."""
        handle = self.upload or ""
        if not work.server.seals.good_for(KEPT, handle):
            facts = (uploaded.request_id, uploaded.media_type, uploaded.size, uploaded.sha256)
            handle = work.server.seals.sealed(KEPT, KEPT_SECONDS, *facts)
        taken.outcome, taken.field = "not_committed", "name"
        taken.details |= {"upload": {"handle": handle, "good_for_s": work.server.seals.good_for(KEPT, handle)}}
        given = self.model_dump(mode="json", include={"metadata", "attach_to"}, exclude_unset=True)
        another = name if taken.retryable else _another_name(name)  # it could not be seen whether the files are equal
        taken.try_next = same_call(CreateAttachmentTool, {**given, "name": another})
        if taken.try_next is not None:
            taken.try_next["arguments"]["upload"] = handle
        return taken

    async def _attach(self, work: Invocation, issue_id: str, body: JsonObject) -> JsonObject:
        """Attach the file to the issue. The file is stored already, so a failure is returned, not raised."""
        try:
            operation = AttachResource(issue_id=issue_id, resource_type="file", resource_id=body["id"])
        except ValidationError:
            unsent = Rejected("The vendor's id of the file has a form that is not sent.", code="strange_id")
            return unsent.as_part()
        try:
            receipt = await work.server.client.deliver(operation)
        except CallError as error:
            if not error.is_refusal:
                error.try_next = TryNext(tool=AttachResource.tool_name(), arguments=operation.model_dump(mode="json"))
            return error.as_part()
        made = {"resource_link_id": receipt.result.id, "created_at": receipt.result.created_at}
        return {**made, "outcome": receipt.outcome}


@dataclass(frozen=True)
class _Content:
    """What is to be uploaded; `chunks` starts over each time it is called."""

    name: str
    media_type: str
    size: int
    chunks: Callable[[], AsyncIterator[bytes]]
    grew: Callable[[], bool]


def _of_kept(values: list[Any] | None) -> Uploaded | None:
    """The upload that a handle holds; None for no values, and for any that this server does not seal."""
    match values:
        case [str(request_id), str(media_type), int(size), str(sha256)] if (
            0 < len(request_id) <= 64 and 0 < len(media_type) <= 255 and size >= 0 and SHA256.fullmatch(sha256)
        ):
            return Uploaded(request_id, media_type, size, sha256)
        case _:
            return None


def _never() -> bool:
    return False


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _another_name(name: str) -> str:
    """The next name in a row: report.md, report-2.md, report-3.md."""
    stem, dot, suffix = name.rpartition(".") if "." in name.lstrip(".") else (name, "", "")
    if len(suffix) > 32:  # no ending
        stem, dot, suffix = name, "", ""
    numbered = re.fullmatch(r"(.*)-([1-9][0-9]{0,5})", stem)
    stem, number = (numbered[1], int(numbered[2]) + 1) if numbered else (stem, 2)
    end = f"-{number}{dot}{suffix}"
    return f"{stem[: 64 - len(end)]}{end}"


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        advice = "Pass padded base64 without a data: prefix, or pass text."
        raise _refused(f"base64 does not decode. {advice}", "base64") from None


def _refused(message: str, field: str) -> Rejected:
    return Rejected(message, field=field)


def _sound(name: str) -> str:
    """An attachment's name. Raises Rejected for none and for one that is too long."""
    if not name:
        raise _refused("Pass a name for the attachment.", "name")
    if len(name) > 64:
        raise _refused("The file's name is longer than an attachment's 64 characters. Pass name.", "name")
    return name
