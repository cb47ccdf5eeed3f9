"""Chat turns, as language models take them: `role` and `content`."""

from __future__ import annotations

from calltriage.desk.importing.formats.format import Format, Line, instant, objects, without_nothing
from calltriage.leaves.strict_json import JsonObject, is_array, is_object

PROMPTS = ("system", "developer")
"""Roles whose words are instructions; nobody said them."""
TAKEN = {"messages", "id", "call_id", "conversation_id", "created_at", "created", "summary"}


def is_turn(value: object) -> bool:
    """Whether a value is one turn, so that it and its neighbours are a call."""
    return is_object(value) and isinstance(value.get("role"), str) and "content" in value and "messages" not in value


def _matches(value: object) -> bool:
    if is_array(value):
        turns = objects(value)
        return bool(turns) and all(is_turn(one) for one in turns)
    messages = objects(value.get("messages")) if is_object(value) else []
    return bool(messages) and all(is_turn(one) for one in messages)


def _line(value: object) -> Line:
    about: JsonObject = value if is_object(value) else {}
    messages = objects(about.get("messages", value))
    prompts = [_text(one) for one in messages if one["role"] in PROMPTS]
    line = {
        "call_id": about.get("call_id") or about.get("conversation_id") or about.get("id"),
        "created_at": instant(about.get("created_at") or about.get("created")),
        "summary": about.get("summary"),
        "instructions": "\n".join(prompts) or None,
        "turns": [_turn(one) for one in messages if one["role"] not in PROMPTS and _text(one)],
    }
    rest = {name: told for name, told in about.items() if name not in TAKEN}
    return {**rest, **without_nothing(line)}


def _turn(message: JsonObject) -> JsonObject:
    rest = {name: told for name, told in message.items() if name not in ("role", "content", "text", "speaker")}
    return {**rest, "speaker": message["role"], "text": _text(message)}


def _text(message: JsonObject) -> str:
    """The words of a turn, whose content may be in parts."""
    content = message["content"]
    if isinstance(content, str):
        return content
    return "\n".join(one["text"] for one in objects(content) if isinstance(one.get("text"), str))


CHAT = Format("chat", "turns with `role` and `content`, in a list, in `messages`, or one a line", _matches, _line)
