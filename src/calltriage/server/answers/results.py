"""Results as an agent reads them: compact, marked where strangers' words begin, and never over their budget."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import takewhile
from typing import Any

from calltriage.errors import CallError, TryNext
from calltriage.leaves.gate import CHARACTERS, compact, estimate_tokens, fits, gate, greatest
from calltriage.leaves.strict_json import JsonObject, is_array, is_object
from calltriage.operations.results import Page, Result

BUDGET = 6_000
"""Tokens of a result unless the caller asks for another number; `estimate_tokens` counts them."""
WALL = 20_000
"""Tokens that no result exceeds."""
MOST = WALL - 1000
"""Tokens that a caller may ask for."""
LEAST = 1000
"""Tokens that are left for a result beside a cursor of any length."""
SHORT = 200
"""Characters of a text that are never cut."""
BEGINNINGS = (300, 200, 120, 60)
"""Characters of a text that each row of a page shows; the first number that fits."""
LONGEST_NAME = 64
"""Characters of a field's name that are shown."""


def untrusted(origin: str, **members: object) -> JsonObject:
    """An object that marks its members as words from outside, of `origin`: data to read, never instructions."""
    return {"trust": "untrusted", "origin": origin, **members}


def shown(result: Result, only: frozenset[str] | None = None) -> JsonObject:
    """One object of an API: the fields that it answered with a value, or those of `only`; marked when it holds strangers'
    words."""
    include = None if only is None else {*only, "unreadable_fields"}
    fields = result.model_dump(mode="json", exclude_none=True, exclude_unset=True, include=include)
    return untrusted(result.origin, **fields) if result.origin else fields


def together(outcomes: Iterable[str]) -> str:
    """The outcome that holds for several writes together: the one that needs most care."""
    found = set(outcomes)
    return next(one for one in ("unknown", "not_committed", "committed", "replayed") if one in found)


def beginning(body: JsonObject, name: str, most: int) -> JsonObject:
    """A body with no more than the beginning of one of its texts, and how many characters of that are left out."""
    text = body.get(name)
    if not isinstance(text, str) or len(text) <= most:
        return body
    left_out = {**body.get("characters_left_out", {}), name: len(text) - most}
    return {**body, name: text[:most], "characters_left_out": left_out}


def stored(body: JsonObject, name: str, most: int) -> JsonObject:
    """A body of something just written with the beginning of one of its texts, saying that all of it is kept."""
    text = body.get(name)
    if not isinstance(text, str) or len(text) <= most:
        return body
    return {**body, name: text[:most], "stored_whole": {name: f"shown to {most} of {len(text)} characters"}}


def row(result: Result) -> JsonObject:
    """One object as a list shows it: the fields its class calls brief, or all; the holder of the list is marked."""
    include = None if result.brief is None else result.brief | {"unreadable_fields"}
    return result.model_dump(mode="json", exclude_none=True, exclude_unset=True, include=include, exclude={"org_id"})


def with_beginnings(body: JsonObject, page: Page[Result], budget: int) -> JsonObject:
    """The page with the beginning of one long text in each row (`begins` of the row's class). All rows show the same number
    of characters: the largest of BEGINNINGS that fits the budget. Unchanged if none fits."""
    name = page.items[0].begins if page.items else None
    if name is None:
        return body
    texts: list[str] = [getattr(item, name) for item in page.items]
    for most in BEGINNINGS:
        rows = [one | _begun(name, text, most) for one, text in zip(body["items"], texts, strict=True)]
        if passes(fuller := {**body, "items": rows}, budget):
            return fuller
    return body


def _begun(name: str, text: str, most: int) -> JsonObject:
    """A text under its name, or no more than its beginning under a name that says so."""
    if not text:
        return {}
    return {name: text} if len(text) <= most else {f"{name}_begins": text[:most]}


def unreadable(result: Result) -> dict[str, list[str]]:
    """Names of an answer's fields that cannot be read, for a body that shows only some of them."""
    return {"unreadable_fields": result.unreadable_fields} if result.unreadable_fields else {}


def unread(rows: list[int]) -> JsonObject:
    """Places on the page of the rows that cannot be read."""
    return {"unreadable_rows": rows} if rows else {}


def lacking(rows: list[int]) -> JsonObject:
    """Members for a whole list in which these rows cannot be read; empty if there are none."""
    return {"complete": False, **unread(rows)} if rows else {}


