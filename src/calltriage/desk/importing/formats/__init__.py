"""The formats that an import understands: one module each, told apart by what a file holds."""

from __future__ import annotations

from typing import Any

from calltriage.desk.importing.formats.format import Format, TextFormat
from calltriage.desk.importing.formats.ours import OURS

FORMATS: tuple[Format, ...] = (OURS,)
TEXT_FORMATS: tuple[TextFormat, ...] = ()


def is_turn(_: Any) -> bool:
    return False
