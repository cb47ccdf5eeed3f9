"""What a line of an import file may say: a call, an SMS conversation or a file. Checked whole before anything is loaded."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
import mimetypes
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal, NoReturn, NotRequired, TypeAlias, cast

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from calltriage.desk.database.tables import written
from calltriage.desk.http.signed_urls import MAX_OBJECT
from calltriage.errors import ImportFileError
from calltriage.operations.conversations import READ_ONLY
from calltriage.operations.fields import (
    MAX_BODY,
    TEXT,
    AttachmentId,
    AttachmentName,
    MediaType,
    Metadata,
    OpaqueId,
    refuse_depth,
)

SPEAKERS = {"agent": "assistant", "assistant": "assistant", "caller": "user", "customer": "user", "user": "user"}
"""Speakers of import files, in the words of the calls API; any other is kept as it is."""
SENDERS = {"assistant": "AGENT", "user": "USER"}
"""The same two in the words of the conversations API, which has no others."""
MAX_LINE = 32 * 2**20
"""Bytes of a line: room for the largest answer with every character escaped."""
MAX_HELD = 256 * 2**20
"""Bytes of all files that one import may bring as base64, since they are kept in memory until they are loaded."""
MAX_MINUTES = 10**6
"""Of a call: what a list can be narrowed by."""
MAX_ROW = 64 * 1024
"""Bytes that a list may have to show of one line, so that a page of 100 stays below MAX_BODY."""

Kind: TypeAlias = Literal["call", "sms_conversation", "file"]


@dataclass(frozen=True)
class Entry:
    """What one good line brings. `values` are the columns of its table; `content` are a file's bytes or where they are.

    `digest` tells whether it brings anything new.
    """

    kind: Kind
    id: str
    line: int
    digest: str
    values: dict[str, Any]
    content: bytes | Path | None = None


def _named_instant(value: Any) -> Any:
    """ISO 8601 alone: a date parser would take a bare number for seconds, and no answer could show that as an instant."""
    if not isinstance(value, str) or not re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value) or len(value) > 40:
        raise ValueError("must be text in ISO 8601")
    return value


def _within_reach(value: datetime) -> datetime:
    """In UTC; a day's distance to both ends of the calendar keeps every later calculation inside it."""
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    if not 1900 <= aware.year <= 9990:
        raise ValueError("must lie between the years 1900 and 9990")
    return aware.astimezone(UTC)


Instant = Annotated[datetime, BeforeValidator(_named_instant), AfterValidator(_within_reach)]


_instants: TypeAdapter[datetime] = TypeAdapter(Instant)


def _shown_instant(value: Any) -> str:
    return written(_instants.validate_python(value))


InstantText = Annotated[str, BeforeValidator(_shown_instant)]
"""An instant that is kept as the API shows instants."""
Short = Annotated[str, Field(max_length=256)]


class TurnLine(BaseModel):
    """One turn of a call: who said what, and anything else, which is kept."""

    model_config = ConfigDict(extra="allow")

    speaker: str = Field(min_length=1, max_length=64)
    text: str = Field(max_length=100_000)


class EventLine(TypedDict):
    """One event of the call's way through a pathway."""

    sequence: int
    event_type: str
    node_id: str | None
    operation_id: int | None
    payload: dict[str, Any] | None
    created_at: InstantText


class CorrectedLine(TypedDict):
    """One line of the transcript redone from the recording; seconds from its start."""

    start: float
    end: float
    text: str
    speaker: NotRequired[int]
    speaker_label: NotRequired[str]
    confidence: NotRequired[float]


CallFacts = TypedDict(
    "CallFacts",
    {
        "from": Short | None, "to": Short | None, "completed": bool | None, "inbound": bool | None,
        "queue_status": Short | None, "error_message": Short | None, "answered_by": Short | None,
        "batch_id": Short | None, "campaign_id": Short | None, "pathway_id": Short | None,
    },
    total=False,
)  # fmt: skip
"""Facts of a call that lists show and filter by; they are kept with the rest of its metadata."""
_call_facts = TypeAdapter(CallFacts)
_names: TypeAdapter[str] = TypeAdapter(AttachmentName)