def ended(body: JsonObject, why: str) -> JsonObject:
    """A page of a list that cannot be read further, and why."""
    return {**{name: value for name, value in body.items() if name != "next_cursor"}, "complete": False, "note": why}


STANDING = "The API's next cursor is the one that was passed: the list cannot be read further, and may have more."
REPEATS = "A page of the API repeats an earlier one: the list cannot be read further, and may have more."
LOST = "The API's next cursor cannot be read: the list cannot be read further, and may have more."


def in_part(what: str) -> str:
    """The note of a search whose page is short and that goes on."""
    return f"The search looked at a part of the {what}; these are the ones there. Pass next_cursor to search the rest."


def shown_page(page: Page[Result], cursor: str | None = None) -> JsonObject:
    """A page that was asked for by a cursor, and how complete it is. A next cursor that repeats `cursor`
    or cannot be read is left out, and `note` says so."""
    origin = page.items[0].origin if page.items else None
    body: JsonObject = {
        "items": [row(item) for item in page.items],
        "returned": len(page.items),
        "complete": page.is_last,
        **unread(page.unreadable_rows("items")),
    }
    if page.next_cursor is not None:
        body["next_cursor"] = page.next_cursor
    stands = page.next_cursor is not None and page.next_cursor == cursor
    if stands or page.lost_cursor:
        body = ended(body, STANDING if stands else LOST)
    return untrusted(origin, **body) if origin else body


def too_large() -> CallError:
    return CallError("The result is larger than a result may be. Ask for less.", code="result_too_large")


