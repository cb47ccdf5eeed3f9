"""The issues that a write touched, as they are after it: their tickets, and what `expect_updated_at` takes."""

from __future__ import annotations

from collections.abc import Container, Iterator
from datetime import datetime

import anyio

from calltriage.client.side_by_side import at_once
from calltriage.errors import CallError
from calltriage.leaves.instants import instant
from calltriage.leaves.strict_json import JsonObject, is_array, is_object
from calltriage.operations.base import Effect, Tool
from calltriage.operations.fields import marks
from calltriage.operations.issues import GetIssue
from calltriage.server.call.schemas import arguments_model, names_issue
from calltriage.server.context import Invocation

READ_BACK_S = 5.0
"""Most seconds for reading the touched issues. The write stands even if that fails."""
MOVED_ON = "The issue was changed after this write, or it cannot be told. Read it before you pass expect_updated_at."
UNREAD = "The issue could not be read back. Read it before you pass expect_updated_at."


async def touched(tool: type[Tool], given: Tool, body: JsonObject, work: Invocation) -> JsonObject:
    """What a committed write says of each issue that its arguments name, or that it made. Empty if its answer is the issue
    itself.

    `updated_at` is given only if the issue's last activity is the write's own: another person's change must not hide behind
    it.
    """
    if tool.effect not in {Effect.ADD, Effect.ENSURE} or body.get("outcome") != "committed" or "updated_at" in body:
        return {}
    made = {instant(text) for text in _times(body)} - {None}
    references = dict.fromkeys([body["id"]] if "triage_id" in body else _references(tool, given))
    if not made or not references:
        return {}
    found = await at_once(*(_read_back(reference, made, work) for reference in references))
    return {"issues": list({one["id"]: one for one in found}.values())}


async def _read_back(reference: str, made: Container[datetime | None], work: Invocation) -> JsonObject:
    issue_id = reference
    try:
        with anyio.fail_after(READ_BACK_S):
            issue_id = await work.server.issue_id(reference)
            issue = await work.server.client.send(GetIssue(issue_id=issue_id))
    except (CallError, TimeoutError):
        return {"id": issue_id, "note": UNREAD}
    names = {"id": issue_id} | ({"triage_id": issue.triage_id} if issue.triage_id else {})
    is_own = bool(issue.updated_at) and instant(issue.last_activity_at) in made
    return names | ({"updated_at": issue.updated_at} if is_own else {"note": MOVED_ON})


def _references(tool: type[Tool], given: Tool) -> Iterator[str]:
    """The issues that a call's arguments name."""
    for name, info in arguments_model(tool).model_fields.items():
        value: object = getattr(given, name)
        if is_array(value) and name.endswith("issue_ids"):
            yield from value
        elif isinstance(value, str) and names_issue(marks(info)):
            yield value


def _times(body: object) -> Iterator[str]:
    """Times at which the result of a write, and each object inside it, was made or removed."""
    if is_object(body):
        yield from (when for name in ("created_at", "removed_at") if isinstance(when := body.get(name), str))
        for member in body.values():
            yield from _times(member)
    elif is_array(body):
        for member in body:
            yield from _times(member)
