"""The MCP server: one object for both protocol generations and both transports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import mcp_types
from mcp.server.caching import CacheHint
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server

from calltriage.client.client import Client
from calltriage.operations.base import Tool
from calltriage.server import resources
from calltriage.server.files import FileRoots
from calltriage.server.instructions import instructions
from calltriage.server.tools import ToolTable
from calltriage.server.toolsets import select
from calltriage.server.work import Work

HOUR_MS = 3_600_000

Context: TypeAlias = ServerRequestContext[dict[str, Any]]


def build_server(
    client: Client,
    *,
    version: str,
    tools: Sequence[type[Tool]] | None = None,
    files: FileRoots | None = None,
    on_listed: Callable[[], None] = lambda: None,
) -> Server[dict[str, Any]]:
    """Put the tools and resources on an MCP server.

    Args:
        client: reaches the two APIs, wherever they are.
        version: shown to clients.
        tools: what `toolsets.select` chose; the default toolset unless given.
        files: local files that tools may read; none by default.
        on_listed: called after each tools/list, when the client has what it needs to begin.
    """
    tools = select() if tools is None else tools
    work = Work(client, files or FileRoots(), offered=frozenset(tool.tool_name() for tool in tools))
    table = ToolTable(tools, work)

    async def list_tools(_c: Context, _p: mcp_types.PaginatedRequestParams | None) -> mcp_types.ListToolsResult:
        on_listed()
        return mcp_types.ListToolsResult(tools=table.listed)

    async def call_tool(ctx: Context, params: mcp_types.CallToolRequestParams) -> mcp_types.CallToolResult:
        return await table.call(params.name, params.arguments or {}, ctx.session.report_progress)

    async def list_resources(_c: Context, _p: mcp_types.PaginatedRequestParams | None) -> mcp_types.ListResourcesResult:
        return mcp_types.ListResourcesResult(resources=resources.listed())

    async def list_templates(
        _c: Context, _p: mcp_types.PaginatedRequestParams | None
    ) -> mcp_types.ListResourceTemplatesResult:
        return mcp_types.ListResourceTemplatesResult(resource_templates=resources.templates())

    async def read_resource(_c: Context, params: mcp_types.ReadResourceRequestParams) -> mcp_types.ReadResourceResult:
        return await resources.read(str(params.uri), work)

    fixed = CacheHint(HOUR_MS, "public")
    return Server(
        "calltriage",
        version=version,
        title="calltriage",
        instructions=instructions(tools),
        get_tool_input_schema=table.input_schema,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read_resource,
        cache_hints={
            "server/discover": fixed,
            "tools/list": fixed,
            "resources/list": fixed,
            "resources/templates/list": fixed,
        },
    )
