"""What an agent works through: tools that it can list and call, of whatever kind their server is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mcp.client import Client
from mcp.shared.exceptions import MCPError


@dataclass(frozen=True)
class Tool:
    """A tool as a model sees it."""

    name: str
    description: str
    schema: dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """What a call brought back, as the text that a model reads."""

    text: str
    is_error: bool

    @property
    def body(self) -> dict[str, Any]:
        """The text as a JSON object. Raises ValueError where it is none."""
        found = json.loads(self.text)
        if not isinstance(found, dict):
            raise ValueError("no JSON object")
        return found


class Surface(Protocol):
    """A server's tools."""

    @property
    def instructions(self) -> str:
        """What the server says of itself to a model."""
        ...

    async def tools(self) -> Sequence[Tool]: ...

    async def call(self, tool: str, arguments: dict[str, Any]) -> Answer: ...


class McpSurface:
    """The tools of an MCP server."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def instructions(self) -> str:
        return self._client.instructions or ""

    async def tools(self) -> Sequence[Tool]:
        listed = (await self._client.list_tools()).tools
        return [Tool(one.name, one.description or "", one.input_schema) for one in listed]

    async def call(self, tool: str, arguments: dict[str, Any]) -> Answer:
        try:
            result = await self._client.call_tool(tool, arguments)
        except MCPError as error:  # the server refused the request itself
            return Answer(error.message, is_error=True)
        return Answer("\n".join(getattr(block, "text", "") for block in result.content), result.is_error)
