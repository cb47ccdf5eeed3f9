"""URLs that an operator gives, and those that are shown."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any
from urllib.parse import SplitResult, urlsplit, urlunsplit

from calltriage.leaves.header_text import is_header_text
from calltriage.leaves.strict_json import is_array, is_object

SECRET = re.compile(
    r"secret|token|signature|password|credential|authorization|(access|api|private)[_-]?key", re.IGNORECASE
)
"""Names of members that may hold a secret."""

ENVIRONMENT = "environment"
"""Value of CALLTRIAGE_PROXY that allows the environment's own variables."""


def http_url(url: str) -> SplitResult:
    """The parts of an http or https URL: printable ASCII, with a host and, where it names one, a port from 1 on.

    Raises ValueError, which does not hold the URL.
    """
    wrong = ValueError("is no http or https URL")
    try:
        parts = urlsplit(url)
        has_port = parts.port is None or parts.port > 0
    except ValueError:
        raise wrong from None
    if not is_header_text(url) or parts.scheme not in {"http", "https"} or not parts.hostname or not has_port:
        raise wrong
    return parts


def base_url(url: str) -> SplitResult:
    """The parts of a URL that others are made from: scheme, host, optional port and path alone. Raises ValueError."""
    parts = http_url(url)
    if parts.username or parts.password or parts.query or parts.fragment or url.endswith(("?", "#")):
        raise ValueError("is more than scheme, host and path")
    return parts


def check_proxy(url: str) -> None:
    """Refuse what cannot be a proxy's URL. Raises ValueError, which does not hold it."""
    with suppress(ValueError):
        parts = http_url(url)
        if parts.path in {"", "/"} and not parts.query and not parts.fragment:
            return
    raise ValueError("must be http://host:port or https://host:port, with user:password@ before the host where needed")


def without_secrets(value: object) -> Any:
    """JSON without what may let its reader in somewhere: members named so, and of each URL its user, query and fragment."""
    if is_object(value):
        return {name: without_secrets(member) for name, member in value.items() if not SECRET.search(name)}
    if is_array(value):
        return [without_secrets(member) for member in value]
    if not isinstance(value, str) or "://" not in value:
        return value
    try:
        parts = urlsplit(value)
    except ValueError:
        return None
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
