"""Answers that have sections. A section shows as much as fits the budget. Its cursor goes on from there, even inside an
entry, until every character was shown."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import StringConstraints

from calltriage.client.client import Client
from calltriage.client.side_by_side import AT_ONCE
from calltriage.errors import Rejected, TryNext
from calltriage.leaves.gate import estimate_tokens
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.base import Operation
from calltriage.operations.fields import LONGEST_CURSOR, TEXT
from calltriage.operations.results import Page, is_page
from calltriage.server.answers.results import BUDGET, MOST, Bundle, untrusted

PAGE = 100
"""Entries of a page. Always the same number, because a Place counts within a page."""
PAGES = 20
"""Pages that one section reads for one answer."""
NAME = 64
"""Texts of up to so many characters are shown whole; longer ones may be shown in parts."""
PLACE = re.compile(r"([0-9]{1,7})\.([0-9]{1,7})(?:\+([0-9]{1,9}))?\.(.*)")

Where = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_CURSOR + 28), TEXT]
"""A place in a section: see Place."""


@dataclass
class Place:
    """Where a section goes on.

    Attributes:
        seen: entries before it, over all pages.
        skip: entries before it on its page.
        cursor: the API's cursor of its page; None for the first.
        inside: characters of its first entry that were shown already; see portion.
    """

    seen: int = 0
    skip: int = 0
    cursor: str | None = None
    inside: int = 0

    def __str__(self) -> str:
        inside = f"+{self.inside}" if self.inside else ""
        return f"{self.seen}.{self.skip}{inside}.{self.cursor or ''}"

    @classmethod
    def named(cls, text: str | None) -> Place:
        """The place that `str` of it stands for; the beginning for None. Raises ValueError for anything else."""
        if text is None:
            return cls()
        found = PLACE.fullmatch(text)
        if found is None:
            raise ValueError("no place")
        return cls(int(found[1]), int(found[2]), found[4] or None, int(found[3] or 0))


def portion(entry: JsonObject, first: int, last: int) -> JsonObject:
    """An entry with the characters `first` to `last` of its long texts, counted over all of them in order.

    Ids, short texts and other values stay. `characters_before` and `characters_left_out` say by a text's name how many of
    its characters are missing before and after.
    """
    shown, before, after, start = JsonObject(), dict[str, int](), dict[str, int](), 0
    for name, value in entry.items():
        if not _is_long(name, value):
            shown[name] = value
            continue
        begin, end = (min(max(0, place - start), len(value)) for place in (first, last))
        start += len(value)
        if begin < end:
            shown[name] = value[begin:end]
        if begin:
            before[name] = begin
        if end < len(value):
            after[name] = len(value) - end
    return shown | ({"characters_before": before} if before else {}) | ({"characters_left_out": after} if after else {})


def _is_long(name: str, value: object) -> bool:
    return isinstance(value, str) and len(value) > NAME and name != "id" and not name.endswith("_id")


def length(entry: JsonObject) -> int:
    """Characters of an entry's long texts."""
    return sum(len(value) for name, value in entry.items() if _is_long(name, value))


async def as_they_are(items: list[Any], _page: list[Any]) -> list[JsonObject | None]:
    """Rows, shown as they are."""
    return items


def _no_gaps(_entry: JsonObject) -> list[JsonObject]:
    return []


async def page_of(client: Client, asked: Operation[object]) -> Page[object]:
    """Send the operation that a section's entries come from."""
    page = await client.send(asked)
    if not is_page(page):
        raise TypeError(f"{asked.tool_name()} answers no page.")
    return page


