"""Finding calls by what they were and by words that were said in them.

A desk searches its transcripts by itself. A vendor's list cannot, so the calls of its list are read one after the other,
within a bound, and the answer says how many of how many were read.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import anyio
from anyio import to_thread
from pydantic import AfterValidator, Field, StringConstraints, WithJsonSchema

from calltriage.client.limits import deadline_in
from calltriage.client.side_by_side import at_once
from calltriage.errors import CallError, Rejected
from calltriage.leaves.strict_json import JsonObject
from calltriage.matching.search_terms import without_edges
from calltriage.matching.spoken_search import Words, said, shown_turns, words_of
from calltriage.matching.telephone import dialled
from calltriage.operations.base import Effect
from calltriage.operations.calls import Call, Day, GetCall, ListCalls, SearchCalls, ShortWord, Turn, Zone
from calltriage.operations.fields import A_CURSOR, LONGEST_CURSOR, Form, Limit, OpaqueId, Word
from calltriage.server.answers.counted_lists import ROWS, brief_row, page_of
from calltriage.server.answers.empty import NO_CALLS, said_of_nothing
from calltriage.server.answers.found_calls import CallFacts, CallRows
from calltriage.server.answers.results import REPEATS, ended, in_part
from calltriage.server.answers.shapes import as_declared
from calltriage.server.context import Invocation, Workflow
from calltriage.server.tools.call_holders import with_issues
from calltriage.server.tools.call_lists import Asked, Listed, Side, lists_of, merged, on
from calltriage.server.tools.nothing_said import Nothing, nothing_read, why_nothing
from calltriage.server.tools.transcripts import Query

MOST_READ = 60
"""Transcripts that one answer asks a vendor for. Those that are kept here do not count."""
MOST_LISTED = 100
"""Calls of a vendor's that one answer looks through."""
AT_A_TIME = 12
"""Transcripts that are asked for together before they are searched."""
SPARE_S = 8.0
"""Seconds of the deadline, at most, that are kept for the last transcripts to arrive."""
COLUMNS = tuple(CallFacts.__annotations__)
OURS = {"query", "speaker", "number", "time_zone", "limit", "cursor"}
"""Arguments that are not passed on to a list of calls under their names."""


def _briefly(longest: int) -> WithJsonSchema:
    """The schema of a text without its pattern, which costs an agent many tokens. The arguments are still checked."""
    return WithJsonSchema({"type": "string", "maxLength": longest})


ShortDay = Annotated[Day, _briefly(40)]
ShortZone = Annotated[Zone, _briefly(64)]
Telephone = Annotated[ShortWord, AfterValidator(dialled)]
Place = Annotated[
    str, StringConstraints(max_length=LONGEST_CURSOR), Form(r"^[A-Za-z0-9._-]+$", A_CURSOR), _briefly(LONGEST_CURSOR)
]


