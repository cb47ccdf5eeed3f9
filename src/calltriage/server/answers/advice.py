"""The advice to call a tool.

It repeats of a call only what is plain: names, numbers, words without a blank. Free text stays out, since it may be a
stranger's that the agent passed on.
"""

from __future__ import annotations

import re

from calltriage.errors import TryNext
from calltriage.leaves.strict_json import JsonObject, is_array, is_object
from calltriage.operations.base import Tool

PLAIN = re.compile(r"[A-Za-z0-9_.:@/+-]{1,128}")


def same_call(tool: type[Tool], arguments: JsonObject) -> TryNext | None:
    """Advice to call `tool` with these arguments; None if they hold free text."""
    return TryNext(tool=tool.tool_name(), arguments=arguments) if all(map(_is_plain, arguments.values())) else None


def _is_plain(value: object) -> bool:
    if is_array(value):
        return all(map(_is_plain, value))
    if is_object(value):
        return _is_plain([*value, *value.values()])
    return PLAIN.fullmatch(value) is not None if isinstance(value, str) else isinstance(value, int | float | None)
