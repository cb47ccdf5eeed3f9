"""Our own lines: calls, SMS conversations and files."""

from __future__ import annotations

from typing import Any

from calltriage.desk.importing.formats.format import Format, Line
from calltriage.leaves.strict_json import is_object

KINDS = ("call", "sms_conversation", "file")


def _matches(value: object) -> bool:
    return is_object(value) and (value.get("kind") in KINDS or "turns" in value)


def _line(value: Any) -> Line:
    return value


OURS = Format(
    "calltriage",
    "an object with `call_id`, `created_at` and `turns`, or with a `kind`",
    _matches,
    _line,
    is_ours=True,
)
