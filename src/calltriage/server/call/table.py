"""The tool table, and the one way through it: arguments checked, work done, result or error shown in one shape."""

from __future__ import annotations

import logging
import math
import re
import secrets
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import mcp_types
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from calltriage.client.receipts import Receipt
from calltriage.errors import CallError, TryNext, UnreadableAnswer
from calltriage.leaves.gate import compact, estimate_tokens, fits, gate, greatest
from calltriage.leaves.strict_json import JsonObject
from calltriage.offering import Policy
from calltriage.operations.activity import ListActivity
from calltriage.operations.base import Effect, Operation, Tool, is_operation
from calltriage.operations.fields import DEFAULT_LIMIT, UUID_PATTERN, is_opaque_id
from calltriage.operations.flags import ListFlags
from calltriage.operations.issues import ListIssues
from calltriage.operations.relations import ListRelations
from calltriage.operations.resource_links import ListResources
from calltriage.operations.results import Result, is_page
from calltriage.server.answers.empty import NO_ISSUES, said_of_nothing
from calltriage.server.answers.results import (
    BUDGET,
    LEAST,
    MOST,
    REPEATS,
    WALL,
    advising,
    ended,
    in_part,
    passes,
    shortened,
    shown,
    shown_page,
    too_large,
    with_beginnings,
)
from calltriage.server.answers.sections import Place
from calltriage.server.call import write_record as once
from calltriage.server.call.answering import Answer
from calltriage.server.call.arguments import checked, rejected, understood
from calltriage.server.call.confirmation import UnconfirmedError, confirmed
from calltriage.server.call.hints import advise
from calltriage.server.call.host import Host, opened_for
from calltriage.server.call.host_hints import hints_of
from calltriage.server.call.result_schemas import result_schema
from calltriage.server.call.schemas import arguments_model, input_schema, names_issue
from calltriage.server.call.touched import touched
from calltriage.server.call.views import BOARD, seen_in, view_of
from calltriage.server.call.write_record import with_key
from calltriage.server.context import Invocation, ServerParts, Workflow
from calltriage.server.tools.evidence import GetEvidenceTool, whole_description
from calltriage.server.tools.find_calls import FindCallsTool
from calltriage.server.tools.transcripts import GetTranscriptTool

logger = logging.getLogger(__name__)


@cache
def describe(tool: type[Tool]) -> mcp_types.Tool:
    """The tool as `tools/list` shows it. Everything follows from the class, so it is worked out once in a process."""
    name = tool.tool_name()
    effect = tool.effect
    return mcp_types.Tool(
        name=name,
        title=name.replace("_", " ").capitalize(),
        description=" ".join((tool.__doc__ or "").split()),
        input_schema=schema_of(tool),
        output_schema=result_schema(tool),
        annotations=mcp_types.ToolAnnotations(
            read_only_hint=effect is Effect.READ and not _saves(tool),
            destructive_hint=effect in {Effect.CHANGE, Effect.REMOVE},  # the others add at most
            idempotent_hint=effect is not Effect.ADD or _answers_repeats(tool),
            open_world_hint=False,
        ),
        _meta=hints_of(tool) | (view_of(tool) or {}),
    )


@cache
def schema_of(tool: type[Tool], *, saving: bool = True) -> JsonObject:
    """The schema of what a tool takes. Where no local file may be made, it takes no folder for one."""
    schema = with_key(tool, input_schema(arguments_model(tool)))
    if saving or not _saves(tool):
        return schema
    taken = {name: value for name, value in schema["properties"].items() if name != getattr(tool, "local", None)}
    return {**schema, "properties": taken}


def _saves(tool: type[Tool]) -> bool:
    return issubclass(tool, Workflow) and tool.saves


def _as_offered(tool: type[Tool], policy: Policy, *, saving: bool) -> mcp_types.Tool:
    """The tool as this server lists it. With the policy `panel` a tool that removes has the board for a view, where the
    question is asked. Without `saving` the tool takes no folder for a file."""
    asks = policy == "panel" and tool.effect is Effect.REMOVE
    told = describe(tool)
    if asks:
        told = told.model_copy(update={"meta": {**(told.meta or {}), **seen_in(BOARD)}})
    if saving or not _saves(tool):
        return told
    hints = told.annotations and told.annotations.model_copy(update={"read_only_hint": True})
    words = tool.unsaving if issubclass(tool, Workflow) else ""
    changed = {"description": words, "input_schema": schema_of(tool, saving=False), "annotations": hints}
    return told.model_copy(update=changed)


