"""What one good line brings to the desk: checked as a whole, in the shapes that the desk answers."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import mimetypes
import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import TypeAdapter, ValidationError

from calltriage.desk.http.signed_urls import MAX_OBJECT
from calltriage.desk.importing.our_lines import (
    CallFacts,
    CallLine,
    ConversationLine,
    FileLine,
    TurnLine,
    call_facts,
    instants,
)
from calltriage.leaves.instants import written
from calltriage.leaves.strict_json import JsonObject, is_object, refuse_depth
from calltriage.leaves.surrogates import LONE
from calltriage.operations.attachments import RECORDING_OF
from calltriage.operations.conversations import READ_ONLY
from calltriage.operations.fields import MAX_BODY, AttachmentName, Metadata

SPEAKERS = {"agent": "assistant", "assistant": "assistant", "caller": "user", "customer": "user", "user": "user"}
"""Speakers of import files, in the words of the calls API. Others keep their names, and so do two speakers of one call
that would get the same word."""
SENDERS = {"assistant": "AGENT", "user": "USER"}
"""The same two in the words of the conversations API, which has only these."""
MAX_MINUTES = 10**6
"""Longest call: the most that a list can be filtered by."""
MAX_ROW = 64 * 1024
"""Most bytes of one row of a list, so that a page of 100 stays below MAX_BODY."""
_names: TypeAdapter[str] = TypeAdapter(AttachmentName)
_metadata: TypeAdapter[JsonObject] = TypeAdapter(Metadata)

Kind: TypeAlias = Literal["call", "sms_conversation", "file"]


@dataclass(frozen=True)
class Entry:
    """What one good line brings. `values`: the columns of its table. `content`: a file's bytes, or where they are.

    `place`: where the line is. `digest`: an entry with the same one brings nothing new. `named_by`: the file whose name is
    the id of a call that has none of its own.
    """

    kind: Kind
    id: str
    place: str
    digest: str
    values: JsonObject
    content: bytes | Path | None = None
    named_by: str | None = None


@dataclass(frozen=True)
class Reading:
    """How lines are read. `zone`: of times without one. `folder`: where files lie. `limit`: most bytes of a file."""

    zone: tzinfo = UTC
    folder: Path | None = None
    limit: int = MAX_OBJECT


def entry_of(raw: object, place: str, how: Reading, assumed: frozenset[str] = frozenset()) -> Entry:
    """The entry of a line. `assumed`: fields that the source did not give. Another value of these alone makes no new entry.

    Raises ValueError or RecursionError for a line that cannot be loaded.
    """
    if not is_object(raw):
        raise ValueError("must be a JSON object")
    refuse_depth(raw)
    members: JsonObject = _visible(raw)
    match members.get("kind", "call"):
        case "call":
            return _call(members, place, how, assumed)
        case "sms_conversation":
            zone = _zone_said(members.get("created_at")) or how.zone
            return _conversation(ConversationLine.model_validate(members, context=zone), place)
        case "file":
            return _file(FileLine.model_validate(members), place, how)
        case _:
            raise ValueError("kind: must be call, sms_conversation or file")


def _call(members: JsonObject, place: str, how: Reading, assumed: frozenset[str]) -> Entry:
    """A call in the shape that `get_call` and its neighbours answer (bland-triage, section 6)."""
    zone = _zone_said(members.get("created_at")) or how.zone
    line = CallLine.model_validate(members, context=zone)
    rest = line.model_extra or {}
    call_facts.validate_python({name: rest[name] for name in CallFacts.__annotations__ if name in rest}, strict=True)
    names = _speakers({turn.speaker for turn in line.turns})
    turns: list[JsonObject] = [
        {**(turn.model_extra or {}), "id": n, "user": names[turn.speaker], "text": turn.text}
        for n, turn in enumerate(_in_order(line.turns))
    ]
    record: JsonObject = {
        "call_id": line.call_id,
        "created_at": _as_given(members["created_at"], line.created_at),
        "summary": line.summary,
        "transcripts": turns,
        "concatenated_transcript": "\n".join(
            turn["text"] if turn["user"] is None else f"{turn['user']}: {turn['text']}" for turn in turns
        ),
        "metadata": rest,
        **_length(line.created_at, rest, zone),
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
    told = values
    if "created_at" in assumed:
        told = {**values, "created_at": None, "summary": line.summary, "record": {**record, "created_at": None}}
    return Entry("call", line.call_id, place, _digest(told), values)


def _in_order(turns: list[TurnLine]) -> list[TurnLine]:
    """The turns by their starts, as sources of several channels give one channel after the other. They stay as they are
    if one has no start."""
    starts = list[int | float]()
    for turn in turns:
        start = (turn.model_extra or {}).get("start_ms")
        if not isinstance(start, int | float) or isinstance(start, bool):
            return turns
        starts.append(start)
    return [turns[n] for n in sorted(range(len(turns)), key=lambda n: starts[n])]


def _speakers(speakers: set[str | int | float | None]) -> dict[str | int | float | None, str | None]:
    """The names of a call's speakers: the words of the calls API, but no two alike. Numbers become text."""
    plain = {
        one: str(int(one) if isinstance(one, float) and one.is_integer() else one)
        for one in speakers
        if one is not None
    }
    words = {one: name.strip().casefold() for one, name in plain.items()}
    shared = Counter(SPEAKERS[word] for word in set(words.values()) if word in SPEAKERS)
    known = {one: SPEAKERS[word] for one, word in words.items() if shared.get(SPEAKERS.get(word, ""), 0) == 1}
    return {None: None, **plain, **known}


