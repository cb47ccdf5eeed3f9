"""JSON from outside: read strictly, the names of its values, and what an untyped value is."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn, TypeAlias, TypeGuard

JsonObject: TypeAlias = dict[str, Any]
JsonArray: TypeAlias = list[Any]

MAX_DEPTH = 64
"""Levels of nesting that JSON from outside may have (our choice): every reader and writer of it must be able to follow."""


def is_object(value: object) -> TypeGuard[JsonObject]:
    """Whether a value that was read from JSON is an object. Its names are texts then."""
    return isinstance(value, dict)


def is_array(value: object) -> TypeGuard[JsonArray]:
    return isinstance(value, list)


def read_json(raw: bytes) -> Any:
    """The value of JSON in UTF-8, with or without a byte order mark.

    Its numbers are finite, and it is nested less than MAX_DEPTH deep.

    Raises ValueError for whatever else came, without a word of it.
    """
    try:
        value = json.loads(raw.decode("utf-8-sig"), parse_constant=_refuse_number, parse_float=_finite)
        if raw.count(b"[") + raw.count(b"{") >= MAX_DEPTH:
            refuse_depth(value)
    except (RecursionError, UnicodeDecodeError) as error:
        raise ValueError("is not JSON in UTF-8") from error
    return value


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse_number(text)


def _refuse_number(_: str) -> NoReturn:
    raise ValueError("holds a number that is not finite")


def refuse_depth(value: object) -> None:
    """Raise ValueError for a JSON value that is nested deeper than MAX_DEPTH."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            member
            for item in level
            if isinstance(item, dict | list)
            for member in (item.values() if is_object(item) else item)
        ]
    if level:
        raise ValueError("is nested too deeply")
