"""JSON from outside: read strictly, the names of its values, and what an untyped value is."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn, TypeAlias, TypeGuard

JsonObject: TypeAlias = dict[str, Any]
JsonArray: TypeAlias = list[Any]

MAX_DEPTH = 64
"""Levels of nesting that JSON from outside may have (our choice): every reader and writer of it must be able to follow."""
MAX_VALUES = 2**20
"""Values that JSON from outside may hold (our choice). The largest answer that is read, 8 MiB, has fewer than 16 to the KiB
where its values are words."""
TOO_DEEP = "is nested too deeply"


def is_object(value: object) -> TypeGuard[JsonObject]:
    """Whether a value that was read from JSON is an object. Its names are texts then."""
    return isinstance(value, dict)


def is_array(value: object) -> TypeGuard[JsonArray]:
    return isinstance(value, list)


class RefusedJson(ValueError):
    """JSON that is refused for what it holds; the text is what is wrong, without a word of it."""


def read_json(raw: bytes | str, *, most: int = MAX_VALUES) -> Any:
    """The value of JSON in UTF-8, with or without a byte order mark.

    Its numbers are finite, it is nested less than MAX_DEPTH deep, and it holds at most about `most` values.

    Raises ValueError for whatever else came, without a word of it. Crowded and very deep JSON is refused before it is read
    whole: its values take thirty times the room of the text.
    """
    try:
        if is_crowded(raw, most):
            raise RefusedJson(f"holds more than {most} values")
        text = raw.decode("utf-8-sig") if isinstance(raw, bytes) else raw
        value = json.loads(text, parse_constant=_refuse_number, parse_float=_finite)
    except UnicodeDecodeError as error:
        raise ValueError("is not JSON in UTF-8") from error
    except RecursionError as error:
        raise RefusedJson(TOO_DEEP) from error
    if text.count("[") + text.count("{") >= MAX_DEPTH:
        refuse_depth(value)
    return value


def is_crowded(raw: bytes | str, most: int = MAX_VALUES) -> bool:
    """Whether JSON may hold more than `most` values. Commas and brackets within its texts count, too."""
    return len(raw) > most and _separators(raw) > most


def _separators(raw: bytes | str) -> int:
    """How many characters of a text may stand between values: one for each value, and one more for each object."""
    if isinstance(raw, bytes):
        return raw.count(b",") + raw.count(b"[") + raw.count(b"{")
    return raw.count(",") + raw.count("[") + raw.count("{")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse_number(text)


def _refuse_number(_: str) -> NoReturn:
    raise RefusedJson("holds a number that is not finite")


def refuse_depth(value: object) -> None:
    """Raise RefusedJson for a JSON value that is nested deeper than MAX_DEPTH."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            member
            for item in level
            if isinstance(item, dict | list)
            for member in (item.values() if is_object(item) else item)
        ]
        if not level:
            return
    raise RefusedJson(TOO_DEEP)
