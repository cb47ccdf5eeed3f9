"""Calls of Vapi: the object that its API answers, and the `end-of-call-report` that it sends.

Source: docs.vapi.ai, "Get Call" and "Server events". `time` and `endTime` are milliseconds since 1970.
"""

from __future__ import annotations

from calltriage.desk.importing.formats.format import (
    Format,
    Line,
    instant,
    number,
    objects,
    part,
    turn,
    without_nothing,
)
from calltriage.leaves.strict_json import JsonObject, is_object
from calltriage.matching.speaker_marks import by_lines

TAKEN = {"id", "createdAt", "startedAt", "endedAt", "messages", "transcript", "summary", "artifact"}

AGENTS = {"assistant", "assistantId", "squad", "squadId", "workflow", "workflowId"}
"""Members that name the agent. A call has one of them even if nothing was said in it."""
KINDS = {"inboundPhoneCall", "outboundPhoneCall", "webCall", "vapi.websocketCall"}


def _call(value: object) -> JsonObject:
    """The call itself, with the members that a report has beside it."""
    message = part(value, "message")
    if not is_object(message) or message.get("type") != "end-of-call-report":
        return value if is_object(value) else {}
    beside = {name: told for name, told in message.items() if name not in ("type", "call")}
    return {**beside, **(message["call"] if is_object(message.get("call")) else {})}


def _messages(call: JsonObject) -> list[JsonObject]:
    return objects(part(call, "artifact", "messages") or call.get("messages"))


def _matches(value: object) -> bool:
    call = _call(value)
    is_spoken = any("message" in one and "secondsFromStart" in one for one in _messages(call))
    is_known = call.get("type") in KINDS or not call.keys().isdisjoint(AGENTS)
    return is_spoken or ({"id", "orgId"} <= call.keys() and is_known)


def _line(value: object) -> Line:
    call = _call(value)
    spoken = [one for one in _messages(call) if one.get("role") != "system" and one.get("message")]
    text = part(call, "artifact", "transcript") or call.get("transcript")
    turns = [_turn(one) for one in spoken] or [turn(*one) for one in by_lines(str(text or ""))]
    customer, ours = part(call, "customer", "number"), part(call, "phoneNumber", "number")
    is_inbound = call.get("type") == "inboundPhoneCall" if call.get("type") else None
    line = {
        "call_id": call.get("id"),
        "created_at": instant(call.get("startedAt") or call.get("createdAt")),
        "ended_at": instant(call.get("endedAt")),
        "summary": part(call, "analysis", "summary") or call.get("summary"),
        "turns": turns,
        "inbound": is_inbound,
        "completed": call["status"] == "ended" if "status" in call else None,
        "from": customer if is_inbound else ours,
        "to": ours if is_inbound else customer,
        "vapi": {name: told for name, told in call.items() if name not in TAKEN},
    }
    return without_nothing(line)


def _turn(message: JsonObject) -> JsonObject:
    start, began, ended = (number(message.get(name)) for name in ("secondsFromStart", "time", "endTime"))
    length = None if began is None or ended is None else (ended - began) / 1000
    end = None if start is None or length is None else start + length
    return turn(message.get("role"), message["message"], start, end)


VAPI = Format("vapi", "an object with `id` and `messages` or `artifact.messages`", _matches, _line)
