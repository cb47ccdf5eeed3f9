"""What the server answers to a host's first requests, by the settings that the answers follow from."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
from mcp.shared.message import SessionMessage

from calltriage.first_answers import FOLLOW_FROM, versions
from calltriage.server.transports.frames import Frame, read_frame
from calltriage.settings import Settings
from calltriage.wiring import open_server

PROTOCOLS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
"""Those that begin with `initialize`."""
TOOLSETS = (["core"], ["all"])
POLICIES = ("ask", "panel", "allow", "deny")


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


def _place(of: dict[str, int], thing: object) -> int:
    """The place of a thing among those that were met, of which each is written once."""
    return of.setdefault(json.dumps(thing, ensure_ascii=False), len(of))


async def first_answers() -> str:
    """The text of the file: each tool and each text once, in a line of its own."""
    tools, texts, selections = dict[str, int](), dict[str, int](), list[str]()
    greeting = dict[str, Any]()
    for toolsets, read_only, confirm in itertools.product(TOOLSETS, (False, True), POLICIES):
        settings = dict(zip(FOLLOW_FROM, (toolsets, [], read_only, confirm), strict=True))
        greeting, listed = await answers(PROTOCOLS[-1], **settings)
        chosen = {
            "settings": settings,
            "instructions": _place(texts, greeting["instructions"]),
            "tools": [_place(tools, tool) for tool in listed["tools"]],
        }
        selections.append(json.dumps(chosen))
    greeting |= {"protocolVersion": "", "instructions": ""}
    parts = {
        "made_with": json.dumps(versions()),
        "protocols": json.dumps(PROTOCOLS),
        "greeting": json.dumps(greeting),
        "instructions": _lines(texts),
        "tools": _lines(tools),
        "selections": _lines(selections),
    }
    return "{\n" + ",\n".join(f'"{name}": {text}' for name, text in parts.items()) + "\n}\n"


def _lines(of: dict[str, int] | list[str]) -> str:
    return "[\n" + ",\n".join(of) + "\n]"
