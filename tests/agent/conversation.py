"""A model at work on a task: it replies, its calls are made, and what they answer goes back, until it answers its user."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from agent.chat import Chat, Refused, ToolCall
from agent.seat import Seat

STEPS = 40
"""Calls that a model may make for one task."""
ROLE = (
    "You work at a desk where phone calls that went wrong are triaged. Do what the user asks with the tools that you have. "
    "Nobody can answer questions meanwhile. When it is done, or cannot be done, tell the user in a sentence or two."
)


@dataclass(frozen=True)
class Told:
    """How a conversation ended, and what the model told its user at the end.

    `misspelt`: calls whose arguments were no JSON object, or whose tool does not exist.
    """

    answer: str
    ended: Literal["answered", "out of steps", "refused"]
    misspelt: int


async def converse(chat: Chat, seat: Seat, words: str, *, steps: int = STEPS) -> Told:
    """Let a model do what a user asks. Raises EndpointError where the endpoint cannot be used at all."""
    tools = [
        {"type": "function", "function": {"name": one.name, "description": one.description, "parameters": one.schema}}
        for one in (await seat.tools()).values()
    ]
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": f"{ROLE}\n\n{seat.instructions}"},
        {"role": "user", "content": words},
    ]
    made = misspelt = 0
    while True:
        try:
            reply = await chat.reply(messages, tools)
        except Refused:
            if not made:
                raise
            return Told("", "refused", misspelt)  # such as a conversation that became too long
        if not reply.calls:
            return Told(reply.text, "answered", misspelt)
        messages.append(reply.message)
        for call in reply.calls:
            if made >= steps:
                return Told("", "out of steps", misspelt)
            made += 1
            text = await _carried_out(seat, call)
            misspelt += text is None
            content = text if text is not None else await _what_is_wrong(seat, call)
            messages.append({"role": "tool", "tool_call_id": call.id, "content": content})


async def _carried_out(seat: Seat, call: ToolCall) -> str | None:
    """What a call answers; None where it cannot be made."""
    arguments = _arguments(call)
    if arguments is None or call.function.name not in await seat.tools():
        return None
    return (await seat.call(call.function.name, arguments)).text


async def _what_is_wrong(seat: Seat, call: ToolCall) -> str:
    if _arguments(call) is None:
        return "The call was not made: its arguments are not a JSON object."
    return f"The call was not made: there is no such tool. There are: {', '.join(await seat.tools())}."


def _arguments(call: ToolCall) -> dict[str, Any] | None:
    try:
        found = json.loads(call.arguments or "{}")
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
