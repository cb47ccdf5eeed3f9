"""Signatures, and handles that only this server can make: each holds readable values, sealed with a secret, for a time.

No other module of the package makes an HMAC.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

TAG = 16
"""Bytes of the seal in front of what is sealed."""
_FORM = re.compile("[0-9a-fA-F]{64}")


def signature(secret: bytes, message: bytes) -> str:
    """HMAC-SHA256 of a message, in hexadecimal digits."""
    # Not hmac.digest: it lets go of the interpreter's lock, and the event loop then waits for busy worker threads.
    return hmac.new(secret, message, "sha256").hexdigest()


def may_be_signature(given: str) -> bool:
    """Whether a text has a signature's form, which can be asked before the message is read."""
    return _FORM.fullmatch(given) is not None


def is_signature(given: str, secret: bytes, message: bytes) -> bool:
    """Whether a text is the signature of a message, in digits of either case. The comparison takes equally long for each
    wrong one."""
    return may_be_signature(given) and hmac.compare_digest(given.lower(), signature(secret, message))


def _own_secret() -> Callable[[], bytes]:
    return partial(bytes, secrets.token_bytes(32))


@dataclass(frozen=True)
class Seals:
    """Seals and opens handles.

    `secret` gives the secret of all servers that open one another's handles. It is asked at the first use, and may raise.
    Without one, a secret of this process is used. `clock` is Unix seconds.
    """

    secret: Callable[[], bytes] = field(default_factory=_own_secret, repr=False)
    clock: Callable[[], float] = time.time

    def sealed(self, kind: str, seconds: int, *values: object) -> str:
        """A handle of this kind that holds the values and ends after so many seconds."""
        payload = json.dumps([int(self.clock()) + seconds, *values], separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(self._tag(kind, payload) + payload).decode().rstrip("=")

    def opened(self, kind: str, handle: str) -> list[Any] | None:
        """What a handle of this kind holds; None if it is forged, of another kind, or has ended."""
        ends, *values = self._read(kind, handle)
        return values if self.clock() < ends else None

    def good_for(self, kind: str, handle: str) -> int:
        """Seconds for which a handle of this kind is still good; 0 if it is not."""
        return max(0, int(self._read(kind, handle)[0] - self.clock()))

    def mark(self, kind: str, text: str) -> str:
        """A mark that shows for good that a text was written by a holder of the secret."""
        return base64.urlsafe_b64encode(self._tag(kind, text.encode())).decode().rstrip("=")

    def is_marked(self, kind: str, text: str, mark: str) -> bool:
        """Whether a mark of this kind is that of the text."""
        return hmac.compare_digest(mark.encode(), self.mark(kind, text).encode())

    def _read(self, kind: str, handle: str) -> list[Any]:
        """The second at which a handle ends, then its values; only a 0 if the handle was not sealed here."""
        try:
            raw = base64.b64decode(handle + "=" * (-len(handle) % 4), altchars=b"-_", validate=True)
            return json.loads(raw[TAG:]) if hmac.compare_digest(raw[:TAG], self._tag(kind, raw[TAG:])) else [0]
        except ValueError:
            return [0]

    def _tag(self, kind: str, payload: bytes) -> bytes:
        # The kind stands in the key, not before the payload: the configured secret seals nothing else in this way.
        key = hmac.digest(self.secret(), b"calltriage seal of " + kind.encode(), "sha256")
        return hmac.digest(key, payload, "sha256")[:TAG]
