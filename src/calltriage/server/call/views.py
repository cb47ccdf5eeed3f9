"""The view that hosts show beside a tool's answer (MCP Apps, `io.modelcontextprotocol/ui`)."""

from __future__ import annotations

from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.base import Tool
from calltriage.operations.issues import GetIssue
from calltriage.server.tools.evidence import GetEvidenceTool

BOARD = "ui://calltriage/board.html"
"""URI of the board's document, the one view there is."""
SHOWN_IN: frozenset[type[Tool]] = frozenset({GetEvidenceTool, GetIssue})
"""Tools whose answers the board draws."""


VIEW: JsonObject = {"ui": {"resourceUri": BOARD}}


def view_of(tool: type[Tool]) -> JsonObject | None:
    """What a tool's listing says of its view: the same to each host, since a list must not vary by connection."""
    return VIEW if tool in SHOWN_IN else None
