"""JSON: the names of its values, and what an untyped value is."""

from __future__ import annotations

from typing import Any, TypeAlias, TypeGuard

JsonObject: TypeAlias = dict[str, Any]
JsonArray: TypeAlias = list[Any]


def is_object(value: object) -> TypeGuard[JsonObject]:
    """Whether a value that was read from JSON is an object. Its names are texts then."""
    return isinstance(value, dict)


def is_array(value: object) -> TypeGuard[JsonArray]:
    return isinstance(value, list)
