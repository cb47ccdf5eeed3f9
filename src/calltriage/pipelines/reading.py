"""Reads calls for detectors."""

from __future__ import annotations

from calltriage.client.client import Client
from calltriage.errors import NotFound, Rejected
from calltriage.operations.calls import CorrectedTranscript, GetCall, GetCorrectedTranscript
from calltriage.pipelines.calls import Call, view_of


async def read_call(client: Client, call_id: str, *, corrected: bool = False) -> Call:
    """Read a call; with `corrected` also its corrected transcript, if there is one. Raises CallError."""
    call = await client.send(GetCall(call_id=call_id))
    redone: CorrectedTranscript | None = None
    if corrected and call.recording_url:
        try:
            redone = await client.send(GetCorrectedTranscript(call_id=call_id))
        except (NotFound, Rejected):  # a recording without one
            redone = None
    return view_of(call, redone)