class CallLine(BaseModel):
    """A call. Whatever is not named here is kept as its metadata."""

    model_config = ConfigDict(extra="allow")

    kind: Literal["call"] = "call"
    call_id: OpaqueId
    created_at: Instant
    turns: list[TurnLine] = Field(max_length=100_000)
    summary: str | None = None
    pathway_events: list[EventLine] = Field(default=[], max_length=100_000)
    corrected: list[CorrectedLine] | None = Field(default=None, max_length=100_000)


class MessageLine(BaseModel):
    """One message of a conversation, and anything else, which is kept."""

    model_config = ConfigDict(extra="allow")

    sender: Literal["agent", "assistant", "caller", "customer", "user"]
    text: str = Field(max_length=10_000)
    created_at: InstantText | None = None


class ConversationLine(BaseModel):
    """An SMS conversation. Whatever is not named here is kept beside the rest."""

    model_config = ConfigDict(extra="allow")

    kind: Literal["sms_conversation"]
    conversation_id: OpaqueId
    created_at: InstantText
    messages: list[MessageLine] = Field(max_length=100_000)
    updated_at: InstantText | None = None
    user_number: Short = ""
    agent_number: Short = ""
    is_active: Annotated[bool, Field(strict=True)] = False
    summary: str | None = None
    variables: dict[str, Any] | None = None
    current_node_id: Short | None = None
    curr_pathway_id: Short | None = None
    curr_pathway_version: Short | None = None
    timed_out_at: InstantText | None = None
    effective_channel: Short | None = "sms"
    disposition_tag: Short | None = None
    disposition_logs: list[dict[str, Any]] = Field(default=[], max_length=10_000)
    pathway_tags: list[dict[str, Any]] | None = None


class FileLine(BaseModel):
    """A file: its bytes as base64, or the path of a file below the folder of the import file."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["file"]
    path: Annotated[str, Field(min_length=1, max_length=4096), TEXT] | None = None
    base64: str | None = None
    name: AttachmentName | None = None
    type: MediaType | None = None
    metadata: Metadata | None = None
    file_id: AttachmentId | None = None


def bounded_lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file, each no longer than what shows that it is too long."""
    while line := file.readline(MAX_LINE + 1):
        yield line
        while len(line) > MAX_LINE and not line.endswith(b"\n"):
            line = file.readline(MAX_LINE + 1)


def read_import(
    lines: Iterable[bytes | str], *, skip_bad: bool, folder: Path | None = None, limit: int = MAX_OBJECT
) -> tuple[list[Entry], tuple[str, ...]]:
    """What the lines of an import file bring, and a sentence for each line skipped.

    Raises ImportFileError naming the first bad line, unless `skip_bad`. Files are looked for below `folder` and have at
    most `limit` bytes.
    """
    found: dict[tuple[str, str], Entry] = {}
    skipped: list[str] = []
    held = 0
    for number, line in enumerate(lines, 1):
        try:
            text = _text(line, is_first=number == 1)
            if not text.strip():
                continue
            entry = _entry(json.loads(text, parse_constant=_refuse, parse_float=_finite), number, folder, limit)
            keys = [(entry.kind, entry.id)]
            if entry.kind == "file":
                keys.append(("name of a file", str(entry.values["name"])))
            if any(found.get(key, entry).digest != entry.digest for key in keys):
                raise ValueError("an earlier line has this id or name with other content")
            held += len(entry.content) if isinstance(entry.content, bytes) else 0
            if held > MAX_HELD:
                raise ImportFileError(
                    f"line {number}: the files given as base64 have more than {MAX_HELD // 2**20} MiB together. Nothing was "
                    "loaded; put them beside the import file and give their paths, or split it."
                )
            for key in keys:
                found.setdefault(key, entry)
        except (ValueError, RecursionError) as error:
            complaint = f"line {number}: {_complaint(error)}"
            if not skip_bad:
                raise ImportFileError(f"{complaint}. Nothing was loaded; mend it, or pass --skip-bad.") from None
            skipped.append(complaint)
    return list({(entry.kind, entry.id): entry for entry in found.values()}.values()), tuple(skipped)