def _zone_said(said: Any) -> tzinfo | None:
    """The zone in the text of a time; None if it names none. Times of the same line without a zone are in it."""
    try:
        return datetime.fromisoformat(said).tzinfo
    except (ValueError, TypeError):
        return None


def _as_given(said: Any, instant: datetime) -> str:
    """An instant as its source wrote it; in UTC if that text has no zone."""
    return said if _zone_said(said) else written(instant)


def _length(began: datetime, rest: JsonObject, zone: tzinfo) -> JsonObject:
    """The length of a call in minutes, and its end: from `ended_at` if that is an instant after the beginning, else the
    length from `call_length`. An end without a zone is in `zone`."""
    said: Any = rest.get("call_length")
    ended: Any = rest.get("ended_at")
    is_length = isinstance(said, int | float) and not isinstance(said, bool) and 0 <= said <= MAX_MINUTES
    given: JsonObject = {"call_length": float(said)} if is_length else {}
    try:
        end = instants.validate_python(ended, context=zone)
    except ValidationError:
        return given
    minutes = (end - began).total_seconds() / 60
    return {"call_length": round(minutes, 3), "end_at": _as_given(ended, end)} if minutes >= 0 else given


def _conversation(line: ConversationLine, place: str) -> Entry:
    """A conversation in the shape that `get_sms_conversation` answers, with the fields that only lists have."""
    facts = line.model_dump(exclude={"kind", "conversation_id", "messages"})
    numbers = {"USER": line.user_number, "AGENT": line.agent_number}
    messages: list[JsonObject] = []
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
    record: JsonObject = {
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
    return Entry("sms_conversation", line.conversation_id, place, _digest(values), values)


def _file(line: FileLine, place: str, how: Reading) -> Entry:
    if (line.path is None) == (line.base64 is None):
        raise ValueError("give either path or base64")
    name = line.name or (line.path and re.split(r"[/\\]", line.path)[-1])
    if not name:
        raise ValueError("name: is needed with base64")
    try:
        _names.validate_python(name)
    except ValidationError:
        raise ValueError("name: must be 1 to 64 characters, none of them a control character") from None
    content = _decoded(line.base64) if line.base64 is not None else _below(how.folder, line.path or "")
    size, sha256 = _measured(content, how.limit)
    values = {
        "name": name,
        "type": line.type or mimetypes.guess_type(name)[0] or "application/octet-stream",
        "metadata": _labels(line),
        "size": size,
        "sha256": sha256,
    }
    file_id = line.file_id or hashlib.sha256(f"file\n{name}".encode()).hexdigest()[:32]
    return Entry("file", file_id, place, _digest({**values, "id": file_id}), values, content)


def _labels(line: FileLine) -> JsonObject | None:
    """The labels of a file, with the one for `recording_of`."""
    if line.recording_of is None:
        return line.metadata
    return _metadata.validate_python({**(line.metadata or {}), RECORDING_OF: line.recording_of})


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("base64: is not base64") from None


def _below(folder: Path | None, path: str) -> Path:
    """The file that a line names, links resolved. Raises ValueError unless it lies below the folder of the import file."""
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
    """Size and SHA-256. Raises ValueError for more than `limit` bytes."""
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
    """The title of links to it: one line of at most 200 characters. The record keeps the whole summary."""
    line = " ".join((summary or "").split())
    return line if len(line) <= 200 else f"{line[:199]}…"


def _digest(values: JsonObject) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _refuse_size(limit: int, *answers: object) -> None:
    """Raise ValueError for an answer of more than `limit` bytes: it could be stored, but no client could read it."""
    for answer in answers:
        if len(json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode()) > limit - 1024:
            most = f"{limit // 2**20} MiB" if limit >= 2**20 else f"{limit // 1024} KiB"
            raise ValueError(f"is too large to be read back: an answer of the desk holds at most {most}")


def _visible(value: object) -> Any:
    """Lone surrogates and NUL as visible escapes: JSON can carry them, a database and a terminal cannot."""
    try:
        plain = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise ValueError("holds a number that is not finite") from None
    text = LONE.sub(lambda found: f"\\\\u{ord(found[0]):04x}", plain)  # escaped twice: it is JSON
    return json.loads(re.sub(r"\\(\\|u0000)", lambda found: found[0] if found[1] == "\\" else r"\\u0000", text))


def complaint(error: Exception) -> str:
    """What is wrong with a line, without words of the line."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        message = first["msg"].removeprefix("Value error, ")
        path = ".".join(str(part) for part in first["loc"] if isinstance(part, int) or str(part).isidentifier())
        if first["type"] == "extra_forbidden":
            return "holds a field that a line of this kind does not have"
        return f"{path[:200]}: {message[:1].lower()}{message[1:]}"
    return "not valid JSON" if isinstance(error, json.JSONDecodeError | RecursionError) else str(error)