def _answers_repeats(tool: type[Tool]) -> bool:
    """Whether a repeat has an answer of its own, "was there already".

    Where that is only our reading of the contract (bland-triage, section 8) the effect stays ADD. The hint may follow our
    reading, but automatic retries must not rest on a promise that the vendor never made.
    """
    if issubclass(tool, Workflow):
        return tool.answers_repeats
    return is_operation(tool) and len(tool.success) > 1


RENAMED = {"list_calls": FindCallsTool.tool_name()}
"""Tools of earlier versions, and what took their place."""
Report = Callable[[float, float | None, str], Awaitable[None]]


class ToolTable:
    """The tools that this server offers."""

    def __init__(self, tools: Iterable[type[Tool]], server: ServerParts, confirm: Policy = "ask") -> None:
        self._server = server
        self._confirm: Policy = confirm
        self._tools = {tool.tool_name(): tool for tool in tools}
        self._schemas = {name: schema_of(tool, saving=server.files.writable) for name, tool in self._tools.items()}

    @cached_property
    def listed(self) -> list[mcp_types.Tool]:
        """The tools as `tools/list` shows them."""
        return [_as_offered(tool, self._confirm, saving=self._server.files.writable) for tool in self._tools.values()]

    def input_schema(self, name: str) -> JsonObject | None:
        """Schema of a tool's arguments; None for an unknown name."""
        return self._schemas.get(name)

    async def call(
        self,
        name: str,
        arguments: JsonObject,
        report: Report,
        host: Host,
        *,
        request: Any = None,
        meta: Any = None,
        answer: Answer | None = None,
    ) -> mcp_types.CallToolResult | mcp_types.InputRequiredResult:
        """Call a tool. Whatever goes wrong inside becomes a tool error; only an unknown name is a protocol error.

        A tool that removes may answer with a question for a person instead, one that takes a path with one for the host.
        """
        tool = self._tools.get(name)
        if tool is None:
            now = RENAMED.get(name)
            instead = f" Its work is done by {now}." if now in self._tools else ""
            raise MCPError(mcp_types.INVALID_PARAMS, f"Unknown tool.{instead} tools/list has the names.")
        own, note = understood(tool, self._schemas[name], arguments)
        try:
            caller = once.Caller.of(request, meta, answer)
            self._server.quota.take(caller.who, tool)
            own, key = once.split(tool, own, caller)
            given = checked(tool, self._schemas[name], own)
            work = await self._work_for(tool, given, caller, report, host)
            if isinstance(work, mcp_types.InputRequiredResult):
                return work
            body = await once.performed(
                tool, work, lambda: perform(tool, given, work), arguments=own, key=key, caller=caller
            )
            body = advising(once.noting(tool, body, note) if note else body, work.server.offered)
            try:
                return _result(body, work)
            except CallError as error:
                if tool.effect is Effect.READ:
                    raise
                return _result(_told(body, error), work)  # the write is done, whatever can be shown of it
        except CallError as error:
            failure = error
        except (Exception, SystemExit):  # the one blanket catch: a crash in a tool must not end the server
            crash = secrets.token_hex(4)
            logger.exception("tool %s crashed, error id %s", name, crash)
            failure = CallError(
                f"Internal error {crash}. It is in the server's log; other tools keep working.",
                code="internal_error",
                request_id=crash,
                outcome=None if tool.effect is Effect.READ else "unknown",
            )
        if failure.field not in self._schemas[name]["properties"]:  # a word of the vendor's, or of another tool
            failure.field = None
        advise(failure, tool, own, lambda meant: checked(tool, self._schemas[name], meant))
        return _failed(failure, self._server.offered)

    async def _work_for(
        self, tool: type[Tool], given: Tool, caller: once.Caller, report: Report, host: Host
    ) -> Invocation | mcp_types.InputRequiredResult:
        """The call's Invocation, with the host's folders if an argument is a path; or a question that has to be answered
        first."""
        path = getattr(given, given.local) if isinstance(given, Workflow) and given.local else None
        files = self._server.files if path is None else await opened_for(path, self._server.files, host)
        if isinstance(files, mcp_types.InputRequiredResult):
            return files
        work = Invocation(self._server, files, caller.who, report)
        question = await confirmed(tool, given, work, self._confirm, host) if tool.effect is Effect.REMOVE else None
        return question or work


