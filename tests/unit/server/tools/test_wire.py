"""What an agent passes to a tool that writes arrives on the wire: no field is dropped on the way."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import chain
from typing import Any

import httpx2
import pytest
from conftest import endpoints_to
from faults import Scripted
from mcp.client import Client as Agent
from samples import samples

from calltriage.client.client import Client, open_client
from calltriage.desk.app import Desk
from calltriage.offering import ALL
from calltriage.operations import CATALOGUE
from calltriage.operations.base import Api, Effect, Operation, Tool
from calltriage.operations.issues import CreateIssue
from calltriage.operations.norm import CreateAgentSession
from calltriage.server.app import build_server
from calltriage.server.toolsets import TOOLSETS, select

BY_NAME = {operation.tool_name(): operation for operation in CATALOGUE if operation.api is Api.TRIAGE}
WRITING = [tool for tool in chain.from_iterable(TOOLSETS.values()) if tool.effect is not Effect.READ]
SHARED = [
    (tool, name)
    for tool in WRITING
    if tool.tool_name() in BY_NAME
    for name, info in tool.model_fields.items()
    if not info.is_required() and name in BY_NAME[tool.tool_name()].model_fields
]
"""Each optional argument of a writing tool that the operation of its name has, too."""


@asynccontextmanager
async def recorded(desk: Desk) -> AsyncGenerator[tuple[Client, Agent, list[httpx2.Request]]]:
    """An agent with every tool, and what is sent for it."""
    sent = list[httpx2.Request]()

    def note(request: httpx2.Request) -> bool:
        sent.append(request)
        return False

    network = Scripted(inner=httpx2.ASGITransport(desk, raise_app_exceptions=False), only=note)
    async with (
        open_client(endpoints_to(network)) as client,
        Agent(build_server(client, version="0", tools=select([ALL]), confirm="allow")) as agent,
    ):
        yield client, agent, sent


async def needed(client: Client, tool: type[Tool], operation: type[Operation[Any]]) -> dict[str, Any]:
    """What the tool and its operation cannot do without, of things that are there."""
    issues = [await client.send(CreateIssue(title=title, severity="low", category="Bug")) for title in ("one", "two")]
    ids = {"issue_id": issues[0].id, "related_issue_id": issues[1].id, "call_id": "call-card"}
    if tool.tool_name() == "add_flag":
        ids["attach_if_missing"] = "true"
    if "session_id" in operation.model_fields:
        ids["session_id"] = (await client.send(CreateAgentSession(issue_id=issues[0].id))).id
    fields = {**operation.model_fields, **tool.model_fields}
    required = [name for name, info in fields.items() if info.is_required() and name in tool.model_fields]
    return {**{name: samples(tool, name)[0] for name in required}, **{k: v for k, v in ids.items() if k in fields}}


@pytest.mark.parametrize(("tool", "name"), SHARED, ids=lambda one: one if isinstance(one, str) else one.tool_name())
async def test_an_optional_argument_of_a_writing_tool_is_on_the_wire(
    the_desk: Desk, tool: type[Tool], name: str
) -> None:
    operation = BY_NAME[tool.tool_name()]
    async with recorded(the_desk) as (client, agent, sent):
        given = await needed(client, tool, operation)
        value = given[name] if name in {"session_id", "related_issue_id"} else samples(tool, name)[-1]
        sent.clear()
        await agent.call_tool(tool.tool_name(), {**given, name: value})
    wire = [request for request in sent if request.method == operation.method]
    bodies = [json.loads(request.content or b"{}") for request in wire]
    in_path = any(str(value) in request.url.path for request in wire)
    assert any(body.get(name) == value for body in bodies) or (name in operation.path_fields() and in_path), bodies


def test_every_writing_tool_of_an_operation_with_optional_fields_is_tried() -> None:
    tried = {tool.tool_name() for tool, _ in SHARED}
    assert {"create_issue", "update_issue", "add_flag", "add_comment"} <= tried
    for tool in WRITING:
        operation = BY_NAME.get(tool.tool_name())
        lacking = operation.model_fields.keys() - tool.model_fields.keys() if operation else set[str]()
        assert lacking == set(), tool
