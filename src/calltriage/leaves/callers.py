"""Whose request it is: the app that has authenticated it tells the server that carries it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TELL_CALLER = "calltriage.tell_caller"
"""ASGI extension: a function that takes the caller's name."""


def tell_caller(scope: Mapping[str, Any], name: str) -> None:
    """Say that a request is of an authenticated caller. Its connection counts as this caller's, no more as its address's."""
    tell = scope.get("extensions", {}).get(TELL_CALLER)
    if tell is not None:
        tell(name)
