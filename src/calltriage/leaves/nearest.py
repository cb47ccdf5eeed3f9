"""What somebody may have meant by a name that is not known."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

LONGEST, MOST = 64, 20
"""Characters of a name that are compared, and known names that are listed."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A sentence that suggests the nearest known name, or lists the known ones."""
    names = sorted(known)
    close = get_close_matches(name[:LONGEST], names, n=1, cutoff=0.5)
    if close:
        return f"Did you mean {close[0]}?"
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return f"Known are: {', '.join(names[:MOST])}{more}." if names else "None is known."