async def perform(tool: type[Tool], given: Tool, work: Invocation) -> JsonObject:
    """The body of a tool's answer, before the gate. Raises the CallError that it ended in."""
    try:
        if isinstance(given, Workflow):
            body = await given.run(work)
        elif is_operation(tool):
            body = await _send(tool, given, work)
        else:
            raise TypeError(f"{tool.__name__} is neither a workflow nor an operation.")
    except UnreadableAnswer as error:
        if error.outcome not in {"committed", "replayed"}:
            raise
        # The write is done. An answer that cannot be read must not make it look undone.
        return once.noting(tool, {"outcome": error.outcome}, f"{error} Read it back before writing again.")
    return body | await touched(tool, given, body, work)


async def _send(tool: type[Operation[object]], given: Tool, work: Invocation) -> JsonObject:
    """Send an operation as it is, its issues resolved; a page that would be too long is asked for again, shorter."""
    values = given.model_dump(exclude_unset=True)
    for name, info in tool.model_fields.items():
        if name in values and names_issue(info.metadata):
            values[name] = await work.server.issue_id(values[name], name)
    try:
        operation = tool.model_validate(values)
    except ValidationError as error:  # a rule between arguments that shows once issues are resolved
        raise rejected(error, tool, input_schema(arguments_model(tool))["properties"]) from None
    most = math.inf
    while True:
        # The page that was too long is freed before the next one is waited for: many callers wait at once.
        body = _answer_of(await work.server.client.deliver(operation), operation, work, most)
        if not isinstance(body, _TooLong):
            return body
        most = body.returned
        operation = operation.model_copy(update={"limit": body.fitting})


@dataclass(frozen=True)
class _TooLong:
    """A page with too many rows to be shown, and how many of them probably fit."""

    returned: int
    fitting: int


def _answer_of(
    receipt: Receipt[object], operation: Operation[object], work: Invocation, most: float
) -> JsonObject | _TooLong:
    """What is shown of an operation's result, or _TooLong for a page that does not fit. `most` is the number of rows of the
    page before: a page with as many is shown as far as it fits, since its API ignores the limit."""
    if is_page(page := receipt.result):
        cursor: str | None = getattr(operation, "cursor", None)
        body = shown_page(page, cursor)
        if isinstance(operation, ListIssues) and body["complete"] and not body["returned"] and operation.cursor is None:
            return body | _without_issues(operation)
        if 2 <= body["returned"] < most and not passes(body, BUDGET):
            return _TooLong(body["returned"], _fitting(body))
        if work.goes_round(operation, cursor, page.identities, page.next_cursor):
            body = ended(body, REPEATS)
        elif isinstance(operation, ListIssues) and "next_cursor" in body and _is_short(body, operation):
            body["note"] = in_part("issues")
        body = with_beginnings(_rows_that_fit(body, operation), page, BUDGET)
        return shortened(body, BUDGET, _in_evidence(operation))
    body = shown(receipt.result) if isinstance(receipt.result, Result) else {}  # a removal has no result
    return body if receipt.outcome is None else {**body, "outcome": receipt.outcome}


def _is_short(body: JsonObject, operation: ListIssues) -> bool:
    """Whether a page of a search has fewer rows than were asked for."""
    rows: int = body["returned"] + len(body.get("unreadable_rows", ()))
    return operation.search is not None and rows < (operation.limit or DEFAULT_LIMIT)


