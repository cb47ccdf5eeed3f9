"""Lines of import files for the tests of pipelines: calls whose turns have exact times."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
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


def just_ended(call_id: str, *, began_h: float = 2, ended_h: float = 0, **more: Any) -> str:
    """A call with a silence of the agent's that began and ended so many hours ago."""
    began = datetime.now(UTC) - timedelta(hours=began_h)
    at = began.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return silent_line(call_id, 9.5, created_at=at, call_length=(began_h - ended_h) * 60, **more)


SAID = (
    "good morning this is the service desk how may i help you", "my parcel has not arrived and i am worried about it",
    "could you tell me the number on your receipt please", "it says {n} at the top and there is a bar code below",
    "thank you let me look that up in our system", "take your time i have the letter here in front of me",
    "the carrier tried to deliver it on tuesday afternoon", "nobody was at home then because we were travelling",
    "would a delivery on friday between {m} and six suit you", "yes that works if they ring the bell twice",
    "i have arranged the delivery and noted the bell", "can i also change the address for my next order",
    "of course which street should we use from now on", "garden lane {m} in the house with the green door",
    "that is saved for every order from today", "wonderful is there a charge for the second attempt",
    "no the second attempt is free for all customers", "great thanks for your help and goodbye",
)  # fmt: skip


def long_line(call_id: str, silence_s: float, number: int) -> str:
    """A call of 18 turns with one silence of the agent's."""
    turns, at = list[dict[str, Any]](), 0.0
    for index in range(18):
        speaker = ("agent", "caller")[index % 2]
        at += silence_s if index == 4 else 0.4
        text = SAID[index].format(n=1000 + number % 9000, m=1 + number % 4)
        turns.append({"speaker": speaker, "text": text, "start_ms": at * 1000, "duration_ms": 2500})
        at += 2.5
    made = datetime(2026, 5, 1, tzinfo=UTC) + timedelta(seconds=number)
    about = {"line": f"line {number // 10 % 50}"}
    return json.dumps(
        {"call_id": call_id, "created_at": made.isoformat(timespec="milliseconds"), "metadata": about, "turns": turns}
    )