def _text(line: bytes | str, *, is_first: bool) -> str:
    if isinstance(line, bytes):
        if len(line) > MAX_LINE:
            raise ValueError(f"is longer than {MAX_LINE // 2**20} MiB")
        try:
            line = line.decode("utf-8")
        except UnicodeDecodeError:
            raise ValueError("is not UTF-8; save the file in that encoding") from None
    return line.removeprefix("\ufeff") if is_first else line  # some editors begin a file with a byte order mark


def _entry(raw: Any, number: int, folder: Path | None, limit: int) -> Entry:
    if not isinstance(raw, dict):
        raise ValueError("must be a JSON object")
    refuse_depth(raw)
    members = cast("dict[str, Any]", _visible(raw))
    match members.get("kind", "call"):
        case "call":
            return _call(members, number)
        case "sms_conversation":
            return _conversation(ConversationLine.model_validate(members), number)
        case "file":
            return _file(FileLine.model_validate(members), number, folder, limit)
        case _:
            raise ValueError("kind: must be call, sms_conversation or file")


def _call(members: dict[str, Any], number: int) -> Entry:
    """In the shape that `get_call` and its neighbours answer (bland-triage, section 6)."""
    line = CallLine.model_validate(members)
    rest = line.model_extra or {}
    _call_facts.validate_python({name: rest[name] for name in CallFacts.__annotations__ if name in rest}, strict=True)
    turns = [
        {**(turn.model_extra or {}), "id": n, "user": SPEAKERS.get(turn.speaker, turn.speaker), "text": turn.text}
        for n, turn in enumerate(line.turns)
    ]
    record: dict[str, Any] = {
        "call_id": line.call_id,
        "created_at": members["created_at"],
        "summary": line.summary,
        "transcripts": turns,
        "concatenated_transcript": "\n".join(f"{turn['user']}: {turn['text']}" for turn in turns),
        "metadata": rest,
        **_length(line.created_at, rest),
    }
    events = [{**event, "conversation_id": line.call_id} for event in line.pathway_events]
    _refuse_size(MAX_BODY, record, events, {"corrected": line.corrected, "original": turns})
    values = {
        "summary": _title(line.summary) or f"Call of {record['created_at']}",
        "created_at": written(line.created_at),
        "record": record,
        "events": events,
        "corrected": line.corrected,
    }
    return Entry("call", line.call_id, number, _digest(values), values)


def _length(began: datetime, rest: dict[str, Any]) -> dict[str, Any]:
    """The end of a call and its length in minutes: from `ended_at` where that is an instant that makes sense (in UTC unless
    it says otherwise, like `created_at`), else from `call_length`."""
    said: Any = rest.get("call_length")
    ended: Any = rest.get("ended_at")
    is_length = isinstance(said, int | float) and not isinstance(said, bool) and 0 <= said <= MAX_MINUTES
    given: dict[str, Any] = {"call_length": float(said)} if is_length else {}
    try:
        instant = datetime.fromisoformat(ended)
        aware = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
        minutes = (aware - began).total_seconds() / 60
    except (ValueError, TypeError, OverflowError):
        return given
    return {"call_length": round(minutes, 3), "end_at": ended} if minutes >= 0 else given


def _conversation(line: ConversationLine, number: int) -> Entry:
    """In the shape that `get_sms_conversation` answers, with what lists say besides."""
    facts = line.model_dump(exclude={"kind", "conversation_id", "messages"})
    numbers = {"USER": line.user_number, "AGENT": line.agent_number}
    messages: list[dict[str, Any]] = []
    for n, message in enumerate(line.messages, 1):
        more, sender = message.model_extra or {}, SENDERS[SPEAKERS[message.sender]]
        own = {
            "id": more["id"] if isinstance(more.get("id"), int | str) else n,
            "created_at": message.created_at or line.created_at,
            "message": message.text,
            "from": numbers[sender],
            "to": numbers["AGENT" if sender == "USER" else "USER"],
            "sender": sender,
        }
        messages.append({"status": None, "error_code": None, **more, **own})
    last = messages[-1] if messages else None
    record: dict[str, Any] = {
        **facts,
        "id": line.conversation_id,
        "updated_at": line.updated_at or (last or facts)["created_at"],
        "message_count": len(messages),
        "last_message": last and last["message"],
        "last_message_at": last and last["created_at"],
        "messages": messages,
    }
    _refuse_size(MAX_BODY, record)
    _refuse_size(MAX_ROW, {name: value for name, value in record.items() if name not in READ_ONLY})
    values = {
        "summary": _title(line.summary) or f"Conversation of {line.created_at}",
        "created_at": line.created_at,
        "record": record,
    }
    return Entry("sms_conversation", line.conversation_id, number, _digest(values), values)


