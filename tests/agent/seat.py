"""The place that an agent sits in: it calls a surface's tools, and what that costs is counted."""

from __future__ import annotations

import json
from typing import Any

from agent.surfaces import Answer, McpSurface, Surface, Tool
from mcp.client import Client

Call = tuple[str, dict[str, Any]]
STEPS = 12
"""Calls after which an agent that follows hints has gone in circles."""


class Seat:
    """Calls tools. `called`: what was called, in order; `bytes_read`: of all answers; `errors`: answers that were errors."""

    def __init__(self, surface: Surface | Client) -> None:
        self._surface: Surface = McpSurface(surface) if isinstance(surface, Client) else surface
        self._tools: dict[str, Tool] = {}
        self.called: list[Call] = []
        self.bytes_read = 0
        self.errors = 0

    @property
    def instructions(self) -> str:
        return self._surface.instructions

    async def tools(self) -> dict[str, Tool]:
        """The tools on offer, by name."""
        if not self._tools:
            self._tools = {one.name: one for one in await self._surface.tools()}
        return self._tools

    async def call(self, tool: str, arguments: dict[str, Any]) -> Answer:
        self.called.append((tool, arguments))
        answer = await self._surface.call(tool, arguments)
        self.bytes_read += len(answer.text.encode("utf-8", "replace"))
        self.errors += answer.is_error
        return answer

    async def ok(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """The answer of a call that succeeds."""
        answer = await self.call(tool, arguments)
        assert not answer.is_error, answer.text
        return answer.body

    async def rows(self, tool: str, /, **arguments: Any) -> list[dict[str, Any]]:
        """All rows of a list, page after page."""
        page = await self.ok(tool, **arguments)
        found: list[dict[str, Any]] = [*page["items"]]
        while page.get("next_cursor") is not None:
            page = await self.ok(tool, **arguments, cursor=page["next_cursor"])
            found += page["items"]
        return found


class Follower:
    """Understands nothing: it makes one call, from then on does what `try_next` says, and repeats its call once what was in
    its way is gone."""

    def __init__(self, seat: Seat) -> None:
        self._seat = seat

    async def pursue(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Make a call and whatever calls are advised; what the last one answered."""
        call: Call = (tool, arguments)
        waiting: Call | None = None
        for _ in range(STEPS):
            is_error, body = await self._call(*call)
            facts = body["error"] if is_error else body
            hint = facts.get("try_next")
            if hint is None:
                assert not is_error, f"no way on from {call[0]}: {facts}"
                if waiting is None:
                    return body
                call, waiting = waiting, None
                continue
            advised: Call = (hint["tool"], hint["arguments"])
            is_in_the_way = is_error and facts.get("outcome") != "unknown" and advised[0] != call[0]
            waiting = call if is_in_the_way else None
            call = advised
        raise AssertionError(f"in circles: {[name for name, _ in self._seat.called]}")

    async def read_whole(self, tool: str, **arguments: Any) -> list[dict[str, Any]]:
        """Make a reading call and every call that its answers say has the rest; all their answers."""
        todo: list[Call] = [(tool, arguments)]
        made = list[Call]()
        bodies: list[dict[str, Any]] = []
        while todo:
            call = todo.pop(0)
            if call in made:
                continue
            assert len(made) < 200, "in circles"
            made.append(call)
            is_error, body = await self._call(*call)
            assert not is_error, json.dumps(body)
            bodies.append(body)
            todo += [
                (gap["try_next"]["tool"], gap["try_next"]["arguments"])
                for gap in body.get("omitted", ())
                if "try_next" in gap
            ]
        return bodies

    async def _call(self, tool: str, arguments: dict[str, Any]) -> tuple[bool, dict[str, Any]]:
        assert tool in await self._seat.tools(), f"advised to call {tool}, which is not offered"
        answer = await self._seat.call(tool, arguments)
        return answer.is_error, answer.body