def _fitting(body: JsonObject) -> int:
    """Rows of a page that will probably fit the budget, where these were too many."""
    rows: int = body["returned"]
    return max(1, min(rows - 1, rows * BUDGET // max(1, estimate_tokens(compact(body)))))


def _without_issues(operation: ListIssues) -> JsonObject:
    filters = operation.model_dump(exclude={"limit", "order", "sort", "cursor"}, exclude_none=True)
    return said_of_nothing(ListIssues.tool_name(), filters, NO_ISSUES, FindCallsTool.tool_name())


SECTIONS: dict[type[Tool], str] = {
    ListFlags: "flags", ListResources: "resources", ListRelations: "relations", ListActivity: "activity",
}  # fmt: skip
"""The section of the evidence that shows the rows of a list, longer."""


def _in_evidence(operation: Operation[object], skip: int = 0) -> JsonObject | None:
    """The call that shows a page's rows whole, from row `skip` on; None for a list that evidence does not have."""
    section = SECTIONS.get(type(operation))
    if section is None:
        return None
    given = operation.model_dump()
    place = str(Place(seen=skip, skip=skip, cursor=given["cursor"]))
    where = {"issue_id": given["issue_id"], "section": section, "cursor": place, "max_tokens": MOST}
    return {"try_next": TryNext(tool=GetEvidenceTool.tool_name(), arguments=where)}


def _rows_that_fit(body: JsonObject, operation: Operation[object]) -> JsonObject:
    """A page of an API that ignores the limit, with as many rows as fit; `omitted` has the call that reads the others."""
    rows = body["items"]
    if type(operation) not in SECTIONS or len(rows) < 2 or passes(body, BUDGET):
        return body
    count = max(1, greatest(len(rows), lambda n: passes({**body, "items": rows[:n]}, BUDGET - LEAST), len(rows)))
    gap = {"section": "items", "left_out": len(rows) - count, **(_in_evidence(operation, count) or {})}
    return {**body, "items": rows[:count], "returned": count, "complete": False, "omitted": [gap]}


def _result(body: JsonObject, work: Invocation) -> mcp_types.CallToolResult:
    """A result as structured content and as text, followed by the call's other contents; through the gate, and cut to the
    budget unless its tool did that (`complete`). Raises CallError (`result_too_large`)."""
    given, escaped = gate(body)
    text = compact(given)
    if "complete" not in body and not fits(text, BUDGET):
        given, escaped = gate(shortened(body, BUDGET, advising(whole_of(body), work.server.offered)))
        text = compact(given)
    if escaped:
        given["escaped_characters"] = escaped
        text = compact(given)
    if not fits(text, WALL):
        raise too_large()
    return mcp_types.CallToolResult(
        structured_content=given, content=[mcp_types.TextContent(type="text", text=text), *work.contents]
    )


def whole_of(body: JsonObject) -> JsonObject:
    """Where an issue, or the turn that a flag points at, can be read whole; empty for any other body."""
    issue_id, call_id, place = body.get("id"), body.get("call_id"), body.get("message_index")
    if "triage_id" in body and isinstance(issue_id, str) and re.match(UUID_PATTERN, issue_id):
        return {"resource": f"triage://issues/{issue_id}", "try_next": whole_description(issue_id)}
    if isinstance(place, int) and is_opaque_id(call_id):
        turn = {"call_id": call_id, "from": place, "to": place, "max_tokens": MOST}
        return {"try_next": TryNext(tool=GetTranscriptTool.tool_name(), arguments=turn)}
    return {}


def _told(body: JsonObject, error: CallError) -> JsonObject:
    """A write's outcome and id without the rest, which would be too long."""
    kept = {"outcome": body.get("outcome", "unknown"), "note": str(error)}
    return kept | ({"id": body["id"]} if is_opaque_id(body.get("id")) else {})


def _failed(error: CallError, offered: frozenset[str]) -> mcp_types.CallToolResult:
    """An error in both forms, within the budget: what it shows of an issue may be long."""
    try:
        body = shortened(advising({"error": error.body()}, offered), BUDGET)
    except CallError:
        error.details = {}
        body = shortened(advising({"error": error.body()}, offered), BUDGET)
    body, escaped = gate(body)
    if escaped:
        body["error"]["escaped_characters"] = escaped
    return mcp_types.CallToolResult(
        is_error=True,
        structured_content=body,
        content=[mcp_types.TextContent(type="text", text=compact(body))],
        _meta=error.meta if isinstance(error, UnconfirmedError) else None,
    )
