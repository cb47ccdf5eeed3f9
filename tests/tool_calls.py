"""Tools as an agent calls them: each answer is checked against its schema, and lists are read to their end."""

from __future__ import annotations

import json
import weakref
from functools import cache
from typing import Any, cast

import mcp_types
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for
from mcp.client import Client
from tokens import real_tokens

from calltriage.leaves.gate import compact
from calltriage.server.call.result_schemas import marks_schema

UNKNOWN = "9bbe5547-d5b1-4b83-9f80-87c4af7c6b34"


_published: dict[int, dict[str, str]] = {}
"""Output schemas as JSON, by tool, of each agent that has called one and is still there."""


MARKS: dict[str, Any] = marks_schema()
"""What may stand in any object of an answer."""


@cache
def _validator(schema: str) -> Validator:
    """Made once for all agents: checking the schema itself costs more than checking an answer."""
    parsed = json.loads(schema)
    kind = validator_for(parsed)
    kind.check_schema(parsed)
    return kind({**closed(parsed), "$defs": {**MARKS["$defs"], **closed(parsed.get("$defs", {}))}})


def closed(schema: Any) -> Any:
    """The schema of a result with no members but those that it names. An entry that is shown in part names the texts inside
    its members with a point (`artifact.payload`); an error may say more than every error says."""
    if isinstance(schema, list):
        return [closed(one) for one in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    node = cast("dict[str, Any]", schema)
    if not isinstance(node.get("properties"), dict):
        return {name: closed(one) for name, one in node.items()}
    members: dict[str, Any] = {name: closed(one) for name, one in node["properties"].items()}
    if {"code", "message"} <= members.keys():
        return {**node, "properties": members}
    inner = {rf"^{name}\.": True for name, one in members.items() if "$ref" in one or one.get("type") == "object"}
    rest = {name: closed(one) for name, one in node.items() if name != "properties"}
    return {
        "additionalProperties": False,
        **rest,
        "properties": {**MARKS["properties"], **members},
        "patternProperties": inner,
    }


async def call(agent: Client, tool: str, /, **arguments: Any) -> mcp_types.CallToolResult:
    """Call a tool; both forms of its answer are the same and fit its output schema."""
    result = await agent.call_tool(tool, arguments)
    body = result.structured_content
    assert json.loads(getattr(result.content[0], "text", "")) == body
    if id(agent) not in _published:
        listed = await agent.session.list_tools()  # not by the client itself, whose cache keeps a deep copy of them
        _published[id(agent)] = {one.name: json.dumps(one.output_schema) for one in listed.tools}
        weakref.finalize(agent, _published.pop, id(agent))
    _validator(_published[id(agent)][tool]).validate(body)
    return result


async def ok(agent: Client, tool: str, /, **arguments: Any) -> dict[str, Any]:
    result = await call(agent, tool, **arguments)
    assert not result.is_error, result.structured_content
    return result.structured_content or {}


async def refused(agent: Client, tool: str, /, **arguments: Any) -> dict[str, Any]:
    result = await call(agent, tool, **arguments)
    assert result.is_error, result.structured_content
    return (result.structured_content or {})["error"]


async def filed(agent: Client, **more: Any) -> dict[str, Any]:
    """An issue, whatever others there are."""
    fields = {"title": "T", "severity": "high", "category": "Bug", "on_duplicate": "create"}
    return await ok(agent, "create_issue", **fields | more)


async def with_call(agent: Client, call_id: str = "call-card") -> str:
    """A ticket with a call attached."""
    ticket = (await filed(agent))["triage_id"]
    await ok(agent, "attach_resource", issue_id=ticket, resource_type="call", resource_id=call_id)
    return ticket


async def read_on(agent: Client, tool: str = "get_evidence", /, **arguments: Any) -> list[dict[str, Any]]:
    """An answer, and all that its own advice leads to; none is over the budget it was asked with, and none is asked for
    twice."""
    todo: list[dict[str, Any]] = [{"tool": tool, "arguments": arguments}]
    made, bodies = set[str](), list[dict[str, Any]]()
    while todo:
        asked = todo.pop(0)
        if asked["tool"] == "get_transcript" and compact(asked) in made:
            continue  # a turn that stands at several flags
        assert compact(asked) not in made, "in circles"
        assert len(made) < 200, "without an end"
        made.add(compact(asked))
        bodies.append(body := await ok(agent, asked["tool"], **asked["arguments"]))
        assert real_tokens(compact(body)) <= asked["arguments"].get("max_tokens", 6000)
        todo += [gap["try_next"] for gap in body.get("omitted", ()) if "try_next" in gap]
    return bodies


def entries(bodies: list[dict[str, Any]], section: str) -> list[dict[str, Any]]:
    """All that these answers show of a section, in order."""
    return [entry for body in bodies for entry in body.get(section, {}).get("items", ())]


async def every_row(agent: Client, tool: str, **arguments: Any) -> list[dict[str, Any]]:
    """All rows, page after page; every page fits its budget and is marked."""
    rows: list[dict[str, Any]] = []
    cursor: str | None = None
    for _ in range(200):
        page = await ok(agent, tool, **arguments, cursor=cursor)
        assert real_tokens(compact(page)) <= 6_000
        assert page["trust"] == "untrusted"
        assert page["returned"] == len(page["items"])
        rows += page["items"]
        cursor = page.get("next_cursor")
        assert page["complete"] is (cursor is None)
        if cursor is None:
            assert page["total"] == len(rows)
            return rows
    raise AssertionError("the pages do not end")
