"""Results as an agent reads them: compact, marked where strangers' words begin, and never over their budget."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from calltriage.errors import CallError, TryNext
from calltriage.operations.base import Page, Result
from calltriage.server.text import compact, estimate_tokens, fits, gate

BUDGET = 6_000
"""Tokens of a result unless the caller asks for another number; see text.estimate_tokens for how they are counted."""
WALL = 20_000
"""Tokens that no result exceeds."""
MOST = WALL - 1000
"""Tokens that a caller may ask for."""


def untrusted(origin: str, **members: Any) -> dict[str, Any]:
    """A holder of words that came from outside, and from whom: data to read, never to follow."""
    return {"trust": "untrusted", "origin": origin, **members}


def shown(result: Result) -> dict[str, Any]:
    """One object of an API: its fields that have a value, marked when it holds strangers' words."""
    fields = result.model_dump(mode="json", exclude_none=True)
    return untrusted(result.origin, **fields) if result.origin else fields


def row(result: Result) -> dict[str, Any]:
    """One object as a list shows it: the fields its class calls brief, or all; the holder of the list is marked."""
    brief = cast("set[str] | None", getattr(type(result), "brief", None))
    return result.model_dump(mode="json", exclude_none=True, include=brief, exclude={"org_id"})


def shown_page(page: Page[Any]) -> dict[str, Any]:
    """A page, and how complete it is."""
    items = cast("list[Result]", page.items)
    origin = items[0].origin if items else None
    body: dict[str, Any] = {
        "items": [row(item) for item in items],
        "returned": len(items),
        "complete": page.next_cursor is None,
    }
    if page.next_cursor is not None:
        body["next_cursor"] = page.next_cursor
    return untrusted(origin, **body) if origin else body


def shortened(body: dict[str, Any], budget: int, whole: str | None) -> dict[str, Any]:
    """The body within the budget: its longest texts cut, and `omitted` saying which, by how much and where they are whole.

    Args:
        body: what would be too long.
        budget: tokens.
        whole: URI of the resource that has all of it, if there is one.
    """
    cut: dict[str, int] = {}
    while not fits(compact(body), budget - 40 * len(cut)):
        texts = {path: text for path, text in _texts(body) if len(text) > 200}
        if not texts:
            raise CallError("The result is larger than a result may be. Ask for less.", code="result_too_large")
        path, text = max(texts.items(), key=lambda found: len(found[1]))
        keep = len(text) // 2
        cut[".".join(map(str, path))] = cut.get(".".join(map(str, path)), 0) + len(text) - keep
        body = _replaced(body, path, text[:keep])
    if cut:
        where = {"resource": whole} if whole else {}
        body["omitted"] = [{"field": field, "characters": count, **where} for field, count in cut.items()]
    return body


def _texts(node: Any, path: tuple[str | int, ...] = ()) -> list[tuple[tuple[str | int, ...], str]]:
    if isinstance(node, str):
        return [(path, node)]
    members: Any = ()
    if isinstance(node, dict):
        members = cast("dict[str, Any]", node).items()
    elif isinstance(node, list):
        members = enumerate(cast("list[Any]", node))
    return [found for key, member in members for found in _texts(member, (*path, key))]


def _replaced(node: Any, path: tuple[str | int, ...], text: str) -> Any:
    if not path:
        return text
    copy: Any = dict(cast("dict[Any, Any]", node)) if isinstance(node, dict) else list(cast("list[Any]", node))
    copy[path[0]] = _replaced(copy[path[0]], path[1:], text)
    return copy


def advising(node: Any, offered: frozenset[str]) -> Any:
    """A body without advice to call tools that are not offered. Only our own advice is touched, never strangers' JSON."""
    if isinstance(node, dict):
        members = cast("dict[Any, Any]", node)
        if isinstance(node, TryNext):
            return node
        return {
            key: advising(member, offered)
            for key, member in members.items()
            if not isinstance(member, TryNext) or member["tool"] in offered
        }
    if isinstance(node, list):
        return [advising(member, offered) for member in cast("list[Any]", node)]
    return node


class Bundle:
    """A result filled in order until its budget is spent; what does not fit is listed with the call that fetches it."""

    def __init__(self, budget: int, *, gaps: int, **head: Any) -> None:
        """`gaps` is how many entries `omitted` may get; 60 tokens are kept back for each."""
        self.body: dict[str, Any] = head
        self.omitted: list[dict[str, Any]] = []
        self._left = budget - estimate_tokens(compact(head)) - 60 * gaps

    def affords(self, item: Any) -> bool:
        """Take an item's cost off what is left, if it is there. It costs what it will be once it has passed the gate."""
        cost = estimate_tokens(compact(gate(item)[0])) + 1
        if cost > self._left:
            return False
        self._left -= cost
        return True

    def fill(
        self,
        name: str,
        items: list[Any],
        again: TryNext | None,
        *,
        rest: TryNext | None = None,
        more: bool = False,
        origin: str | None = None,
    ) -> None:
        """Add a section: its items in order, without those that are too long for what is left.

        Args:
            name: of the section.
            items: what there is to show.
            again: call that shows more of these items, if some do not fit.
            rest: call that lists the section by itself.
            more: whether the API has others beyond these.
            origin: whose words the items hold.
        """
        self._left -= 20  # the section's own name and holder
        kept = list[Any]()
        for item in items:
            if self.affords(item):
                kept.append(item)
        self.body[name] = untrusted(origin, items=kept) if origin else kept
        if len(kept) < len(items) or more:
            left_out: Any = len(items) - len(kept) if not more else f"{len(items) - len(kept)} or more"
            fetch = again if again and len(kept) < len(items) else rest
            self.omitted.append({"section": name, "left_out": left_out} | ({"try_next": fetch} if fetch else {}))

    def window(
        self,
        places: list[int],
        member: Callable[[int], dict[str, Any]],
        fetch: Callable[[int, int], TryNext],
        wider: Callable[[int], TryNext | None],
    ) -> list[dict[str, Any]]:
        """The members at these places, in order, as far as they fit. At least the first is there, in part if need be.

        Args:
            places: of the members wanted, ascending.
            member: what stands at a place; its words are under `text`.
            fetch: the call that reads from one place to another, for what is left out at the end.
            wider: the call that shows more of one place, while there is a larger budget to ask for.
        """
        kept = list[dict[str, Any]]()
        for number, place in enumerate(places):
            one = member(place)
            if self.affords(one):
                kept.append(one)
                continue
            left = places[number:]
            if not kept:  # larger than the whole budget: shown in part rather than never
                text = one["text"]
                while not self.affords(part := {**one, "text": text}):
                    text = text[: len(text) // 2]
                kept.append(part)
                how = {"try_next": more} if (more := wider(place)) else {}
                self.lacks(f"text of turn {place}", len(one["text"]) - len(text), **how)
                left = left[1:]
            if left:
                self.lacks("transcript", len(left), try_next=fetch(left[0], left[-1]))
            break
        return kept

    def lacks(self, section: str, left_out: int, **how: Any) -> None:
        """Say that something is left out of a section."""
        if left_out:
            self.omitted.append({"section": section, "left_out": left_out, **how})

    def done(self) -> dict[str, Any]:
        return {**self.body, "complete": not self.omitted, **({"omitted": self.omitted} if self.omitted else {})}
