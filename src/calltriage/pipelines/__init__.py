"""Pipelines: they examine calls by themselves and file each fault once, as an issue with verified moments as evidence.

The names below are imported at their first use, since the server and most commands run without them.
"""

from __future__ import annotations

TYPE_CHECKING = False  # the name that type checkers know; typing itself takes a while to import
if TYPE_CHECKING:
    from typing import Any

    from calltriage.pipelines.calls import Call, Turn
    from calltriage.pipelines.detecting import detector
    from calltriage.pipelines.findings import Finding, Measure
    from calltriage.pipelines.pipeline import Pipeline

__all__ = ["Call", "Finding", "Measure", "Pipeline", "Turn", "detector"]

_HOMES = {
    "Call": "calltriage.pipelines.calls",
    "Finding": "calltriage.pipelines.findings",
    "Measure": "calltriage.pipelines.findings",
    "Pipeline": "calltriage.pipelines.pipeline",
    "Turn": "calltriage.pipelines.calls",
    "detector": "calltriage.pipelines.detecting",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module  # noqa: PLC0415

    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