def _file(line: FileLine, number: int, folder: Path | None, limit: int) -> Entry:
    if (line.path is None) == (line.base64 is None):
        raise ValueError("give either path or base64")
    name = line.name or (line.path and re.split(r"[/\\]", line.path)[-1])
    if not name:
        raise ValueError("name: is needed with base64")
    try:
        _names.validate_python(name)
    except ValidationError:
        raise ValueError("name: must be 1 to 64 characters, none of them a control character") from None
    content = _decoded(line.base64) if line.base64 is not None else _below(folder, line.path or "")
    size, sha256 = _measured(content, limit)
    values = {
        "name": name,
        "type": line.type or mimetypes.guess_type(name)[0] or "application/octet-stream",
        "metadata": line.metadata,
        "size": size,
        "sha256": sha256,
    }
    file_id = line.file_id or hashlib.sha256(f"file\n{name}".encode()).hexdigest()[:32]
    return Entry("file", file_id, number, _digest({**values, "id": file_id}), values, content)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("base64: is not base64") from None


def _below(folder: Path | None, path: str) -> Path:
    """A file that the line may name: below the folder of the import file, links followed to their end."""
    if folder is None:
        raise ValueError("path: is looked for beside the import file, and these lines come from none; give base64")
    try:
        root = folder.resolve(strict=True)
        target = (root / path).resolve()
        if not target.is_relative_to(root):
            raise ValueError("path: must stay below the folder of the import file")
        if not target.is_file():
            raise ValueError("path: names no file below the folder of the import file")
    except (OSError, RuntimeError):
        raise ValueError("path: cannot be followed") from None
    return target


def _measured(content: bytes | Path, limit: int) -> tuple[int, str]:
    """Size and SHA-256 of at most `limit` bytes."""
    try:
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        if size > limit:
            raise ValueError(f"is a file larger than {limit // 2**20} MiB, which CALLTRIAGE_MAX_FILE_MIB allows")
        if isinstance(content, bytes):
            return size, hashlib.sha256(content).hexdigest()
        with content.open("rb") as file:
            return size, hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        raise ValueError("path: the file cannot be read") from None


def _title(summary: str | None) -> str:
    """What a link to it is called: one line of 200 characters at most; the record keeps the whole summary."""
    line = " ".join((summary or "").split())
    return line if len(line) <= 200 else f"{line[:199]}…"


def _digest(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _refuse_size(limit: int, *answers: Any) -> None:
    """Refuse what could be stored but not be read back: its answer would be larger than a client takes."""
    for answer in answers:
        if len(json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode()) > limit - 1024:
            most = f"{limit // 2**20} MiB" if limit >= 2**20 else f"{limit // 1024} KiB"
            raise ValueError(f"is too large to be read back: an answer of the desk holds at most {most}")


def _visible(value: Any) -> Any:
    """Lone surrogates and NUL as visible escapes: JSON can carry them, a database and a terminal cannot."""
    text = re.sub("[\ud800-\udfff]", lambda found: f"\\\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))
    return json.loads(re.sub(r"\\(\\|u0000)", lambda found: found[0] if found[1] == "\\" else r"\\u0000", text))


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse(text)


def _refuse(_: str) -> NoReturn:
    raise ValueError("holds a number that is not finite")


def _complaint(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        message = first["msg"].removeprefix("Value error, ")
        path = ".".join(str(part) for part in first["loc"] if isinstance(part, int) or str(part).isidentifier())
        if first["type"] == "extra_forbidden":
            return "holds a field that a line of this kind does not have"
        return f"{path[:200]}: {message[:1].lower()}{message[1:]}"
    return "not valid JSON" if isinstance(error, json.JSONDecodeError | RecursionError) else str(error)
