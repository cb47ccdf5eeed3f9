"""Tools that run several operations for one purpose. Each is a class like an operation: fields are the arguments, the
docstring is what the model reads, `run` does the work."""

from __future__ import annotations

import base64
import binascii
import difflib
import hashlib
import mimetypes
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field, StringConstraints, TypeAdapter, ValidationError

from calltriage.errors import CallError, Conflict, Rejected, TryNext, UnreadableAnswer
from calltriage.operations import flags
from calltriage.operations.attachments import (
    Attachment,
    RequestUploadLink,
)
from calltriage.operations.attachments import (
    CreateAttachment as CreateAttachmentRecord,
)
from calltriage.operations.base import Effect
from calltriage.operations.calls import GetCall, Turn
from calltriage.operations.fields import (
    TEXT,
    AttachmentName,
    CallId,
    FlagType,
    IssueRef,
    MessageText,
    NodeName,
    Note,
    TurnIndex,
)
from calltriage.operations.issues import GetIssue
from calltriage.operations.resources import AttachResource
from calltriage.server.evidence import GetTranscript
from calltriage.server.results import shown, untrusted
from calltriage.server.text import gate
from calltriage.server.work import ISSUE, Work, Workflow, folded, holds, numbered, preparing


class AddFlag(Workflow, effect=Effect.ADD):
    """Mark the moment of an attached call where something went wrong.

    Say where with quote (words of one turn; the server finds it and stores the turn's own text) or message_index. If the
    quote matches no turn or several, nothing is written and the nearest turns come back. The call must be attached
    first (attach_resource), or pass attach_if_missing. A repeat adds a second flag.
    """

    result: ClassVar[Any] = flags.Flag

    issue_id: IssueRef = Field(description=ISSUE)
    call_id: CallId
    type: FlagType = Field(description="What went wrong, e.g. missed_handoff; prefer one from list_flag_types.")
    note: Note | None = Field(default=None, description="Why it matters.")
    quote: MessageText | None = Field(default=None, min_length=3, description="Words said in the flagged turn.")
    message_index: TurnIndex | None = Field(default=None, description="Turn in the transcript, from 0.")
    node_id: NodeName | None = Field(default=None, description="Pathway node.")
    node_name: NodeName | None = None
    attach_if_missing: bool = Field(default=False, description="Attach the call first if it is not.")

    async def run(self, work: Work) -> dict[str, Any]:
        if self.quote is not None and self.message_index is not None:
            raise Rejected("Pass quote or message_index, not both.", field="quote", outcome="not_committed")
        issue_id = await work.issue_id(self.issue_id)
        index, text = await self._moment(work)
        operation = flags.AddFlag(
            issue_id=issue_id,
            call_id=self.call_id,
            type=self.type,
            note=self.note,
            node_id=self.node_id,
            node_name=self.node_name,
            message_index=index,
            message_text=text,
        )
        attach = AttachResource(issue_id=issue_id, resource_type="call", resource_id=self.call_id)
        try:
            receipt = await work.client.deliver(operation)
        except Conflict as error:
            if error.code != "call_not_attached":
                raise
            if not self.attach_if_missing:
                error.try_next = TryNext(tool=AttachResource.tool_name(), arguments=attach.model_dump(mode="json"))
                raise
            with preparing("call_id"):
                await work.client.send(attach)
            receipt = await work.client.deliver(operation)
        return {**shown(receipt.result), "outcome": receipt.outcome}

    async def _moment(self, work: Work) -> tuple[int | None, str | None]:
        """Index and verbatim text of the turn meant, or two Nones when the flag is for the whole call."""
        if self.quote is None and self.message_index is None:
            return None, None
        turns = (await work.client.send(GetCall(call_id=self.call_id))).transcripts or []
        if self.message_index is not None:
            if self.message_index >= len(turns):
                raise Rejected(
                    f"The transcript has {len(turns)} turns, counted from 0.",
                    field="message_index",
                    outcome="not_committed",
                    try_next=TryNext(tool=GetTranscript.tool_name(), arguments={"call_id": self.call_id}),
                )
            return self.message_index, _verbatim(turns[self.message_index])
        hits = [n for n, turn in enumerate(turns) if holds(turn, self.quote or "")]
        if len(hits) == 1:
            return hits[0], _verbatim(turns[hits[0]])
        raise _no_single_turn(turns, hits, folded(self.quote or ""))


def _verbatim(turn: Turn) -> str | None:
    """A turn's words as a flag can store them: whole up to the contract's limit, control characters shown."""
    return gate(turn.text)[0][:10_000] or None


def _no_single_turn(turns: list[Turn], hits: list[int], wanted: str) -> Rejected:
    words = set(wanted.split())
    sharing = sorted(
        range(len(turns)), key=lambda n: len(words & set(folded(turns[n].text[:2000]).split())), reverse=True
    )

    def nearness(n: int) -> float:  # slow, so only for the few turns that share most words
        return difflib.SequenceMatcher(None, wanted[:200], folded(turns[n].text[:200]), autojunk=False).ratio()

    nearest = hits[:5] or sorted(sorted(sharing[:20], key=nearness, reverse=True)[:3])
    found = [{**numbered(n, turns[n]), "text": turns[n].text[:300]} for n in nearest]
    return Rejected(
        f"The quote matches {len(hits)} turns. Pass the message_index of the one you mean."
        if hits
        else "The quote matches no turn. Pass the message_index of the turn you mean, or words that were said.",
        code="quote_ambiguous" if hits else "quote_not_found",
        field="quote",
        outcome="not_committed",
        details={"candidates": untrusted("call parties", turns=found)},
    )


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
            raise Rejected("Pass exactly one of path, text and base64.", field="path", outcome="not_committed")
        issue_id = None if self.attach_to is None else await work.issue_id(self.attach_to, "attach_to")
        if issue_id is not None:  # an unknown issue is found out before a file is stored for it
            with preparing("attach_to"):
                await work.client.send(GetIssue(issue_id=issue_id))
        async with AsyncExitStack() as stack:
            content = await self._content(work, stack)
            try:
                body = await self._store(work, content)
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
                raise Rejected("Pass a name for the attachment.", field="name", outcome="not_committed")
            name, size, chunks = self.name, len(data), lambda: _one_chunk(data)
        guessed = mimetypes.guess_type(name, strict=False)[0]
        return _Content(
            name, guessed or ("text/plain" if self.text is not None else "application/octet-stream"), size, chunks
        )

    async def _store(self, work: Work, content: _Content) -> dict[str, Any]:
        """The vendor's three steps. The digest is that of the bytes that went out last, should the upload be repeated."""
        digest = hashlib.sha256()

        async def hashed() -> AsyncIterator[bytes]:
            nonlocal digest
            digest, sent = hashlib.sha256(), 0
            async for chunk in content.chunks():
                digest.update(chunk)
                yield chunk
                sent += len(chunk)
                await work.progress(sent, content.size, "uploading")

        record = CreateAttachmentRecord.model_validate({"name": content.name, "request_id": "-"})
        with preparing():
            link = await work.client.send(RequestUploadLink())
            await work.client.upload(link, hashed, size=content.size, media_type=content.media_type)
        receipt = await work.client.deliver(record.model_copy(update={"request_id": link.request_id}))
        facts: dict[str, Any] = {"size": content.size, "sha256": digest.hexdigest(), "outcome": receipt.outcome}
        if receipt.result.size not in {None, content.size}:
            facts["note"] = (
                f"The API says that it stored {receipt.result.size} bytes. Check the file before relying on it."
            )
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


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Rejected("base64 does not decode.", field="base64", outcome="not_committed") from None
