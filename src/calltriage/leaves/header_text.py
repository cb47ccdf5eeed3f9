"""What an HTTP header can carry."""

from __future__ import annotations

import re

VISIBLE = re.compile(r"[\x21-\x7e]+")


def is_header_text(text: str) -> bool:
    """Whether a header can carry a key, a token or a URL: visible ASCII, without blanks."""
    return VISIBLE.fullmatch(text) is not None
