"""Lines of import files for the tests of pipelines: calls whose turns have exact times."""

from __future__ import annotations

import json
from typing import Any


def silent_line(call_id: str, silence_s: float, **more: Any) -> str:
    """A call whose agent says nothing for so long after the caller has spoken."""
    said = [
        ("agent", "hello how can i help you", 0.0, 2.0),
        ("caller", "i would like my money back please", 2.5, 5.0),
        ("agent", f"okay {call_id} i have found your order", 5 + silence_s, 8 + silence_s),
        ("caller", "thank you very much", 8.5 + silence_s, 9.5 + silence_s),
    ]
    turns = [
        {"speaker": speaker, "text": text, "start_ms": start * 1000, "duration_ms": (end - start) * 1000}
        for speaker, text, start, end in said
    ]
    return json.dumps({"call_id": call_id, "created_at": "2026-05-01T10:00:00.000Z", "turns": turns, **more})
