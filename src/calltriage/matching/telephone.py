"""Telephone numbers as they are compared."""

from __future__ import annotations

import re

WRITTEN_BETWEEN = " \t\u00a0\u2009\u202f().-/\u2010\u2011\u2012\u2013\u2014\u2015"
"""What people write between the digits of a number."""


def dialled(number: str) -> str:
    """A number without the blanks, brackets, dots, slashes and dashes that people write; any other text as it is."""
    bare = number.translate(dict.fromkeys(map(ord, WRITTEN_BETWEEN)))
    return bare if re.fullmatch(r"\+?[0-9]{3,}", bare) else number


def forms(number: str) -> tuple[str, ...]:
    """The forms under which a list may have a number: with its plus sign and without; any other text as it is."""
    bare = dialled(number)
    digits = bare.removeprefix("+")
    return (f"+{digits}", digits) if re.fullmatch(r"[0-9]{3,}", digits) else (bare,)
