"""What the journal calls callers, keys and contents: keyed digests, which say nothing without the journal's secret."""

from __future__ import annotations

from functools import lru_cache

from calltriage.leaves.seals import signature


def digested(salt: bytes, *parts: str) -> str:
    return signature(salt, "\n".join(parts).encode("utf-8", "backslashreplace"))


@lru_cache(maxsize=256)
def caller_name(salt: bytes, organisation: str, who: str) -> str:
    """The name of a caller. A server asks for the same few with each write."""
    return digested(salt, "caller", organisation, who)[:16]
