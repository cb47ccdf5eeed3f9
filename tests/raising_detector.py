"""Detectors of a user's own that fail."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from calltriage.pipelines import Call, Finding, detector


@detector(version=1, kind="raises")
def raises(call: Call) -> Iterator[Finding]:
    yield Finding(call.turns[0].index, quote="")
    raise LookupError(call.call_id)


@detector(version=1, kind="hangs")
def hangs(call: Call) -> Iterator[Finding]:
    threading.Event().wait()
    yield Finding(call.turns[0].index, quote="")
