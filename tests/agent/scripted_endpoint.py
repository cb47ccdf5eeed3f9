"""An OpenAI-compatible chat endpoint whose model is a script.

It keeps no conversation: at each request the script runs anew on the answers that the request brings, as far as the first
call that has no answer yet. That call is the reply.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from agent.seat import Seat
from agent.surfaces import Answer, Tool
from agent.task import Policy, Task
from agent.tasks import TASKS
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

Choose = Callable[[Task, set[str]], Policy]
"""The policy that plays the model, by task and the names of the tools that it is offered."""
PREFIX = "scripted-"


class _NextCall(Exception):
    def __init__(self, tool: str, arguments: dict[str, Any]) -> None:
        super().__init__(tool)
        self.tool, self.arguments = tool, arguments


class _Replay:
    """A surface that gives the answers of a conversation again, and stops at the first call that has none."""

    def __init__(self, instructions: str, tools: Sequence[Tool], answers: list[str]) -> None:
        self.instructions = instructions
        self._tools, self._answers = tools, answers

    async def tools(self) -> Sequence[Tool]:
        return self._tools

    async def call(self, tool: str, arguments: dict[str, Any]) -> Answer:
        if not self._answers:
            raise _NextCall(tool, arguments)
        text = self._answers.pop(0)
        return Answer(text, is_error=text.startswith('{"error":'))


class ScriptedEndpoint:
    """The ASGI app. `first`: answers to the first requests, before the scripts play. `asked`: the requests, as sent."""

    def __init__(self, *first: Response, choose: Choose = lambda task, _: task.script) -> None:
        self._first, self._choose = list(first), choose
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self._app = Starlette(routes=[Route("/v1/chat/completions", self._complete, methods=["POST"])])

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._app(scope, receive, send)

    async def _complete(self, request: Request) -> Response:
        asked = json.loads(await request.body())
        self.asked.append(asked)
        self.headers.append(dict(request.headers))
        if self._first:
            return self._first.pop(0)
        return await self._play(asked["messages"], [one["function"] for one in asked["tools"]])

    async def _play(self, messages: list[dict[str, Any]], offered: list[dict[str, Any]]) -> Response:
        (task,) = [one for one in TASKS if one.is_asked_by(messages[1]["content"])]
        tools = [Tool(one["name"], one["description"], one["parameters"]) for one in offered]
        answers = [one["content"] for one in messages if one.get("tool_call_id", "").startswith(PREFIX)]
        seat = Seat(_Replay(messages[0]["content"], tools, [*answers]))
        try:
            said = await self._choose(task, {tool.name for tool in tools})(seat, messages[1]["content"])
        except _NextCall as call:
            return calls((f"{PREFIX}{len(answers)}", call.tool, json.dumps(call.arguments)))
        return says(said)


def says(text: str) -> Response:
    """A reply in words."""
    return _reply({"role": "assistant", "content": text})


def calls(*wanted: tuple[str, str, str]) -> Response:
    """A reply that wants calls made: id, tool, arguments as the model wrote them."""
    made = [
        {"id": call_id, "type": "function", "function": {"name": tool, "arguments": arguments}}
        for call_id, tool, arguments in wanted
    ]
    return _reply({"role": "assistant", "content": None, "tool_calls": made})


def _reply(message: dict[str, Any]) -> Response:
    usage = {"prompt_tokens": 1000, "completion_tokens": 10, "total_tokens": 1010}
    return JSONResponse({"choices": [{"index": 0, "finish_reason": "stop", "message": message}], "usage": usage})
