"""Instants as APIs write them, and as people do."""

from __future__ import annotations

from datetime import UTC, datetime

from calltriage.leaves.durations import UNITS, length

A_TIME = "a span such as 24h or 7d, a day such as 2026-05-01, or an instant (ISO 8601)"
"""What `instant_of` reads."""


def utc_now() -> datetime:
    return datetime.now(UTC)


def written(instant: datetime) -> str:
    """An instant as the triage API writes it, and as our databases keep it: ISO 8601 in UTC with milliseconds and a Z. Texts
    sort by time."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def instant(text: str | None) -> datetime | None:
    """An ISO 8601 instant; without an offset it is UTC. None if the text is none."""
    try:
        found = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return found.replace(tzinfo=found.tzinfo or UTC)


def instant_of(text: str, now: datetime) -> datetime:
    """The instant of a span before now (`7d`), of a day, or of an instant in ISO 8601 (UTC unless it says otherwise). Raises
    ValueError."""
    try:
        if text[-1:] in UNITS:
            return now - length(text)
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=found.tzinfo or UTC).astimezone(UTC)
    except OverflowError as error:
        raise ValueError(str(error)) from None
