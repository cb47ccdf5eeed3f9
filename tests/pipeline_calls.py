"""Calls for tests of the pipelines, made as a vendor answers them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from calltriage.operations.calls import Call as VendorCall
from calltriage.operations.calls import CorrectedTranscript
from calltriage.pipelines.calls import Call, view_of
from calltriage.pipelines.redaction import Masked, told_as, with_known

BEGAN = "2026-05-06T10:00:00+00:00"


@dataclass(frozen=True)
class Masking:
    """A redactor that is a function of this process."""

    function: Callable[[str], str]

    async def mask(self, texts: Sequence[str], known: Sequence[str] = ()) -> list[Masked]:
        first = [with_known(text, known) for text in texts]
        return [told_as(one, self.function(one.text)) for one in first]


Said = tuple[str, str, *tuple[float, ...]]
"""Speaker, words, and, where they are known, the seconds of begin and end."""


def vendor_call(turns: Sequence[Said], call_id: str = "call-1", **fields: Any) -> VendorCall:
    """A call as the API answers it."""
    rows = [_row(*turn) for turn in turns]
    return VendorCall.model_validate({"call_id": call_id, "created_at": BEGAN, "transcripts": rows, **fields})


def call_of(
    turns: Sequence[Said], call_id: str = "call-1", corrected: Sequence[Said] | None = None, **fields: Any
) -> Call:
    """A call as detectors see it."""
    lines = [
        {
            "speaker_label": speaker,
            "text": text,
            "start": times[0] if times else None,
            "end": times[1] if len(times) > 1 else None,
        }
        for speaker, text, *times in corrected or ()
    ]
    redone = None if corrected is None else CorrectedTranscript.model_validate({"corrected": lines})
    return view_of(vendor_call(turns, call_id, **fields), redone)


def _row(speaker: str, text: str, start: float | None = None, end: float | None = None) -> dict[str, Any]:
    times = {"start_ms": start, "end_ms": end}
    return {"user": speaker, "text": text, **{name: at * 1000 for name, at in times.items() if at is not None}}
