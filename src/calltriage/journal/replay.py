"""Replays the writes of a journal on an empty desk.

It makes the same issues, evidence, flags, relations, comments and files, with their times, under ids and authors of the
new desk. It reports and leaves out what a journal cannot know: writes of others, writes with an unknown outcome, and the
bytes of a file that the source does not have.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from calltriage.client.attachments import Content, upload
from calltriage.client.client import Client
from calltriage.errors import CallError, NotFound
from calltriage.journal.rows import Row
from calltriage.leaves.strict_json import JsonObject, is_array, is_object
from calltriage.operations import CATALOGUE
from calltriage.operations.attachments import CreateAttachment, RequestUploadLink
from calltriage.operations.base import Operation

OPERATIONS = {operation.tool_name(): operation for operation in CATALOGUE}


class Target(Protocol):
    """The desk on which a journal is replayed."""

    client: Client

    def set_clock(self, now: datetime) -> None:
        """Date the next writes with this instant."""
        ...

    async def supply(self, call_id: str, title: str, created_at: str) -> None:
        """Add a call without words, so that evidence can point at it."""
        ...

    async def admit(self, user_id: str) -> None:
        """Make a member with this id, which an issue names as owner or assignee."""
        ...

    async def content(self, attachment_id: str) -> Content | None:
        """The bytes of an attachment of the source; None if the source does not have them."""
        ...


@dataclass
class Replayed:
    """The writes that were carried out, and how many were left out for each reason."""

    done: int = 0
    left_out: Counter[str] = field(default_factory=Counter[str])


async def replay(lines: Iterable[Row], target: Target) -> Replayed:
    """Carry out every write that the journal calls committed, in its order."""
    asked, report, ids = dict[str, Row](), Replayed(), dict[str, str]()
    for row in lines:
        if row.kind == "asked" and row.operation is not None:
            asked[row.write_id] = row
        elif row.kind == "outcome" and (first := asked.pop(row.write_id, None)) is not None:
            if row.outcome == "unknown":
                report.left_out["outcome unknown"] += 1
            if row.outcome == "committed":
                await _again(first, row, target, ids, report)
    report.left_out["outcome unknown"] += len(asked)
    report.left_out = +report.left_out
    return report


async def _again(asked: Row, settled: Row, target: Target, ids: dict[str, str], report: Replayed) -> None:
    kind = OPERATIONS.get(asked.operation or "")
    if kind is None or kind is RequestUploadLink:  # a reservation belongs to the file that follows
        return
    old: JsonObject = json.loads(settled.result or "{}")
    target.set_clock(_made(old, settled, kind))
    operation = kind.model_validate(_mapped(json.loads(asked.arguments or "{}"), ids))
    try:
        for user_id in filter(None, (getattr(operation, name, None) for name in ("owner_id", "assignee_id"))):
            await target.admit(user_id)
        if isinstance(operation, CreateAttachment):
            result = await _store(operation, old, target)
        else:
            result = await _send(operation, old, target)
    except CallError as error:
        report.left_out[f"{asked.operation}: {error.code}"] += 1
        return
    if result is _NO_BYTES:
        report.left_out["file without its bytes"] += 1
        return
    report.done += 1
    if isinstance(old.get("id"), str) and isinstance(getattr(result, "id", None), str):
        ids[old["id"]] = result.id


_NO_BYTES = object()


async def _send(operation: Operation[object], old: JsonObject, target: Target) -> Any:
    try:
        return await target.client.send(operation)
    except NotFound:
        wanted: JsonObject = operation.model_dump()
        named: list[JsonObject] = wanted.get("resource_links") or [wanted]
        missing = [
            one.get("call_id") or one.get("resource_id") for one in named if one.get("resource_type", "call") == "call"
        ]
        for call_id in filter(None, missing):
            details: JsonObject = old.get("metadata") or {}
            await target.supply(call_id, str(old.get("title", "")), str(details.get("created_at", "")))
        return await target.client.send(operation)


async def _store(operation: CreateAttachment, old: JsonObject, target: Target) -> Any:
    content = await target.content(str(old.get("id", "")))
    if content is None:
        return _NO_BYTES
    uploaded = await upload(target.client, content)
    return await target.client.send(operation.model_copy(update={"request_id": uploaded.request_id}))


def _made(old: JsonObject, settled: Row, kind: type[Operation[object]]) -> datetime:
    """When the write was carried out: as its answer says, else when it was recorded."""
    said = old.get("updated_at" if kind.method == "PATCH" else "created_at")
    try:
        found = datetime.fromisoformat(str(said))
    except ValueError:
        found = datetime.fromisoformat(settled.at)
    return found.replace(tzinfo=found.tzinfo or UTC)


def _mapped(value: object, ids: dict[str, str]) -> object:
    """The value with the ids of the new desk."""
    match value:
        case str():
            return ids.get(value, value)
        case _ if is_array(value):
            return [_mapped(item, ids) for item in value]
        case _ if is_object(value):
            return {name: _mapped(item, ids) for name, item in value.items()}
        case _:
            return value