class FindCallsTool(Workflow, effect=Effect.READ):
    """Find calls by day, number, batch, minutes, inbound or not, or by what the call was about: words or a phrase said in
    it. Newest first.

    With query, rows show the turns. To read a call use get_transcript. SMS are listed elsewhere.
    """

    result: ClassVar[object] = CallRows

    query: Query | None = Field(default=None, description="All words, any order; phrases in quotes.")
    speaker: Annotated[Word, StringConstraints(max_length=64)] | None = Field(
        default=None, description="Who says them: caller, agent, a name."
    )
    start_date: ShortDay | None = Field(default=None, description="YYYY-MM-DD or instant.")
    end_date: ShortDay | None = Field(default=None, description="Included.")
    time_zone: ShortZone | None = Field(default=None, description="IANA; default UTC.")
    number: Telephone | None = Field(default=None, description="Of either side.")
    from_number: Telephone | None = None
    to_number: Telephone | None = None
    inbound: bool | None = None
    completed: bool | None = None
    answered_by: ShortWord | None = None
    batch_id: OpaqueId | None = None
    duration_gt: Annotated[float, Field(ge=0, le=10**6)] | None = Field(default=None, description="Minutes.")
    duration_lt: Annotated[float, Field(ge=0, le=10**6)] | None = Field(default=None, description="Minutes.")
    ascending: bool | None = Field(default=None, description="Not with query.")
    limit: Limit = Field(default=ROWS, description=f"Rows, default {ROWS}.")
    cursor: Place | None = Field(default=None, description="next_cursor of the page before.")

    async def run(self, work: Invocation) -> JsonObject:
        if self.speaker is not None and self.query is None:
            raise Rejected("Pass query besides: speaker says whose words they are.", field="speaker")
        if self.number is not None and (self.from_number, self.to_number) != (None, None):
            raise Rejected("number means either side: pass it alone, or from_number and to_number.", field="number")
        self._refuse_empty_ranges()
        if self.query is None:
            body = await self._list(work)
        else:
            if self.ascending:
                raise Rejected("A search by words is newest first. Leave ascending out.", field="ascending")
            words = words_of(without_edges(self.query))
            if not words.texts:
                raise Rejected("Pass words to find.", field="query")
            body = await (self._search(work) if work.server.client.triage.searches_calls else self._read(work, words))
        if work.goes_round(self, self.cursor, _ids(body["items"]), body.get("next_cursor")):
            body = ended(body, REPEATS)
        if body["items"] and not work.server.client.triage.searches_calls:
            body = await with_issues(work, body)
        return body | self._days()

    def _refuse_empty_ranges(self) -> None:
        """Filters that no call can meet are a slip; an empty answer would read as if there were no calls."""
        days = [day for day in (self.start_date, self.end_date) if day is not None and len(day) == len("YYYY-MM-DD")]
        if len(days) > 1 and days[0] > days[1]:
            raise Rejected("start_date is after end_date. Pass the earlier day as start_date.", field="start_date")
        if self.duration_gt is not None and self.duration_lt is not None and self.duration_gt >= self.duration_lt:
            raise Rejected("No call is longer than duration_gt and shorter than duration_lt.", field="duration_gt")

    def _filters(self) -> JsonObject:
        zone = {} if self.time_zone is None else {"timezone": self.time_zone}
        return self.model_dump(exclude=OURS, exclude_none=True) | zone

    def _days(self) -> JsonObject:
        """`days`: how start_date and end_date were understood."""
        if self.start_date is None and self.end_date is None:
            return {}
        return {"days": f"Both ends included, in {self.time_zone or 'UTC'}."}

    async def _search(self, work: Invocation) -> JsonObject:
        """The answer of a desk, which has an index of what was said."""
        ours = {"query": without_edges(self.query or ""), "speaker": self.speaker, "number": self.number}
        newest_first: JsonObject = {"ascending": None}  # a search has no other order
        asked = {**self._filters(), **ours, **newest_first, "limit": self.limit, "cursor": self.cursor}
        search = SearchCalls.model_validate({k: v for k, v in asked.items() if v is not None})
        found = await work.server.client.send(search)
        rows = [_row(call.model_dump(mode="json", exclude_none=True)) for call in found.calls]
        lost = found.unreadable_rows("calls")
        body = page_of(rows, 0, None, "call parties", lost=lost)
        body.pop("next_cursor", None)
        kept = body["returned"]
        if kept < len(rows):  # asked again for a shorter page, whose cursor goes on where this one was cut
            return await self.model_copy(update={"limit": max(1, kept)})._search(work)
        body["complete"] = found.next_cursor is None and not lost
        body["searched"] = {"scope": "every transcript on the desk, within the filters"}
        if found.next_cursor is not None:
            body["next_cursor"] = found.next_cursor
            if len(rows) + len(lost) < self.limit:
                body["note"] = in_part("calls")
        elif not rows and self.cursor is None and not lost:
            nothing = await why_nothing(work, search)
            body["note"] = nothing.note
            body["searched"] |= _near(nothing)
        return body

    async def _list(self, work: Invocation) -> JsonObject:
        """A page of the list; of several lists, where a number may stand on either side."""
        lists = self._lists(work)
        if len(lists) > 1:
            listed, sides = await self._merged(work, lists, self.limit)
            rows = [_row(one.call.model_dump(mode="json")) for one in listed]
            body = page_of(rows, 0, None, "call parties")
            body.pop("next_cursor", None)
            lost = sum(side.lost for side in sides)
            nothing = {} if rows or lost or self.cursor else self._nothing()
            return body | on(sides, listed[: body["returned"]]) | ({"unreadable": lost} if lost else {}) | nothing
        first = self._firsts(1)[0]
        found = await work.server.client.send(
            ListCalls.model_validate({"from": first, "limit": self.limit, **self._filters()})
        )
        rows = [_row(call.model_dump(mode="json")) for call in found.calls[: self.limit]]
        lost = found.unreadable_rows("calls")
        seen = len(rows) + len(lost)
        total = first + seen if found.total_count is None and seen < self.limit else found.total_count
        page = page_of(rows, first, total, "call parties", lost=lost)
        return page | ({} if seen or first else self._nothing())

    def _nothing(self) -> JsonObject:
        """What an empty list says."""
        number = {} if self.number is None else {"number": self.number}
        return said_of_nothing(self.tool_name(), self._filters() | number, NO_CALLS)

    def _lists(self, work: Invocation) -> list[dict[str, str]]:
        """The numbers by which each of the lists is narrowed that together hold the calls. A desk finds every form of a
        number."""
        has_forms = not work.server.client.triage.searches_calls
        return lists_of(self.number, self.from_number, self.to_number, has_forms=has_forms)

    async def _merged(
        self, work: Invocation, lists: list[dict[str, str]], limit: int
    ) -> tuple[list[Listed], list[Side]]:
        asked = Asked(self._filters(), lists, is_ascending=bool(self.ascending))
        return await merged(work.server.client, asked, self._firsts(len(lists)), limit)

    def _firsts(self, lists: int) -> list[int]:
        """The places from which each list is read. Raises Rejected for a cursor of another search."""
        parts = ["0"] * lists if self.cursor is None else self.cursor.split(".")
        if len(parts) != lists or not all(part.isdecimal() and len(part) <= 7 for part in parts):
            raise Rejected(f"cursor: {A_CURSOR}.", field="cursor")
        return list(map(int, parts))

    async def _read(self, work: Invocation, words: Words) -> JsonObject:
        """A search where the API cannot search words: transcripts of listed calls are read and searched, as many as there is
        time for."""
        listed, sides = await self._merged(work, self._lists(work), MOST_LISTED)
        ends = deadline_in(work.server.client.deadline_s)
        ends -= min(SPARE_S, (ends - anyio.current_time()) / 3)
        look = _Look(words, self.speaker, self.limit)
        while (size := look.next_size(len(listed))) > 0 and anyio.current_time() < ends:
            some = listed[look.seen : look.seen + size]
            look.take(some, await at_once(*(_said_in(work, one.call) for one in some)))
            await work.progress(look.seen, len(listed), "reading transcripts")
        body = page_of(look.found, 0, None, "call parties")
        body.pop("next_cursor", None)
        seen = look.place_after(int(body["returned"]))  # what did not fit is found again behind the cursor
        further = on(sides, listed[:seen])
        known = [side.total for side in sides if side.total is not None]
        of = {"calls_listed": sum(known)} if len(known) == len(sides) else {}
        told: JsonObject = {"calls_read": look.seen - look.unread, **of}
        if look.kept:
            told["of_these_kept_here"] = look.kept
        if unread := look.unread + sum(side.lost for side in sides):
            told["unreadable"] = unread
            further["complete"] = False
        notes = ["This API cannot search words, so transcripts were read, the newest first."]
        if not look.found and look.others:
            nothing = await to_thread.run_sync(nothing_read, self.query or "", look.others)
            notes.append(nothing.note)
            told |= _near(nothing)
        if "next_cursor" in further:
            notes.append("Pass next_cursor to read on.")
        return body | further | {"searched": told, "note": " ".join(notes)}


