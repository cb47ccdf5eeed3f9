"""A detector of a user's own that fails."""

from __future__ import annotations

from collections.abc import Iterator

from calltriage.pipelines import Call, Finding, detector


@detector(version=1, kind="raises")
def raises(call: Call) -> Iterator[Finding]:
    yield Finding(call.turns[0].index, quote="")
    raise LookupError(call.call_id)
