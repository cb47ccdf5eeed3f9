"""`doctor --host`: a real MCP client starts what the host's file says, as the host would, and lists its tools."""

from __future__ import annotations

import os
import re
from contextlib import AsyncExitStack

import anyio
import httpx2
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from rich.console import Console
from rich.table import Table

from calltriage.cli.install.installing import Installer
from calltriage.cli.terminal import shown
from calltriage.errors import CalltriageError, first_of
from calltriage.leaves.strict_json import JsonObject, is_object

WAITS_S = 60.0
"""Seconds in which the server has to answer; the first start of a clone installs what it needs."""
REFERENCE = re.compile(r"\$\{(?:env:)?([A-Za-z_][A-Za-z0-9_]*)\}")
"""How hosts write the value of a variable."""


ANSWERS = {
    401: "the server asks for another token (401). Set CALLTRIAGE_HTTP_TOKEN to the one that it was started with, and "
    "install calltriage again. The host needs that variable, too.",
    404: "the server has no MCP at this address (404). calltriage's ends with /mcp.",
    421: "the server is not reached under this name (421). Name it in its CALLTRIAGE_HTTP_ALLOWED_HOSTS.",
}
"""What a person does about a status of a server on a port."""


class Refused(Exception):
    """A server on a port that answers, and is no server for this entry."""


async def examine(installer: Installer) -> bool:
    """Print where the entry is, what it starts and what came of it; whether it works."""
    good, lines = await _examined(installer)
    table = Table(show_header=False, box=None, padding=(0, 1))
    console = Console()
    marks = ("✓", "✗") if console.encoding.startswith("utf") else ("ok", "NO")
    for number, (what, says) in enumerate(lines, 1):
        works = good or number < len(lines)
        table.add_row(f"[green]{marks[0]}[/]" if works else f"[red]{marks[1]}[/]", what, shown(says))
    console.print(table)
    return good


async def _examined(installer: Installer) -> tuple[bool, list[tuple[str, str]]]:
    """Whether it works, and lines of what was looked at; the last one says what is wrong, if something is."""
    lines, is_remote = list[tuple[str, str]](), False
    try:
        entry = installer.found()
        if entry is None:
            return False, [("File", f"{installer.file.path} has no calltriage in it. Install it first.")]
        lines.append(("File", str(installer.file.path)))
        missing = sorted({name for name in _named(entry) if name not in os.environ})
        if missing:
            return False, [*lines, ("Environment", f"not set here: {', '.join(missing)}. The host reads them, too.")]
        is_remote = _address(entry) is not None
        lines.append(("Server", _address(entry) or " ".join([_command(entry), *entry.get("args", [])])))
        tools = await _tools_of(entry)
    except CalltriageError as error:
        return False, [*lines, ("File", str(error))]
    except Exception as error:  # noqa: BLE001  whatever it is, the person reads why
        return False, [*lines, ("Tools", _why(error, is_remote=is_remote))]
    return True, [*lines, ("Tools", f"{len(tools)}: {', '.join(tools)}")]


def _why(error: BaseException, *, is_remote: bool) -> str:
    error = first_of(error)
    by_hand = "See what it logs." if is_remote else "Start the command above by hand to see why."
    if isinstance(error, Refused):
        return str(error)
    if isinstance(error, TimeoutError):
        return f"no answer within {WAITS_S:.0f} s. {by_hand}"
    if isinstance(error, FileNotFoundError):
        return "the program does not exist. Install calltriage again, or the program that it is started with."
    if isinstance(error, httpx2.ConnectError):
        return "no server answers at this address. Start it there, or install calltriage again with another --url."
    return f"{type(error).__name__}. {by_hand}"


async def _check_status(response: httpx2.Response) -> None:
    if response.status_code in ANSWERS:
        raise Refused(ANSWERS[response.status_code])


async def _tools_of(entry: JsonObject) -> list[str]:
    address = _address(entry)
    async with AsyncExitStack() as stack:
        stack.enter_context(anyio.fail_after(WAITS_S))
        if address is None:
            env = {**os.environ, **{name: _filled(value) for name, value in _variables(entry).items()}}
            args = [str(arg) for arg in entry.get("args", [])]
            client = Client(StdioServerParameters(command=_command(entry), args=args, env=env))
        else:
            hooks = {"response": [_check_status]}
            http = await stack.enter_async_context(
                httpx2.AsyncClient(headers=_headers(entry), timeout=WAITS_S, event_hooks=hooks)
            )
            client = Client(streamable_http_client(address, http_client=http))
        connected = await stack.enter_async_context(client)
        return [tool.name for tool in (await connected.list_tools()).tools]


def _command(entry: JsonObject) -> str:
    return str(entry.get("command") or entry.get("cmd") or "")


def _address(entry: JsonObject) -> str | None:
    return next((str(entry[name]) for name in ("url", "httpUrl", "serverUrl", "uri") if entry.get(name)), None)


def _headers(entry: JsonObject) -> dict[str, str]:
    named = entry.get("bearer_token_env_var")
    token = {"Authorization": f"Bearer {os.environ[named]}"} if named else {}
    return {**token, **{name: _filled(value) for name, value in _texts(entry.get("headers")).items()}}


def _variables(entry: JsonObject) -> dict[str, str]:
    return _texts(entry.get("env") or entry.get("envs"))


def _texts(held: object) -> dict[str, str]:
    texts = held if is_object(held) else {}
    return {str(name): str(value) for name, value in texts.items()}


def _named(entry: JsonObject) -> set[str]:
    """The variables of the environment that an entry refers to."""
    texts = [*_variables(entry).values(), *_texts(entry.get("headers")).values()]
    named = {name for text in texts for name in REFERENCE.findall(text)}
    listed = [*entry.get("env_vars", []), *entry.get("env_keys", []), entry.get("bearer_token_env_var")]
    return named | {str(name) for name in listed if name}


def _filled(text: str) -> str:
    return REFERENCE.sub(lambda found: os.environ[found[1]], text)
