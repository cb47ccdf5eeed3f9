"""What the server answers to a host's first requests, and the file that comes with the code, which has it in parts."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
from mcp.shared.message import SessionMessage

from calltriage.first_answers import versions
from calltriage.offering import ALL
from calltriage.server.toolsets import OFFERING
from calltriage.server.transports.frames import Frame, read_frame
from calltriage.settings import Settings
from calltriage.wiring import open_server

PROTOCOLS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
"""Those that begin with `initialize`."""


class Asked:
    """A server over streams in memory."""

    def __init__(self, to: Any, out: Any) -> None:
        self._to, self._out = to, out

    async def says(self, **message: Any) -> None:
        frame = read_frame(json.dumps({"jsonrpc": "2.0", **message}))
        assert isinstance(frame, Frame)
        await self._to.send(SessionMessage(frame.message))

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        await self.says(id=1, method=method, params=params)
        sent = (await self._out.receive()).message.model_dump_json(by_alias=True, exclude_unset=True)
        return json.loads(sent)["result"]


@asynccontextmanager
async def running(**settings: Any) -> AsyncGenerator[Asked]:
    with TemporaryDirectory() as folder:
        given = Settings(data_dir=Path(folder), **settings)
        to, incoming = anyio.create_memory_object_stream[Any](4)
        outgoing, out = anyio.create_memory_object_stream[Any](4)
        async with open_server(given, over_stdio=True) as (server, *_), anyio.create_task_group() as tasks:
            tasks.start_soon(server.run, incoming, outgoing, server.create_initialization_options())
            yield Asked(to, out)
            tasks.cancel_scope.cancel()
        for stream in (to, incoming, outgoing, out):
            stream.close()


async def answers(protocol: str, **settings: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """To `initialize` and to `tools/list`."""
    async with running(**settings) as asked:
        host = {"name": "host", "version": "1"}
        greeting = await asked.ask("initialize", protocolVersion=protocol, capabilities={}, clientInfo=host)
        await asked.says(method="notifications/initialized")
        return greeting, await asked.ask("tools/list")


async def first_answers() -> str:
    """The text of the file, each tool in a line of its own: as it is listed with every tool, and what of it is told
    otherwise where the server only reads, and where the board asks before a removal."""
    greeting, listed = await answers(PROTOCOLS[-1], toolsets=[ALL])
    tools = _by_name(listed)
    _, reading = await answers(PROTOCOLS[-1], toolsets=[ALL], read_only=True)
    _, panel = await answers(PROTOCOLS[-1], toolsets=[ALL], confirm="panel")
    parts: dict[str, Any] = {
        "made_with": versions(),
        "protocols": PROTOCOLS,
        "greeting": greeting | {"protocolVersion": "", "instructions": ""},
        "toolsets": OFFERING.toolsets,
        "reading": sorted(OFFERING.reading),
        "tools": tools,
        "read_only": _changed(tools, reading),
        "panel": _changed(tools, panel),
    }
    return "{\n" + ",\n".join(f'"{name}": {_written(part)}' for name, part in parts.items()) + "\n}\n"


def _by_name(listed: dict[str, Any]) -> dict[str, Any]:
    return {tool["name"]: tool for tool in listed["tools"]}


def _changed(tools: dict[str, Any], listed: dict[str, Any]) -> dict[str, Any]:
    return {name: told for name, told in _by_name(listed).items() if told != tools[name]}


def _written(part: Any) -> str:
    """JSON, each member of an object in a line of its own."""
    if not isinstance(part, dict):
        return json.dumps(part)
    members = (f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in part.items())
    return "{\n" + ",\n".join(members) + "\n}"
