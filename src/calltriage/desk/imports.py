"""Bringing own calls to the desk: one JSON object a line, all lines or none."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, NoReturn, NotRequired, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from sqlalchemy import Connection, insert, select, update
from typing_extensions import TypedDict

from calltriage.desk.store import Store
from calltriage.desk.tables import calls, settings, written
from calltriage.errors import ImportFileError
from calltriage.operations.fields import OpaqueId

SPEAKERS = {"agent": "assistant", "assistant": "assistant", "caller": "user", "customer": "user", "user": "user"}
"""Speakers of import files, in the words of the calls API; any other is kept as it is."""


class TurnLine(BaseModel):
    """One turn of a call: who said what, and anything else, which is kept."""

    model_config = ConfigDict(extra="allow")

    speaker: str = Field(min_length=1, max_length=64)
    text: str = Field(max_length=100_000)


def _is_text(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError("must be text in ISO 8601")
    return value


class EventLine(TypedDict):
    """One event of the call's way through a pathway."""

    sequence: int
    event_type: str
    node_id: str | None
    operation_id: int | None
    payload: dict[str, Any] | None
    created_at: str


class CorrectedLine(TypedDict):
    """One line of the transcript redone from the recording; seconds from its start."""

    start: float
    end: float
    text: str
    speaker: NotRequired[int]
    speaker_label: NotRequired[str]
    confidence: NotRequired[float]


class CallLine(BaseModel):
    """One line of an import file. Whatever is not named here is kept as the call's metadata."""

    model_config = ConfigDict(extra="allow")

    call_id: OpaqueId
    created_at: Annotated[datetime, BeforeValidator(_is_text)]
    turns: list[TurnLine] = Field(max_length=100_000)
    pathway_events: list[EventLine] = Field(default=[], max_length=100_000)
    corrected: list[CorrectedLine] | None = Field(default=None, max_length=100_000)


@dataclass(frozen=True)
class Imported:
    """What became of the lines: calls added, changed, there already, and lines skipped as bad."""

    added: int
    changed: int
    unchanged: int
    skipped: tuple[str, ...]


def read_calls(lines: Iterable[str], *, skip_bad: bool) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """The calls of an import file as the API will answer them, and a sentence for each line skipped.

    Raises ImportFileError naming the first bad line, unless `skip_bad`.
    """
    found: dict[str, dict[str, Any]] = {}
    skipped: list[str] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = _record(json.loads(line, parse_constant=_refuse, parse_float=_finite))
            if found.setdefault(record["call_id"], record) != record:
                raise ValueError("this call_id stood on an earlier line with other content")
        except (ValueError, RecursionError) as error:
            complaint = f"line {number}: {_complaint(error)}"
            if not skip_bad:
                raise ImportFileError(f"{complaint}. Nothing was loaded; mend it, or pass --skip-bad.") from None
            skipped.append(complaint)
    return list(found.values()), tuple(skipped)


def _record(raw: Any) -> dict[str, Any]:
    """The call in the shape that `get_call` answers (bland-triage, section 6)."""
    if not isinstance(raw, dict):
        raise ValueError("must be a JSON object")
    _refuse_depth(raw)
    line = CallLine.model_validate(_visible(raw))
    rest = dict(line.model_extra or {})
    ended = rest.get("ended_at")
    record: dict[str, Any] = {
        "call_id": line.call_id,
        "created_at": raw["created_at"],
        "summary": rest.pop("summary", None),
        "transcripts": [
            {**(turn.model_extra or {}), "id": n, "user": SPEAKERS.get(turn.speaker, turn.speaker), "text": turn.text}
            for n, turn in enumerate(line.turns)
        ],
        "concatenated_transcript": "\n".join(f"{SPEAKERS.get(t.speaker, t.speaker)}: {t.text}" for t in line.turns),
        "metadata": rest,
        "events": [{**event, "conversation_id": line.call_id} for event in line.pathway_events],
        "corrected": line.corrected,
    }
    if isinstance(ended, str):
        try:
            minutes = (datetime.fromisoformat(ended) - line.created_at).total_seconds() / 60
        except (ValueError, TypeError):
            minutes = -1.0
        if minutes >= 0:
            record["call_length"], record["end_at"] = round(minutes, 3), ended
    if record["summary"] is not None and not isinstance(record["summary"], str):
        raise ValueError("summary: must be text")
    return record


def _instant(text: str) -> datetime:
    """The instant that an ISO 8601 text names; UTC where it names no offset."""
    found = TypeAdapter(datetime).validate_python(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _visible(value: Any) -> Any:
    """Lone surrogates as visible escapes: JSON can carry them, a database and a terminal cannot."""
    text = json.dumps(value, ensure_ascii=False)
    return json.loads(re.sub("[\ud800-\udfff]", lambda found: f"\\\\u{ord(found[0]):04x}", text))


MAX_DEPTH = 64
"""Levels of nesting that a line may have; every reader and writer of it must be able to follow."""


def _refuse_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            member
            for item in level
            if isinstance(item, dict | list)
            for member in (cast("dict[str, Any]", item).values() if isinstance(item, dict) else cast("list[Any]", item))
        ]
    if level:
        raise ValueError("is nested too deeply")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse(text)


def _refuse(_: str) -> NoReturn:
    raise ValueError("holds a number that is not finite")


def _complaint(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg'].lower()}"
    return "not valid JSON" if isinstance(error, json.JSONDecodeError | RecursionError) else str(error)


async def import_calls(
    store: Store, records: list[dict[str, Any]], skipped: tuple[str, ...], progress: Callable[[int], None]
) -> Imported:
    """Load calls into the desk's own organisation in one transaction; `progress` hears how many are through."""
    tally = {"added": 0, "changed": 0, "unchanged": 0}

    def load(connection: Connection) -> None:
        org = connection.execute(select(settings.c.value).where(settings.c.name == "org_id")).scalar_one()
        for count, record in enumerate(records, 1):
            tally[_load_one(connection, org, record)] += 1
            progress(count)

    await store.write(load)
    return Imported(**tally, skipped=skipped)


def _load_one(connection: Connection, org: str, record: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
    record, now = dict(record), written(datetime.now(UTC))
    events, corrected = record.pop("events"), record.pop("corrected")
    here = (calls.c.org_id == org) & (calls.c.id == record["call_id"])
    known = connection.execute(select(calls.c.digest).where(here)).scalar_one_or_none()
    if known == digest:
        return "unchanged"
    values = {
        "summary": record["summary"] or f"Call of {record['created_at']}",
        "created_at": written(_instant(record["created_at"])),
        "updated_at": now,
        "record": record,
        "events": events,
        "corrected": corrected,
        "digest": digest,
    }
    if known is None:
        connection.execute(insert(calls).values(org_id=org, id=record["call_id"], **values))
        return "added"
    connection.execute(update(calls).where(here).values(**values))
    return "changed"