@dataclass
class Section:
    """One section while it is filled.

    Attributes:
        name: of the section.
        origin: whose words its entries hold.
        place: of the next entry.
        operation: makes the operation that lists its entries.
        present: turns entries into what is shown of them, None for one that cannot be read; gets some entries and all
            of their page.
        count: field of the issue that says how many entries there are, if one does.
        gaps: entries of `omitted` for an entry that is shown.
        elsewhere: the call that shows the objects and lists in an entry; None if there is none.
        moment: what every part of an entry shows in place of the objects and lists in it.
        in_texts: turns an entry into the form that is shown in parts.
        goes_round: whether the page of a cursor repeats an earlier page.
        unreadable: places of rows, on their pages, that cannot be read.
        lost_cursor: whether the cursor of the next page cannot be read.
        repeats: whether a page repeats one before it.
        failed: code of the error because of which nothing of it can be shown; None if it was read.
    """

    name: str
    origin: str
    place: Place
    operation: Callable[..., Operation[object]]
    present: Callable[[list[Any], list[Any]], Awaitable[list[JsonObject | None]]] = as_they_are
    count: str | None = None
    gaps: Callable[[JsonObject], list[JsonObject]] = _no_gaps
    elsewhere: Callable[[JsonObject], TryNext | None] = lambda _: None
    moment: Callable[[JsonObject], JsonObject] = lambda _: {}
    in_texts: Callable[[JsonObject], JsonObject] = lambda entry: entry
    goes_round: Callable[[str | None, Page[Any]], bool] = lambda _cursor, _page: False
    shown: list[JsonObject] = field(default_factory=list[JsonObject])
    unreadable: list[int] = field(default_factory=list[int])
    lost_cursor: bool = False
    repeats: bool = False
    failed: str | None = None
    ended: bool = False
    _items: list[Any] = field(default_factory=list[Any])
    _known: set[tuple[Any, ...]] = field(default_factory=set[tuple[Any, ...]])
    _next: str | None = None
    _total: int = 0
    _ready: list[JsonObject | None] = field(default_factory=list["JsonObject | None"])

    def open(self, page: Page[object], total: int = 0) -> None:
        """Begin with the page on which `place` is. `total` is the number of entries, 0 if unknown. Raises Rejected if the
        list ends before `place`."""
        self._total = total or self._total
        self.repeats = self.goes_round(self.place.cursor, page)
        self._items = page.items
        self._next = None if self.repeats else page.next_cursor
        self.unreadable += page.unreadable_rows("items")
        self.lost_cursor = page.lost_cursor
        self._known |= page.identities
        if self.place.skip > len(self._items):
            raise Rejected("The list has ended before this cursor. Begin without it.", field="cursor")

    @property
    def entries(self) -> list[Any]:
        """The entries of the open page."""
        return self._items

    async def fill(self, bundle: Bundle, *, spare: int = 0) -> None:
        """Show entries of the page in order, until one does not fit or the page ends. `spare` tokens stay in the
        bundle."""
        while True:
            while self._ready:
                entry = self._ready[0]
                if entry is not None:
                    entry = self._from_inside(entry)
                    gaps = self.gaps(entry)
                    if not bundle.affords([entry, *gaps] if gaps else entry, spare):
                        return
                    self.shown.append(entry)
                self._pass()
            batch = self._items[self.place.skip : self.place.skip + AT_ONCE]
            if not batch:
                self.ended = self._next is None
                return
            self._ready = await self.present(batch, self._items)

    async def fill_on(self, bundle: Bundle, client: Client, listed: JsonObject) -> None:
        """Show entries of this and further pages, as many as fit. `listed` are the operation's arguments but the cursor."""
        for _ in range(PAGES):
            await self.fill(bundle)
            before, after = self.place.cursor, self._next
            if self._ready or after is None:
                return
            if after == before:  # otherwise the same page would be read forever
                self.ended = True
                bundle.lacks(f"{self.name} behind a cursor that repeats", 1)
                return
            self.place, self._items = Place(self.place.seen, 0, after), []
            if not bundle.keeps(max(0, estimate_tokens(after) - estimate_tokens(before or ""))):
                return
            page = await page_of(client, self.operation(**listed, cursor=after))
            if page.items and page.identities <= self._known:
                self._next, self.ended, self.repeats = None, True, True
                return
            self.open(page)

    def waiting(self) -> JsonObject | None:
        """The entry that did not fit; None if there is none."""
        return self._ready[0] if self._ready else None

    def _from_inside(self, entry: JsonObject) -> JsonObject:
        """The next entry without the part that was shown already."""
        if not self.place.inside:
            return entry
        entry = self.in_texts(entry)
        return portion(entry, self.place.inside, length(entry))

    def show_part(self, bundle: Bundle, entry: JsonObject) -> bool:
        """Show as much of the waiting entry's texts as fits. Returns whether some was shown and more is left. Objects and
        lists in it cannot be cut: they are shown after its texts."""
        plain = _without_nested(self.in_texts(entry))
        first, end = self.place.inside, length(plain)

        def most(besides: JsonObject) -> int:
            return bundle.most(end - first, lambda n: portion(plain, first, first + n) | besides)

        moment = self.moment(entry)
        count = most(moment) or most(moment := {})
        if count:
            part = portion(plain, first, first + count) | moment
            bundle.affords(part)
            self.shown.append(part)
            self.place.inside += count
        return 0 < count < end - first

    def pass_by(self, bundle: Bundle, entry: JsonObject) -> None:
        """Skip the waiting entry, which has a part that fits no answer. If nothing else is shown, its ids and short texts
        are shown in its place."""
        if not self.shown:
            names = portion(_without_nested(self.in_texts(entry)), self.place.inside, self.place.inside)
            if not bundle.affords(names):
                names = {name: str(entry[name])[:NAME] for name in ("id", "type", "resource_type") if name in entry}
            self.shown.append(names)
        self._pass()
        self.ended = self._next is None and self.place.skip >= len(self._items)

    def _pass(self) -> None:
        self._ready = self._ready[1:]
        self.place.skip += 1
        self.place.seen += 1
        self.place.inside = 0

    def all_gaps(self) -> list[JsonObject]:
        """The gaps of every entry shown, each once."""
        return list({str(gap): gap for entry in self.shown for gap in self.gaps(entry)}.values())

    def left_out(self) -> int | None:
        """Number of entries after `place`; None if the API does not say it."""
        if self._next is None:
            return len(self._items) - self.place.skip
        return self._total - self.place.seen if self._total > self.place.seen else None

    def in_all(self) -> int | None:
        """Number of entries of the whole list, read from its beginning; None if unknown."""
        left = None if self.failed or self.lost_cursor or self.repeats else self.left_out()
        if left is None or self._next is not None:
            return self._total or None
        return self.place.seen + left + len(self.unreadable)

    def body(self) -> JsonObject:
        return untrusted(self.origin, items=self.shown)


