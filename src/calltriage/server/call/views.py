"""The views that hosts show beside a tool's answer (MCP Apps, `io.modelcontextprotocol/ui`), and how long they keep them."""

from __future__ import annotations

from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.base import Tool
from calltriage.operations.issues import GetIssue
from calltriage.server.tools.evidence import GetEvidenceTool
from calltriage.server.tools.pipelines import GetFindingTool, ListFindingsTool

EXTENSION = "io.modelcontextprotocol/ui"
"""Name of the extension, by which hosts say that they show views."""
BOARD = "ui://calltriage/board.html"
FINDINGS = "ui://calltriage/findings.html"
"""URIs of the board's documents: issues and calls; what pipelines found."""
HOUR_MS = 3_600_000
"""For how long hosts may keep what is the same for all of them."""
SHOWN_IN: dict[type[Tool], str] = {
    GetEvidenceTool: BOARD,
    GetIssue: BOARD,
    ListFindingsTool: FINDINGS,
    GetFindingTool: FINDINGS,
}
"""Which document draws the answers of which tool."""


def seen_in(uri: str) -> JsonObject:
    """What a tool's listing, or a result, says of its view."""
    return {"ui": {"resourceUri": uri}}


def view_of(tool: type[Tool]) -> JsonObject | None:
    """What a tool's listing says of its view: the same to each host, since a list must not vary by connection."""
    uri = SHOWN_IN.get(tool)
    return None if uri is None else seen_in(uri)