@dataclass
class _Look:
    """A search through listed calls in order, as far as it has come.

    Attributes:
        seen: number of listed calls that were looked at.
        asked: number of these that the API was asked for.
        kept: number of these whose transcripts were kept from an earlier search.
        unread: number of these that could not be read.
        others: turns of calls that do not hold the words; collected until a call does.
    """

    words: Words
    speaker: str | None
    most: int
    found: list[JsonObject] = field(default_factory=list[JsonObject])
    seen: int = 0
    asked: int = 0
    kept: int = 0
    unread: int = 0
    others: list[str] = field(default_factory=list[str])
    _ends_at: list[int] = field(default_factory=list[int])

    def next_size(self, listed: int) -> int:
        """How many calls to look at next; 0 or less if enough were found or read."""
        return min(AT_A_TIME, self.most - len(self.found), MOST_READ - self.asked, listed - self.seen)

    def take(self, rows: list[Listed], read: Sequence["_Said | None"]) -> None:
        for row, said_in in zip(rows, read, strict=True):
            self.seen += 1
            self.asked += said_in is None or not said_in.was_kept
            if said_in is None:
                self.unread += 1
                continue
            self.kept += said_in.was_kept
            if (held := said(said_in.turns, self.words, self.speaker)) is not None:
                facts = row.call.model_dump(mode="json") | {"matches": len(held.turns)}
                self.found.append(_row(facts | {"turns": shown_turns(said_in.turns, held)}))
                self._ends_at.append(self.seen)
            elif not self.found:
                self.others += [turn.text for turn in said_in.turns]

    def place_after(self, shown: int) -> int:
        """The place in the list to read on from, if the first `shown` of the calls found are shown."""
        return self.seen if shown == len(self.found) else self._ends_at[shown - 1]


def _near(nothing: Nothing) -> JsonObject:
    return {"near_words": nothing.near_words} if nothing.near_words else {}


def _ids(rows: list[JsonObject]) -> list[str]:
    return [row["call_id"] for row in rows if "call_id" in row]


def _row(facts: JsonObject) -> JsonObject:
    """A call in brief, with the turns that hold the words of a search."""
    turns = facts.get("turns")
    return brief_row(as_declared(facts, CallFacts), COLUMNS) | ({"turns": turns} if turns else {})


@dataclass(frozen=True)
class _Said:
    """The turns of a call, and whether they were kept here."""

    turns: list[Turn]
    was_kept: bool


async def _said_in(work: Invocation, listed: Call) -> _Said | None:
    """What was said in a listed call; None where it cannot be read."""
    kept = work.server.client.triage.transcripts
    if kept is not None and (turns := await kept.turns_of(listed)) is not None:
        return _Said(turns, was_kept=True)
    try:
        call = await work.server.client.send(GetCall(call_id=listed.call_id))
    except CallError:
        return None
    if kept is not None:
        await kept.keep(listed, call)
    return _Said(call.transcripts or [], was_kept=False)