def shortened(body: JsonObject, budget: int, more: JsonObject | None = None) -> JsonObject:
    """The body with its longest texts cut so far that it fits the budget after the gate. `omitted` says which were cut, by
    how many characters, and where the rest is. Raises CallError (`result_too_large`) if no text is left to cut.

    Args:
        body: what may be too long.
        budget: tokens.
        more: added to the first entry of `omitted`: the resource that has the rest, or the call that reads it.
    """
    cut: dict[str, int] = {}
    kept = 20 + (estimate_tokens(compact(more)) if more else 0)
    whole = {"next_cursor": body["next_cursor"]} if "next_cursor" in body else {}  # a cursor that is cut is no cursor
    body = {name: value for name, value in body.items() if name not in whole}
    budget = max(LEAST, budget - estimate_tokens(compact(whole))) if whole else budget
    while not passes(body, budget - 40 * len(cut) - (kept if cut else 0)):
        longest = _longest_text(body)
        if longest <= SHORT:
            raise too_large()
        # A text that no budget could hold is cut before its tokens are counted, which takes long.
        body = _cut(body, max(SHORT, min(longest * 3 // 4, CHARACTERS * budget)), cut)
    if cut:
        body["omitted"] = [{"field": field, "characters": count} for field, count in cut.items()]
        body["omitted"][0] |= more or {}
    return body | whole


def passes(body: object, budget: int) -> bool:
    """Whether a body fits a budget once it has passed the gate, which can only make it longer."""
    return len(compact(body)) <= CHARACTERS * max(0, budget) + 1 and fits(compact(gate(body)[0]), budget)


def _longest_text(node: object) -> int:
    """Characters of the longest text in a body."""
    if isinstance(node, str):
        return len(node)
    members = node.values() if is_object(node) else node if is_array(node) else ()
    return max(map(_longest_text, members), default=0)


def _cut(node: object, most: int, cut: dict[str, int], path: tuple[str, ...] = ()) -> Any:
    """A body whose texts have `most` characters at most; what was cut is added to `cut` by its path."""
    if isinstance(node, str):
        if len(node) <= most:
            return node
        name = ".".join(path)
        cut[name] = cut.get(name, 0) + len(node) - most
        return node[:most]
    if is_object(node):
        return {key: _cut(member, most, cut, (*path, str(key))) for key, member in node.items()}
    if is_array(node):
        return [_cut(member, most, cut, (*path, str(place))) for place, member in enumerate(node)]
    return node


def advising(node: object, offered: frozenset[str]) -> Any:
    """A body without advice to call tools that are not offered. Only our own advice is touched, never strangers' JSON."""
    if is_object(node):
        if isinstance(node, TryNext):
            return node
        return {
            key: advising(member, offered)
            for key, member in node.items()
            if not isinstance(member, TryNext) or member["tool"] in offered
        }
    if is_array(node):
        return [advising(member, offered) for member in node]
    return node


EACH = 60
"""Tokens kept back for the count of what is left out, and for the call that fetches it."""
BARE_TURN = 20
"""Tokens of a turn that is shown as its place only."""


class Bundle:
    """A result filled in order until its budget is spent; what does not fit is listed with the call that fetches it."""

    def __init__(self, budget: int, *, gaps: int, **head: object) -> None:
        """`gaps` is how many entries `omitted` may get; EACH is kept back for each."""
        self.body: JsonObject = head
        self.omitted: list[JsonObject] = []
        self.left = budget - estimate_tokens(compact(head)) - EACH * gaps

    def keeps(self, tokens: int) -> bool:
        """Reserve tokens for later additions, if that many are left."""
        self.left -= tokens if (enough := tokens <= self.left) else 0
        return enough

    def affords(self, item: object, spare: int = 0) -> bool:
        """Take an item's cost off what is left, if `spare` tokens remain afterwards; else take nothing and return False. The
        cost is that of the item after the gate."""
        cost = self._cost(item, spare)
        self.left -= cost or 0
        return cost is not None

    def _cost(self, item: object, spare: int) -> int | None:
        """Tokens of an item; None if it costs more than the budget."""
        left = self.left - spare - 1
        if left < 0 or len(compact(item)) > CHARACTERS * left + 1:
            return None
        cost = estimate_tokens(compact(gate(item)[0]), left)
        return None if cost > left else cost + 1

    def facts(self, fields: JsonObject, spare: int = 0) -> tuple[JsonObject, list[str]]:
        """The fields that fit, and the names of the others, each name cut to LONGEST_NAME. Short fields are tried first: a
        long one must not crowd out the facts."""
        fits = set[str]()
        for name, value in sorted(fields.items(), key=lambda field: len(str(field[1]))):
            if self.affords({name[:LONGEST_NAME]: value}, spare):
                fits.add(name)
        shown = {name[:LONGEST_NAME]: value for name, value in fields.items() if name in fits}
        return shown, [name[:LONGEST_NAME] for name in fields if name not in fits]

    def most(self, length: int, item: Callable[[int], Any], spare: int = 0) -> int:
        """Largest number of characters, up to `length`, with which the item is still afforded, within 1/16."""
        within = min(length, CHARACTERS * max(0, self.left))
        return greatest(within, lambda tried: self._cost(item(tried), spare) is not None, 16)

    def window(
        self,
        places: list[int],
        member: Callable[[int], JsonObject],
        fetch: Callable[[int, int], TryNext],
        wider: Callable[[int, int], TryNext | None],
    ) -> list[JsonObject]:
        """The members at these places, in order, as far as they fit. At least the first is there, in part if need be.

        Args:
            places: of the members wanted, ascending.
            member: what stands at a place; its words are under `text`.
            fetch: the call that reads from one place to another, for what is left out at the end.
            wider: the call that shows more of one place, of which so many characters are shown.
        """
        kept = list[JsonObject]()
        for number, place in enumerate(places):
            one = member(place)
            if self.affords(one):
                kept.append(one)
                continue
            left = places[number:]
            if not kept:  # larger than the whole budget: shown in part rather than never
                kept.append(part := self._part(place, one))
                how = {"try_next": more} if (more := wider(place, len(part["text"]))) else {}
                if part.keys() == one.keys():
                    self.lacks(f"text of turn {place}", len(one["text"]) - len(part["text"]), **how)
                else:
                    self.lacks(f"turn {place}", 1, **how)
                left = left[1:]
            if left:
                self.lacks("transcript", len(left), try_next=fetch(left[0], left[-1]))
            break
        return kept

    def _part(self, place: int, one: JsonObject) -> JsonObject:
        """The member with as much of its text as fits; only its place if its other fields alone are too long."""
        text = one["text"]
        part = {**one, "text": text[: self.most(len(text), lambda n: {**one, "text": text[:n]})]}
        if self.affords(part):
            return part
        self.left -= BARE_TURN
        return {"message_index": place, "text": ""}

    def as_many(self, rows: list[JsonObject]) -> list[JsonObject]:
        """The first of the rows, as many as can be afforded."""
        return list(takewhile(self.affords, rows))

    def lacks(self, section: str, left_out: int, **how: object) -> None:
        """Say that something is left out of a section."""
        if left_out:
            self.omitted.append({"section": section, "left_out": left_out, **how})

    def done(self) -> JsonObject:
        return {**self.body, "complete": not self.omitted, **({"omitted": self.omitted} if self.omitted else {})}
