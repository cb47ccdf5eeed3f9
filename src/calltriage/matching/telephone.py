"""Telephone numbers as they are compared."""

from __future__ import annotations

import re


def dialled(number: str) -> str:
    """A number without the blanks, brackets, dots, slashes and dashes that people write; any other text as it is."""
    bare = re.sub(r"[\s().\-/\u2010-\u2015]", "", number)
    return bare if re.fullmatch(r"\+?[0-9]{3,}", bare) else number
