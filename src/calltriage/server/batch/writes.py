"""One write of a plan: its tool, and its arguments as that tool understands and checks them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from calltriage.errors import Rejected
from calltriage.leaves.strict_json import JsonObject, is_array
from calltriage.operations.base import Tool
from calltriage.operations.resource_links import AttachResource
from calltriage.server.call.arguments import checked, understood
from calltriage.server.call.hints import is_issue
from calltriage.server.call.table import schema_of
from calltriage.server.call.write_record import ARGUMENT
from calltriage.server.tools.add_flag import AddFlagTool
from calltriage.server.tools.create_issue import CreateIssueTool
from calltriage.server.tools.editing import AddCommentTool, UpdateIssueTool
from calltriage.server.tools.link_issue import LinkIssueTool
from calltriage.server.tools.update_flag import UpdateFlagTool

Made = Literal["issue", "flag"]

PLANNABLE: dict[str, type[Tool]] = {
    tool.tool_name(): tool
    for tool in (
        CreateIssueTool,
        UpdateIssueTool,
        AttachResource,
        AddFlagTool,
        UpdateFlagTool,
        LinkIssueTool,
        AddCommentTool,
    )
}
"""Tools whose writes a plan may hold: no removals, each of which a person confirms, and no uploads, which have bytes."""
MAKES: dict[str, Made] = {"create_issue": "issue", "add_flag": "flag", "update_flag": "flag"}
"""What `$n` names, by the tool of write n."""
REFERENCE = re.compile(r"\$([0-9]{1,3})")
FLAG = "flag_id"

Resolve = Callable[[int, Made], str]
"""Takes a write's number and the kind of thing it has to make; gives that thing's id. Raises Rejected if there is none."""


@dataclass(frozen=True)
class Asked:
    """A write whose arguments are sound.

    Attributes:
        tool: its tool.
        given: the arguments as the tool's model.
        own: the arguments under the tool's own names, `$n` resolved.
    """

    tool: type[Tool]
    given: Tool
    own: JsonObject


def tool_of(name: str, offered: frozenset[str]) -> type[Tool]:
    """The tool of a write. Raises Rejected for one that no plan may hold, and for one that is not offered."""
    if name not in PLANNABLE:
        raise Rejected(
            "No such tool for a plan. Call others by themselves.",
            code="tool_not_offered",
            field="tool",
            allowed=[one for one in PLANNABLE if one in offered],
        )
    if name not in offered:
        raise Rejected(
            "This tool is not offered here, so its writes are not planned either. Ask the operator for it, or leave it out.",
            code="tool_not_offered",
            field="tool",
        )
    return PLANNABLE[name]


def understood_of(tool: type[Tool], arguments: JsonObject) -> tuple[JsonObject, str]:
    """A write's arguments under the tool's own names, and a note on how they were understood. Raises Rejected for an
    idempotency key."""
    own, note = understood(tool, schema_of(tool), arguments)
    if ARGUMENT in own:
        raise Rejected("Each write of a plan has a key of its own. Leave this one out.", field=ARGUMENT)
    return own, note


def asked(tool: type[Tool], arguments: JsonObject, resolve: Resolve) -> Asked:
    """The write with `$n` resolved and its arguments checked. Raises Rejected as its tool would."""
    own = resolved(tool, arguments, resolve)
    return Asked(tool, checked(tool, schema_of(tool), own), own)


def resolved(tool: type[Tool], arguments: JsonObject, resolve: Resolve) -> JsonObject:
    """The arguments with the ids that `$n` stands for."""
    return {name: _resolved(tool, name, value, resolve) for name, value in arguments.items()}


def references(tool: type[Tool], arguments: JsonObject) -> set[int]:
    """Numbers of the writes that arguments name."""
    found = set[int]()

    def note(number: int, _: Made) -> str:
        found.add(number)
        return ""

    resolved(tool, arguments, note)
    return found


def _resolved(tool: type[Tool], name: str, value: object, resolve: Resolve) -> object:
    """An argument with the id that `$n` stands for. Only one that takes an id can hold a reference: elsewhere "$5" is
    money."""
    kind = _kind(tool, name)
    if kind is None:
        return value
    if is_array(value):
        return [_one(one, kind, resolve, name) for one in value]
    return _one(value, kind, resolve, name)


def _kind(tool: type[Tool], name: str) -> Made | None:
    if name == FLAG:
        return "flag"
    return "issue" if is_issue(tool, name) else None


def _one(value: object, kind: Made, resolve: Resolve, name: str) -> object:
    found = REFERENCE.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        return value
    try:
        return resolve(int(found[1]), kind)
    except Rejected as error:
        error.field = name
        raise
