"""What an issue's evidence is read from: its lists, the turns at its flags, and the files among what is attached."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from pydantic import ValidationError

from calltriage.client.client import Client
from calltriage.client.side_by_side import at_once
from calltriage.errors import CallError, NotFound, TryNext
from calltriage.leaves.gate import storable
from calltriage.leaves.strict_json import JsonObject
from calltriage.matching.quotes import around
from calltriage.operations.activity import ListActivity, TimelineEntry
from calltriage.operations.attachments import GetAttachment
from calltriage.operations.base import Operation
from calltriage.operations.calls import Call, GetCall
from calltriage.operations.fields import is_opaque_id
from calltriage.operations.flags import Flag, ListFlags
from calltriage.operations.relations import ListRelations, Relation
from calltriage.operations.resource_links import ListResources, ResourceLink
from calltriage.server.answers.activity_entries import entry_row, in_texts
from calltriage.server.answers.evidence_shown import FLAG_DROPS, RELATION_DROPS, RESOURCE_DROPS
from calltriage.server.answers.results import Bundle, beginning, row
from calltriage.server.answers.sections import Place, Section
from calltriage.server.context import numbered
from calltriage.server.tools import calls
from calltriage.server.tools.transcripts import GetTranscriptTool

R = TypeVar("R")

LONGEST_TURN = 1_000
"""Characters of a turn that are shown at first. More follow if there is room once all sections are filled."""
MOMENT = 200
"""Characters of a flagged moment that each part of a long flag shows."""
TWO_SERVICES = (
    "The file is the issues' service's own, and no documented request of that reads a file. The attachment tools reach "
    "another service."
)
"""Why the bytes of a file that is evidence cannot be had where files and issues are kept apart."""
NEIGHBOURS = 1
"""Turns shown before and after a flagged one."""


class Readings:
    """Reads what sections show besides their lists: the turns at flags, and files. Of a call only the turns at the flags of
    a page are kept."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.failed: dict[str, str] = {}
        """Code of the error by the id of what could not be read."""
        self._turns: dict[tuple[str, int | None], list[JsonObject]] = {}
        """Turns at a flag, whole, by the call and the turn that it points at."""
        self._moments: dict[str, str] = {}
        """The words that were flagged, by the flag."""

    def sections(self, place: Place) -> tuple[Section, ...]:
        """Every section of an issue's evidence, in order, each to be read from this place on."""
        return (
            Section(
                "flags",
                "flag authors and call parties",
                replace(place),
                ListFlags,
                self._flags,
                "flag_count",
                gaps=_cut_turns,
                elsewhere=_around_flag,
                moment=self._moment,
            ),
            Section(
                "resources",
                "the evidence itself",
                replace(place),
                ListResources,
                self._resources,
                "resource_count",
                elsewhere=_evidence_itself,
            ),
            Section("relations", "issue authors", replace(place), ListRelations, _relations, "relation_count"),
            Section("activity", "issue authors and agents", replace(place), ListActivity, _entries, in_texts=in_texts),
        )

    async def _flags(self, flags: list[Flag], page: list[Flag]) -> list[JsonObject | None]:
        at_turns = [flag for flag in flags if flag.message_index is not None and _key(flag) not in self._turns]
        unread = [call_id for call_id in dict.fromkeys(flag.call_id for flag in at_turns) if call_id not in self.failed]

        async def look(call_id: str) -> None:
            call = await self.call(call_id)
            if call is None:
                return
            for flag in page:
                if flag.call_id == call_id and flag.message_index is not None:
                    self._turns[_key(flag)] = _around(flag.message_index, call)

        await at_once(*(look(call_id) for call_id in unread))
        return [self._flag(flag) for flag in flags]

    def _flag(self, flag: Flag) -> JsonObject:
        """A flag with the turn it points at and its neighbours."""
        body = {key: value for key, value in row(flag).items() if key not in FLAG_DROPS | {"message_text"}}
        moment = self._moments[flag.id] = flag.message_text or ""
        turns = self._turns.get(_key(flag), [])
        at = next((turn["text"].find(moment) for turn in turns if turn["message_index"] == flag.message_index), -1)
        if turns:
            body["turns"] = [
                _cut(turn, at if turn["message_index"] == flag.message_index else 0, len(moment)) for turn in turns
            ]
        if moment and at < 0:  # the call cannot be read, or has other words
            body["message_text"] = moment
        if unverified := self._unverified(flag, turns):
            body["unverified"] = unverified
        return body

    def _unverified(self, flag: Flag, turns: list[JsonObject]) -> list[str]:
        """Fields of a flag that its call's transcript does not confirm; empty if the call could not be read."""
        if flag.call_id in self.failed:
            return []
        said = next((storable(turn["text"]) for turn in turns if turn["message_index"] == flag.message_index), None)
        beyond = ["message_index"] if flag.message_index is not None and said is None else []
        return beyond + (["message_text"] if (flag.message_text or "") not in (said or "") else [])

    def _moment(self, entry: JsonObject) -> JsonObject:
        """The beginning of the words that were flagged, for where the turns around them do not fit."""
        words = self._moments.get(entry["id"], "")[:MOMENT]
        return {"moment": {"text": words}} if words and "turns" in entry else {}

    def show_whole_turns(self, entries: list[JsonObject], bundle: Bundle) -> None:
        """Show whole the turns that were cut in these entries, as far as there is still room."""
        for flag in (entry for entry in entries if "turns" in entry):
            for turn, whole in zip(flag["turns"], self._turns[flag["call_id"], flag["message_index"]], strict=True):
                if "characters_left_out" in turn and bundle.affords(whole["text"][len(turn["text"]) :]):
                    turn["text"] = whole["text"]
                    del turn["characters_left_out"]
                    turn.pop("offset", None)

    async def _resources(self, links: list[ResourceLink], _page: list[ResourceLink]) -> list[JsonObject | None]:
        """Rows of what is attached. That of a file has its attachment, or says why its bytes cannot be read."""
        files = await at_once(*(self._file(link) for link in links))
        rows = ({name: value for name, value in row(link).items() if name not in RESOURCE_DROPS} for link in links)
        return [one | file for one, file in zip(rows, files, strict=True)]

    async def _file(self, link: ResourceLink) -> JsonObject:
        if link.resource_type != "file":
            return {}
        if not self.client.shares_ids:  # another service's file may have the same id
            return {"no_bytes": TWO_SERVICES}
        found = await self._if_there(link.resource_id, lambda: GetAttachment(attachment_id=link.resource_id))
        if found is None:
            return {"no_bytes": f"The file cannot be read: {self.failed[link.resource_id]}."}
        return {"attachment": row(found)}

    async def call(self, call_id: str) -> Call | None:
        """A call with its turns; None if it cannot be read, with the reason in `failed`."""
        return await self._if_there(call_id, lambda: GetCall(call_id=call_id))

    async def _if_there(self, name: str, asked: Callable[[], Operation[R]]) -> R | None:
        """The answer; None, with the reason in `failed`, if the thing is gone or forbidden, or if its id has a form that is
        not sent. Evidence outlives its source: what is missing must not fail the whole bundle."""
        try:
            return await self.client.send(asked())
        except CallError as error:
            self.failed[name] = error.code
        except ValidationError:
            self.failed[name] = NotFound.default_code
        return None