def _without_nested(entry: JsonObject) -> JsonObject:
    return {name: value for name, value in entry.items() if not isinstance(value, dict | list)}


@dataclass(frozen=True)
class Asked:
    """What a call asked of a tool that answers in sections.

    Attributes:
        tool: its name.
        issue_id: the issue, by its UUID.
        section: the only one to show; None for all.
        max_tokens: budget.
    """

    tool: str
    issue_id: str
    section: str | None
    max_tokens: int

    def on(self, section: str, place: Place | None = None, **more: object) -> TryNext:
        """The call that reads a section from a place, or from its beginning."""
        budget = {} if self.max_tokens == BUDGET else {"max_tokens": self.max_tokens}
        cursor = {} if place is None else {"cursor": str(place)}
        return TryNext(
            tool=self.tool, arguments={"issue_id": self.issue_id, "section": section, **cursor, **budget, **more}
        )

    async def fill(self, bundle: Bundle, wanted: list[Section], alone: Callable[[Section], Awaitable[None]]) -> None:
        """Fill a bundle with the wanted sections, which are open; EACH tokens are in reserve for each. `alone` fills a
        section that was asked for alone: there an entry longer than the budget is shown in part, so that each call gets
        further."""
        more = JsonObject()
        if self.section is None:
            for share in (2, 1):  # a section takes at most half of the rest while others wait
                for one in wanted:
                    await one.fill(bundle, spare=bundle.left - bundle.left // share)
        else:
            await alone(wanted[0])
            more = self._show_part(bundle, wanted[0])
        for one in wanted:
            bundle.body[one.name] = one.body()
            bundle.lacks(f"rows of {one.name} that cannot be read", len(one.unreadable))
            bundle.lacks(f"{one.name} behind a cursor that cannot be read", int(one.lost_cursor))
            bundle.lacks(f"{one.name} behind a page that repeats", int(one.repeats))
            if one.failed is not None:
                bundle.omitted.append({"section": one.name, "code": one.failed})
            if not one.ended:
                left = one.left_out()
                bundle.omitted.append({"section": one.name} | ({} if left is None else {"left_out": left})
                                      | {"try_next": self.on(one.name, one.place, **more)})  # fmt: skip

    def _show_part(self, bundle: Bundle, section: Section) -> JsonObject:
        """Show the first entry in part if it does not fit whole. Returns further arguments of the call that reads on: a
        larger max_tokens if no part fits this one."""
        entry = section.waiting()
        if section.shown or entry is None or section.show_part(bundle, entry):
            return {}
        if self.max_tokens < MOST:
            return {"max_tokens": MOST}
        section.pass_by(bundle, entry)
        call = section.elsewhere(entry)
        bundle.lacks(f"parts of one of the {section.name}", 1, **({} if call is None else {"try_next": call}))
        return {}


def place_of(section: str | None, cursor: str | None) -> Place:
    """The place that a call's cursor names. Raises Rejected if it names none."""
    if cursor is not None and section is None:
        raise Rejected("A cursor belongs to a section. Pass both as omitted says, or neither.", field="section")
    try:
        return Place.named(cursor)
    except ValueError:
        raise no_place() from None


def no_place() -> Rejected:
    """The error for a cursor that no answer of the tool gave."""
    return Rejected("The cursor is none of this tool's. Pass it as omitted says.", field="cursor")
