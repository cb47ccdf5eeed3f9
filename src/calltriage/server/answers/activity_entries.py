"""Entries of an issue's feed as answers show them: what happened, and what the vendor's agent made."""

from __future__ import annotations

from typing import Annotated, TypeAlias, TypedDict

from calltriage.leaves.gate import compact
from calltriage.leaves.strict_json import JsonObject, is_array, is_object
from calltriage.operations.activity import TimelineEntry
from calltriage.operations.sessions import AgentSession
from calltriage.server.answers.results import row
from calltriage.server.answers.shapes import Shown

TOLD = frozenset({
    "type", "detail", "from_status", "to_status", "agent_session", "artifact", "created_at", "unreadable_fields",
})  # fmt: skip
"""Members of an entry that are shown."""
Session: TypeAlias = Annotated[AgentSession, Shown(without=frozenset({"agent_profile_id"}))]


class OfSession(TypedDict, total=False):
    """The session that an entry belongs to."""

    agent_session: Session


Entry: TypeAlias = Annotated[TimelineEntry, Shown(only=TOLD, beside=(OfSession,))]


def entry_row(entry: TimelineEntry) -> JsonObject:
    """An entry without what the issue says already."""
    shown = {name: value for name, value in row(entry).items() if name in TOLD}
    shown.get("agent_session", {}).pop("agent_profile_id", None)
    return shown


def in_texts(entry: JsonObject) -> JsonObject:
    """The entry made flat: members of its objects get names such as `artifact.payload`, so that each can be shown in part.
    Objects and lists in them are written as JSON."""
    flat = JsonObject()
    for name, value in entry.items():
        flat |= {f"{name}.{key}": one for key, one in value.items()} if is_object(value) else {name: value}
    return {name: compact(one) if is_object(one) or is_array(one) else one for name, one in flat.items()}
