"""The sections of an evidence bundle. Each reads its list no further than it may show, and knows from where the rest is
read."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from pydantic import ValidationError

from calltriage.client.client import Client
from calltriage.errors import CallError, NotFound
from calltriage.operations.activity import ListActivity
from calltriage.operations.attachments import GetAttachment
from calltriage.operations.base import Operation, Page, Result
from calltriage.operations.calls import Call, GetCall
from calltriage.operations.flags import Flag, ListFlags
from calltriage.operations.issues import Issue
from calltriage.operations.relations import ListRelations
from calltriage.operations.resources import ListResources, ResourceLink
from calltriage.server.results import Bundle, row, untrusted
from calltriage.server.text import estimate_tokens
from calltriage.server.work import AT_ONCE, at_once, numbered

R = TypeVar("R")

LONGEST_TURN = 1_000
"""Characters of a turn that evidence shows."""
NEIGHBOURS = 1
"""Turns shown before and after a flagged one."""
PAGES = 20
"""Pages that one section reads for one answer."""
PLACE = re.compile(r"([0-9]{1,7})\.([0-9]{1,7})\.(.{0,512})")


@dataclass
class Place:
    """Where a section goes on.

    Attributes:
        seen: entries before it, over all pages.
        skip: entries before it on its page.
        cursor: the API's cursor of its page; None for the first.
    """

    seen: int = 0
    skip: int = 0
    cursor: str | None = None

    def __str__(self) -> str:
        return f"{self.seen}.{self.skip}.{self.cursor or ''}"

    @classmethod
    def named(cls, text: str | None) -> Place:
        """The place that `str` of it stands for; the beginning for None. Raises ValueError for anything else."""
        if text is None:
            return cls()
        found = PLACE.fullmatch(text)
        if found is None:
            raise ValueError("no place")
        return cls(int(found[1]), int(found[2]), found[3] or None)


@dataclass
class Section:
    """One section while it is filled.

    Attributes:
        name: of the section.
        origin: whose words its entries hold.
        operation: what lists it.
        present: makes entries into what is shown of them, None for one that cannot be read; gets some entries and all
            of their page.
        place: of the next entry.
        count: field of the issue that says how many entries there are, if one does.
        belongs: whether an item of the list is an entry of this section.
    """

    name: str
    origin: str
    operation: Callable[..., Operation[Any]]
    present: Callable[[list[Any], list[Any]], Awaitable[list[dict[str, Any] | None]]]
    place: Place
    count: str | None = None
    belongs: Callable[[Any], bool] = lambda _: True
    shown: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    ended: bool = False
    _items: list[Any] = field(default_factory=list[Any])
    _next: str | None = None
    _total: int = 0
    _ready: list[dict[str, Any] | None] = field(default_factory=list["dict[str, Any] | None"])

    def open(self, page: Page[Any], issue: Issue) -> None:
        """Take the page on which `place` is."""
        self._total = getattr(issue, self.count) if self.count else 0
        self._items, self._next = [item for item in page.items if self.belongs(item)], page.next_cursor

    async def fill(self, bundle: Bundle, *, spare: int = 0) -> None:
        """Show entries of the page in order, until one does not fit or the page ends. `spare` tokens are left over."""
        while True:
            while self._ready:
                entry = self._ready[0]
                if entry is not None:
                    if not bundle.affords(entry, spare):
                        return
                    self.shown.append(entry)
                self._pass()
            batch = self._items[self.place.skip : self.place.skip + AT_ONCE]
            if not batch:
                self.ended = self._next is None
                return
            self._ready = await self.present(batch, self._items)

    async def fill_on(self, bundle: Bundle, client: Client, listed: dict[str, Any], issue: Issue) -> None:
        """Show entries over as many pages as fit."""
        for _ in range(PAGES):
            await self.fill(bundle)
            after = self._next
            if self._ready or after is None or after == self.place.cursor or not bundle.keeps(estimate_tokens(after)):
                return
            page: Page[Any] = await client.send(self.operation(**listed, cursor=after))
            self.place = Place(self.place.seen, 0, after)
            self.open(page, issue)

    def waiting(self) -> dict[str, Any] | None:
        """The entry that did not fit."""
        return self._ready[0] if self._ready else None

    def show(self, entry: dict[str, Any]) -> None:
        """Show this in the place of the entry that did not fit."""
        self.shown.append(entry)
        self._pass()

    def _pass(self) -> None:
        self._ready = self._ready[1:]
        self.place.skip += 1
        self.place.seen += 1

    def left_out(self) -> int | None:
        """Entries after `place`; None where nobody has said how many there are."""
        if self._next is None:
            return len(self._items) - self.place.skip
        return self._total - self.place.seen if self._total > self.place.seen else None

    def body(self) -> dict[str, Any]:
        return untrusted(self.origin, items=self.shown)


class Readings:
    """What sections read besides their lists: the turns at flags, and files. Of a call no more is kept than the flags of a
    page show."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.failed: dict[str, str] = {}
        """Codes of the errors, by what could not be read."""
        self._turns: dict[tuple[str, int], list[dict[str, Any]]] = {}

    def sections(self, place: Place) -> tuple[Section, ...]:
        """Every section of an issue's evidence, in order, each to be read from this place on."""
        return (
            Section("flags", "flag authors and call parties", ListFlags, self._flags, replace(place), "flag_count"),
            Section("resources", "the evidence itself", ListResources, _briefly, replace(place), "resource_count"),
            Section("relations", "issue authors", ListRelations, _briefly, replace(place), "relation_count"),
            Section("attachments", "the uploader", ListResources, self._files, replace(place), belongs=_is_file),
            Section("activity", "issue authors and agents", ListActivity, _entries, replace(place)),
        )

    async def _flags(self, flags: list[Flag], page: list[Flag]) -> list[dict[str, Any] | None]:
        at_turns = [flag for flag in flags if flag.message_index is not None and _key(flag) not in self._turns]
        unread = [call_id for call_id in dict.fromkeys(flag.call_id for flag in at_turns) if call_id not in self.failed]

        async def look(call_id: str) -> None:
            call = await self._if_there(call_id, lambda: GetCall(call_id=call_id))
            if call is None:
                return
            for flag in page:
                if flag.call_id == call_id and flag.message_index is not None:
                    self._turns[_key(flag)] = _around(flag.message_index, call)

        await at_once(*(look(call_id) for call_id in unread))
        return [self._flag(flag) for flag in flags]

    def _flag(self, flag: Flag) -> dict[str, Any]:
        """A flag with the turn it points at and its neighbours."""
        body = {key: value for key, value in row(flag).items() if key not in {"issue_id", "author_id", "message_text"}}
        if turns := self._turns.get(_key(flag)):
            body["turns"] = turns
        elif flag.message_text:
            body["message_text"] = flag.message_text
        return body

    async def _files(self, links: list[Any], _page: list[Any]) -> list[dict[str, Any] | None]:
        found = await at_once(
            *(
                self._if_there(link.resource_id, lambda link=link: GetAttachment(attachment_id=link.resource_id))
                for link in links
            )
        )
        return [None if one is None else row(one) for one in found]

    async def _if_there(self, name: str, asked: Callable[[], Operation[R]]) -> R | None:
        """The thing, or None with the reason kept: it may be gone, forbidden, or known to the other vendor under an id that
        we would not send. Evidence outlives its source, so that no neighbour may spoil the bundle."""
        try:
            return await self.client.send(asked())
        except CallError as error:
            self.failed[name] = error.code
        except ValidationError:
            self.failed[name] = NotFound.default_code
        return None


