"""URLs that an operator gives."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

ENVIRONMENT = "environment"
"""Value of CALLTRIAGE_PROXY that allows the environment's own variables."""


def check_proxy(url: str) -> None:
    """Refuse what cannot be a proxy's URL. Raises ValueError, which does not hold it."""
    wrong = ValueError(
        "must be http://host:port or https://host:port, with user:password@ before the host where needed"
    )
    try:
        parts = urlsplit(url)
        has_port = parts.port is None or parts.port > 0
    except ValueError:
        raise wrong from None
    is_plain = parts.path in {"", "/"} and not parts.query and not parts.fragment
    if not re.fullmatch(r"[\x21-\x7e]+", url) or parts.scheme not in {"http", "https"} or not parts.hostname:
        raise wrong
    if not has_port or not is_plain:
        raise wrong
