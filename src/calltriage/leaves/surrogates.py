"""Lone surrogates: halves of a pair, which JSON and Python can carry, and UTF-8, databases and terminals cannot."""

from __future__ import annotations

import re
from typing import Any

from calltriage.leaves.strict_json import is_array, is_object

LONE = re.compile("[\ud800-\udfff]")
"""One of them. Python joins the two halves of a pair when it reads JSON."""


def escaped(text: str) -> str:
    """A text with each lone surrogate as a visible escape."""
    return LONE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def all_escaped(value: object) -> Any:
    """A JSON value with all its texts escaped, the names of members, too."""
    match value:
        case str():
            return escaped(value)
        case _ if is_array(value):
            return [all_escaped(item) for item in value]
        case _ if is_object(value):
            return {escaped(name): all_escaped(item) for name, item in value.items()}
        case _:
            return value