def _is_file(link: ResourceLink) -> bool:
    return link.resource_type == "file"


async def _briefly(items: list[Result], _page: list[Result]) -> list[dict[str, Any] | None]:
    """Rows, without what the issue says already."""
    dropped = {"attached_by_id", "created_by_id"}
    if items and "resource_id" in type(items[0]).model_fields:
        dropped.add("issue_id")
    return [{key: value for key, value in row(item).items() if key not in dropped} for item in items]


async def _entries(items: list[Result], _page: list[Result]) -> list[dict[str, Any] | None]:
    told = ("type", "detail", "from_status", "to_status", "created_at")
    return [{key: value for key, value in row(item).items() if key in told} for item in items]


def _key(flag: Flag) -> tuple[str, int]:
    return flag.call_id, -1 if flag.message_index is None else flag.message_index


def _around(index: int, call: Call) -> list[dict[str, Any]]:
    """The turn at an index and its neighbours; none where the call has no such turn."""
    turns = call.transcripts or []
    if index >= len(turns):
        return []
    return [
        _in_brief(numbered(n, turns[n]))
        for n in range(max(0, index - NEIGHBOURS), min(index + NEIGHBOURS + 1, len(turns)))
    ]


def _in_brief(turn: dict[str, Any]) -> dict[str, Any]:
    """A turn as evidence shows it; of a very long one the beginning, and how many characters get_transcript has more."""
    more = len(turn["text"]) - LONGEST_TURN
    return turn if more <= 0 else {**turn, "text": turn["text"][:LONGEST_TURN], "characters_left_out": {"text": more}}
