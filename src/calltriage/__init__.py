"""Call triage for agents: an MCP server over Bland AI's Triage API and Talkdesk's Attachments API, or its own desk.

The client works without MCP too:

    async with open_client() as client:
        issue = await client.send(CreateIssue(title="Agent skipped verification", severity="high", category="Routing"))
"""

from __future__ import annotations

TYPE_CHECKING = False  # the name that type checkers know; typing itself takes a while to import
if TYPE_CHECKING:
    from typing import Any

    from calltriage.client.client import Client
    from calltriage.errors import CallError, CalltriageError
    from calltriage.settings import Settings
    from calltriage.wiring import open_client

__all__ = ["CallError", "CalltriageError", "Client", "Settings", "open_client"]

_HOMES = {
    "CallError": "calltriage.errors",
    "CalltriageError": "calltriage.errors",
    "Client": "calltriage.client.client",
    "Settings": "calltriage.settings",
    "open_client": "calltriage.wiring",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that the command line starts without the parts it does not need."""
    from importlib import import_module  # noqa: PLC0415

    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