async def _relations(items: list[Relation], _page: list[Relation]) -> list[JsonObject | None]:
    return [{name: value for name, value in row(item).items() if name not in RELATION_DROPS} for item in items]


async def _entries(items: list[TimelineEntry], _page: list[TimelineEntry]) -> list[JsonObject | None]:
    return [entry_row(item) for item in items]


def _key(flag: Flag) -> tuple[str, int | None]:
    return flag.call_id, flag.message_index


def _around(index: int, call: Call) -> list[JsonObject]:
    """The turn at an index and its neighbours; empty if the call has no such turn."""
    turns = call.transcripts or []
    if not 0 <= index < len(turns):
        return []
    near = range(max(0, index - NEIGHBOURS), min(index + NEIGHBOURS + 1, len(turns)))
    return [numbered(n, turns[n], call.began) for n in near]


def _cut(turn: JsonObject, at: int, length: int) -> JsonObject:
    """A turn with no more than LONGEST_TURN characters of its text: its beginning, or those around a moment behind that."""
    if at + length <= LONGEST_TURN:
        return beginning(turn, "text", LONGEST_TURN)
    return {**turn, **around(turn["text"], at, LONGEST_TURN)}


def _behind(turn: JsonObject) -> dict[str, int]:
    """`offset` to read a cut turn from: behind the beginning that is shown; empty if its middle is shown, to read all."""
    return {} if "offset" in turn else {"offset": len(turn["text"])}


def _cut_turns(flag: JsonObject) -> list[JsonObject]:
    """What is left out of a flag's turns, each with the call that reads on."""
    return [
        {
            "section": f"text of turn {turn['message_index']}",
            "left_out": turn["characters_left_out"]["text"],
            "try_next": _turns(flag, turn["message_index"], turn["message_index"], **_behind(turn)),
        }
        for turn in flag.get("turns", ())
        if "characters_left_out" in turn
    ]


def _around_flag(flag: JsonObject) -> TryNext | None:
    """The call that reads the turns at a flag; None if the flag shows no turns."""
    turns = flag.get("turns")
    return _turns(flag, turns[0]["message_index"], turns[-1]["message_index"]) if turns else None


def _evidence_itself(link: JsonObject) -> TryNext | None:
    """The call that shows the evidence of a row itself: the call, or the file's attachment. None for anything else."""
    if not is_opaque_id(link["resource_id"]):
        return None
    if link["resource_type"] == "call":
        return TryNext(tool=calls.GetCallTool.tool_name(), arguments={"call_id": link["resource_id"]})
    if "attachment" in link:
        return TryNext(tool=GetAttachment.tool_name(), arguments={"attachment_id": link["resource_id"]})
    return None


def _turns(flag: JsonObject, first: int, last: int, **more: object) -> TryNext:
    window = {"call_id": flag["call_id"], "from": first, "to": last, **more}
    return TryNext(tool=GetTranscriptTool.tool_name(), arguments=window)
