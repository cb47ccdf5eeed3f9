"""The beginnings of an issue's calls, for evidence in which no flag shows their words."""

from __future__ import annotations

from calltriage.client.side_by_side import at_once
from calltriage.errors import TryNext
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.calls import Call
from calltriage.operations.resource_links import ResourceLink
from calltriage.server.answers.results import EACH, Bundle, untrusted
from calltriage.server.answers.sections import Section
from calltriage.server.context import numbered
from calltriage.server.tools.evidence_sections import Readings
from calltriage.server.tools.transcripts import GetTranscriptTool

MOST_CALLS = 12
"""Calls that are read for this; of others `omitted` has the number."""
NAMED = 5
"""Calls that are named in the advice to read on."""
NAME = "transcripts"


class FirstWords:
    """The beginnings of an issue's calls. They have a third of the budget and what the other sections leave."""

    def __init__(self, wanted: list[Section], flags: int) -> None:
        """`wanted`: the sections of the evidence, opened. `flags`: how many the issue has."""
        links = (link for one in wanted if one.name == "resources" for link in one.entries)
        calls = [link.resource_id for link in links if isinstance(link, ResourceLink) and link.resource_type == "call"]
        has_flags = flags > 0 or any(one.entries for one in wanted if one.name == "flags")
        self._calls: list[str] = [] if has_flags else calls
        self._kept = 0

    def reserve(self, bundle: Bundle) -> None:
        """Keep room for them while the other sections are filled."""
        if self._calls and bundle.keeps(EACH + 30 * NAMED) and bundle.keeps(third := bundle.left // 3):
            self._kept = third

    async def fill(self, bundle: Bundle, readings: Readings) -> None:
        """Show as much of each call from its beginning as its share has room for, and say which go on, and how."""
        if not self._calls:
            return
        bundle.left += self._kept
        names = self._calls[:MOST_CALLS]
        calls = await at_once(*(readings.call(name) for name in names))
        read = [(name, call) for name, call in zip(names, calls, strict=True) if call is not None]
        items, on = list[JsonObject](), self._calls[MOST_CALLS:]
        for n, (name, call) in enumerate(read):
            share = bundle.left // (len(read) - n)
            entry = _beginning(bundle, name, call, bundle.left - share)
            items += [entry] if entry["turns"] else []
            on += [name] if len(entry["turns"]) < entry["turns_in_call"] else []
        bundle.body[NAME] = untrusted("call parties", items=items)
        if on:
            more = {"call_id": on[0]} if len(on) == 1 else {"call_ids": on[:NAMED]}
            bundle.lacks(NAME, len(on), try_next=TryNext(tool=GetTranscriptTool.tool_name(), arguments=more))


def _beginning(bundle: Bundle, call_id: str, call: Call, spare: int) -> JsonObject:
    turns, shown = call.transcripts or [], list[JsonObject]()
    entry: JsonObject = {"call_id": call_id, "turns_in_call": len(turns), "turns": shown}
    if not bundle.affords(entry, spare):
        return entry
    for n, turn in enumerate(turns):
        if not bundle.affords(one := numbered(n, turn, call.began), spare):
            break
        shown.append(one)
    return entry
