"""The yardstick: two trivial tools on the same SDK, nothing else. Over stdio, or with `--http PORT` on a port."""

import json
import sys
from typing import Any

import anyio
import mcp_types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

SCHEMA = {"type": "object", "properties": {"issue_id": {"type": "string"}}, "required": ["issue_id"]}
TOOLS = [
    mcp_types.Tool(name="get_issue", description="Read one issue.", input_schema=SCHEMA),
    mcp_types.Tool(name="echo", description="Say it again.", input_schema=SCHEMA),
]
Context = ServerRequestContext[dict[str, Any]]


async def list_tools(_c: Context, _p: mcp_types.PaginatedRequestParams | None) -> mcp_types.ListToolsResult:
    return mcp_types.ListToolsResult(tools=TOOLS)


async def call_tool(_c: Context, params: mcp_types.CallToolRequestParams) -> mcp_types.CallToolResult:
    body = {"id": (params.arguments or {}).get("issue_id")}
    text = mcp_types.TextContent(type="text", text=json.dumps(body))
    return mcp_types.CallToolResult(content=[text], structured_content=body)


def build() -> Server[dict[str, Any]]:
    return Server(
        "bare",
        version="0",
        get_tool_input_schema=lambda _: SCHEMA,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


async def over_stdio() -> None:
    server = build()
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


def over_http(port: int) -> None:
    import uvicorn

    app = build().streamable_http_app(streamable_http_path="/mcp", stateless_http=True, host="127.0.0.1")
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error")


if sys.argv[1:2] == ["--http"]:
    over_http(int(sys.argv[2]))
else:
    anyio.run(over_stdio)
