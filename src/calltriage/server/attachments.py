"""Files as tools: stored whole in one call, whatever steps that takes."""

from __future__ import annotations

import base64
import binascii
import mimetypes
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field, StringConstraints, TypeAdapter, ValidationError

from calltriage.client import attachments as over_api
from calltriage.errors import CallError, Conflict, Rejected, TryNext, UnreadableAnswer
from calltriage.operations.attachments import Attachment
from calltriage.operations.base import Effect
from calltriage.operations.fields import TEXT, AttachmentName, IssueRef
from calltriage.operations.issues import GetIssue
from calltriage.operations.resources import AttachResource
from calltriage.server.hints import same_call
from calltriage.server.results import shown
from calltriage.server.work import ISSUE, Work, Workflow, preparing


class CreateAttachment(Workflow, effect=Effect.ADD):
    """Store a report, a recording or another file as an attachment, and hang it on an issue as evidence with attach_to.

    Pass exactly one of path (a local file below an allowed folder; its bytes never pass through you), text or base64.
    Names are unique in the account. Returns id, size and SHA-256.
    """

    result: ClassVar[Any] = Attachment

    name: AttachmentName | None = Field(default=None, description="Default: the path's last part.")
    path: Annotated[str, StringConstraints(min_length=1, max_length=4096), TEXT] | None = None
    text: Annotated[str, StringConstraints(max_length=60_000), TEXT] | None = Field(default=None, description="UTF-8.")
    base64: Annotated[str, StringConstraints(max_length=60_000)] | None = Field(default=None, description="Small only.")
    attach_to: IssueRef | None = Field(default=None, description=f"Issue: {ISSUE}")

    async def run(self, work: Work) -> dict[str, Any]:
        given = [name for name in ("path", "text", "base64") if getattr(self, name) is not None]
        if len(given) != 1:
            raise Rejected("Pass exactly one of path, text and base64.", field="path")
        if self.attach_to is not None:
            work.allow(AttachResource, "attach_to")
        issue_id = None if self.attach_to is None else await work.issue_id(self.attach_to, "attach_to")
        if issue_id is not None:  # an unknown issue is found out before a file is stored for it
            with preparing("attach_to"):
                await work.client.send(GetIssue(issue_id=issue_id))
        async with AsyncExitStack() as stack:
            content = await self._content(work, stack)
            try:
                body = await self._store(work, content)
            except Conflict as error:
                if error.code == "name_conflict":
                    given = self.model_dump(mode="json", exclude_unset=True)
                    error.try_next = same_call(CreateAttachment, {**given, "name": _another_name(content.name)})
                raise
            except UnreadableAnswer as error:
                if issue_id is None or error.outcome != "committed":
                    raise
                # Stored, but under an id that nobody could read: it cannot be hung on the issue.
                return {"outcome": "committed", "note": str(error), "evidence": {"outcome": "not_committed"}}
        if issue_id is not None:
            body["evidence"] = await self._attach(work, issue_id, body)
        return body

    async def _content(self, work: Work, stack: AsyncExitStack) -> _Content:
        if self.path is not None:
            opened = await stack.enter_async_context(work.files.open(self.path))
            name, size, chunks = self.name or _as_name(opened.name), opened.size, opened.chunks
        else:
            data = (self.text or "").encode() if self.base64 is None else _decoded(self.base64)
            if self.name is None:
                raise Rejected("Pass a name for the attachment.", field="name")
            name, size, chunks = self.name, len(data), lambda: _one_chunk(data)
        guessed = mimetypes.guess_type(name, strict=False)[0]
        return _Content(
            name, guessed or ("text/plain" if self.text is not None else "application/octet-stream"), size, chunks
        )

    async def _store(self, work: Work, content: _Content) -> dict[str, Any]:
        """The vendor's three steps."""
        total = content.size

        async def sent(count: int) -> None:
            await work.progress(count, total, "uploading")

        with preparing():
            uploaded = await over_api.upload(
                work.client, over_api.Content(content.media_type, total, content.chunks), sent
            )
        receipt = await over_api.create(work.client, content.name, uploaded)
        facts: dict[str, Any] = {"size": total, "sha256": uploaded.sha256, "outcome": receipt.outcome}
        if receipt.result.size not in {None, total}:  # a figure and no advice, as it stands among the API's words
            facts["size_by_api"] = receipt.result.size
        return {**shown(receipt.result), **facts}

    async def _attach(self, work: Work, issue_id: str, body: dict[str, Any]) -> dict[str, Any]:
        """Hang the file on the issue. The file is stored whatever comes of this, so a failure is told, not raised."""
        try:
            operation = AttachResource(issue_id=issue_id, resource_type="file", resource_id=body["id"])
        except ValidationError:
            unsent = Rejected("The vendor's id of the file has a form that is not sent.", code="strange_id")
            return {"outcome": "not_committed", "error": unsent.body()}
        try:
            receipt = await work.client.deliver(operation)
        except CallError as error:
            error.try_next = TryNext(tool=AttachResource.tool_name(), arguments=operation.model_dump(mode="json"))
            return {"outcome": error.outcome or "not_committed", "error": error.body()}
        return {"issue_id": issue_id, "resource_link_id": receipt.result.id, "outcome": receipt.outcome}


@dataclass(frozen=True)
class _Content:
    """What is to be uploaded; `chunks` starts over each time it is called."""

    name: str
    media_type: str
    size: int
    chunks: Callable[[], AsyncIterator[bytes]]


async def _one_chunk(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _as_name(file_name: str) -> str:
    """A file's own name as the attachment's, where it can be one."""
    try:
        return TypeAdapter(AttachmentName).validate_python(file_name)
    except ValidationError:
        raise Rejected(
            "The file's name cannot be an attachment's: 1 to 64 characters, none of them a control character. Pass name.",
            field="name",
        ) from None


def _another_name(name: str) -> str:
    """The next name in a row: report.md, report-2.md, report-3.md."""
    stem, dot, suffix = name.rpartition(".") if "." in name.lstrip(".") else (name, "", "")
    numbered = re.fullmatch(r"(.*)-([1-9][0-9]{0,5})", stem)
    stem, number = (numbered[1], int(numbered[2]) + 1) if numbered else (stem, 2)
    end = f"-{number}{dot}{suffix}"
    return f"{stem[: 64 - len(end)]}{end}"


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Rejected("base64 does not decode.", field="base64") from None
