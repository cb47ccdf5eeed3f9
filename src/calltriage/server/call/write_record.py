"""What surrounds a tool call that writes: its deadline, its idempotency key, its record in the journal."""

import math
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, Required, Self, TypedDict

from pydantic import Field

from calltriage.client.limits import within
from calltriage.client.look_ups import one_call
from calltriage.errors import Rejected, TryNext
from calltriage.journal.unanswered import at_once
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.base import Effect, Tool
from calltriage.operations.fields import Limit
from calltriage.server.call.answering import Answer
from calltriage.server.context import Invocation, Workflow, note_of

ARGUMENT = "idempotency_key"
META = "calltriage/"
"""Prefix of request metadata: `calltriage/idempotency_key` and `calltriage/deadline_s`, for programs that call tools."""
CALLER = "calltriage.caller"
"""Key of a request's scope under which the HTTP side keeps the caller."""
SCHEMA: JsonObject = {
    "type": "string",
    "maxLength": 128,
}

UNRECORDED = (
    "The outcome is as said here, but its record is missing from the journal, so that a repeat may not be recognised. Ask "
    "the operator to run: calltriage doctor"
)
"""Note on a write that was sent and whose outcome could not be recorded."""


def takes_key(tool: type[Tool]) -> bool:
    """Whether a tool adds something, so that a repeat could add it twice."""
    return tool.effect in {Effect.ADD, Effect.ENSURE}


def with_key(tool: type[Tool], schema: JsonObject) -> JsonObject:
    """A tool's input schema with the key among its arguments, where it takes one."""
    if not takes_key(tool):
        return schema
    return {**schema, "properties": {**schema["properties"], ARGUMENT: SCHEMA}}


class RecentWrite(TypedDict, total=False):
    """A write on record, in ids and words of the contract alone; `made` is the id of what it made."""

    at: Required[str]
    tool: Required[str]
    operation: Required[str]
    id: str
    issue_id: str
    related_issue_id: str
    call_id: str
    resource_id: str
    resource_link_id: str
    flag_id: str
    relation_id: str
    session_id: str
    attachment_id: str
    resource_type: str
    relation_type: str
    status: str
    severity: str
    message_index: int
    made: str
    triage_id: str
    outcome: Required[str]


class RecentWrites(TypedDict, total=False):
    """Writes, newest first."""

    items: Required[list[RecentWrite]]
    returned: Required[int]
    complete: Required[bool]


@dataclass(frozen=True)
class Caller:
    """The caller, as the transport authenticated it, and what came beside the arguments."""

    who: str = ""
    key: str | None = None
    deadline_s: float = math.inf
    answer: Answer | None = None

    @classmethod
    def of(cls, request: object, meta: Mapping[str, Any] | None, answer: Answer | None = None) -> Self:
        """From the HTTP request, if there is one, and a request's metadata. Raises Rejected for metadata that cannot be."""
        known = meta or {}
        key, seconds = known.get(f"{META}{ARGUMENT}"), known.get(f"{META}deadline_s", math.inf)
        if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not seconds > 0:
            raise Rejected(f"_meta {META}deadline_s must be a number of seconds above 0.", outcome="not_committed")
        return cls(who(request), None if key is None else _key(key), float(seconds), answer)


def who(request: Any) -> str:
    """Who sent an HTTP request, as its transport authenticated it; over stdio there is one caller."""
    return "" if request is None else request.scope[CALLER]


def _key(value: object) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= 128 or not value.isprintable():
        raise Rejected(
            f"{ARGUMENT}: must be 1 to 128 printable characters. Nothing was done.",
            field=ARGUMENT,
            outcome="not_committed",
        )
    return value


def split(tool: type[Tool], arguments: JsonObject, caller: Caller) -> tuple[JsonObject, str | None]:
    """The arguments without the idempotency key, and the key. One among the arguments wins over one in the metadata."""
    if not takes_key(tool):
        return arguments, None
    given = arguments.get(ARGUMENT)
    rest = {name: value for name, value in arguments.items() if name != ARGUMENT}
    return rest, caller.key if given is None else _key(given)


class ListRecentWritesTool(Workflow, effect=Effect.READ):
    """List what you have written: your own latest writes with their outcomes, newest first, and so what is done already:
    after a loss of context, and before a repeat.

    In ids and outcomes only; get_evidence has the state of an issue.
    """

    result: ClassVar[object] = RecentWrites

    limit: Limit | None = Field(default=None, description="How many, default 50.")

    async def run(self, work: Invocation) -> JsonObject:
        if work.server.journal is None:  # then nothing is on record
            return {"items": [], "returned": 0, "complete": True}
        most = self.limit or 50
        async with work.server.journal.calling(self.tool_name(), work.who, None) as call:
            items = await work.server.journal.recent(call, most + 1)
        body = {"items": items[:most], "returned": len(items[:most]), "complete": len(items) <= most}
        if len(items) > most:
            more = {"try_next": TryNext(tool=self.tool_name(), arguments={"limit": 100})} if most < 100 else {}
            body["omitted"] = [{"section": "older writes", **more}]
        return body


async def performed(
    tool: type[Tool],
    work: Invocation,
    act: Callable[[], Awaitable[JsonObject]],
    *,
    arguments: JsonObject,
    key: str | None,
    caller: Caller,
) -> JsonObject:
    """Run `act` within the call's deadline. A write goes on record in the journal; with a key it is carried out once.
    Raises Rejected for a key where there is no journal, and what `act` raises."""
    bounded = not issubclass(tool, Workflow) or tool.bounded
    seconds = min(caller.deadline_s, work.server.client.deadline_s if bounded else math.inf)
    with within(seconds) if seconds < math.inf else nullcontext(), one_call():
        if key is not None and work.server.journal is None:
            raise Rejected("No journal is kept here, so no key is known.", field=ARGUMENT, outcome="not_committed")
        if tool.effect is Effect.READ or work.server.journal is None:
            return await act()
        answer = caller.answer
        when, came = (at_once, None) if answer is None else (answer.when_gone, answer.came)
        name, journal = tool.tool_name(), work.server.journal
        async with journal.calling(name, caller.who, key, when_answered=when, came=came) as call:
            body = await act() if key is None else await journal.once(call, arguments, act)
        return noting(tool, body, UNRECORDED) if call.unrecorded else body


def noting(tool: type[Tool], body: JsonObject, note: str) -> JsonObject:
    """The body of a tool's answer with a note of the server, which comes before one that the body has."""
    name = note_of(tool)
    return {**body, name: f"{note} {body[name]}" if isinstance(body.get(name), str) else note}
